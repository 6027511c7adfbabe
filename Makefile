# make demo and make test are all a newcomer needs; both begin with setup.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format cover soak bench peers clean

PYTHON ?= python3
EXTRAS ?= sklearn,torch,service,dp,dev
ARGS ?=
BIN := .venv/bin
STAMP := .venv/.hocket-setup
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq

# Data sets for the tests that need them, when they lie beside the repository and nobody said otherwise.
ifneq ($(wildcard ../shared/data),)
export HOCKET_DATA ?= $(abspath ../shared/data)
endif

help: ## show this list
	@sed -nE 's/^([a-z]+):.*## (.*)/\1|\2/p' Makefile | while IFS='|' read -r name text; do printf 'make %-8s %s\n' "$$name" "$$text"; done

setup: $(STAMP) ## build the environment in .venv (again only when pyproject.toml changes)
	@:

$(STAMP): pyproject.toml
	@if [ ! -x $(BIN)/python ]; then \
	    $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	        { echo "make setup: $(PYTHON) is missing or older than 3.11; give another with make setup PYTHON=..."; exit 1; }; \
	    $(PYTHON) -m venv .venv || \
	        { rm -rf .venv; echo "make setup: $(PYTHON) cannot make a venv; on Debian: apt-get install python3-venv"; exit 1; }; \
	fi
	@echo "installing hocket[$(EXTRAS)] into .venv: 2 GB or more with PyTorch, some minutes, once" >&2
	@$(PIP) install -e '.[$(EXTRAS)]'
	@touch $@

demo: $(STAMP) ## train on digits, two methods side by side; the report goes to runs/demo
	@$(BIN)/hocket demo --out runs/demo

# One worker per core; a worker's own linear algebra stays on one thread so that they do not fight.
test: $(STAMP) ## the tests (ARGS="-k name" to choose)
	@OPENBLAS_NUM_THREADS=$${OPENBLAS_NUM_THREADS:-1} OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} \
	    $(BIN)/python -m pytest -q -n auto --maxprocesses=8 $(ARGS)

lint: $(STAMP) ## formatting, lint, types
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary

format: $(STAMP) ## rewrite the files as lint wants them
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# The core: state machines, book, policies, strategies.
CORE := actions,book,buffers,client,codec/*,core,downlink/*,events,guard/*,index_set,keyed,lease,lease_table,matching/*,merge/*,optimizer/*,pacing/*,plain,policies,prefetch/*,received,scheduler,schema,server,server_state,setup,snapshot,strategies/*,strategy,submodel/*,task_table,until,uplink/*,view

cover: $(STAMP) ## coverage of the core by its fast tests; fails below 95 %
	@$(BIN)/python -m pytest -q -n auto --maxprocesses=8 --cov=hocket --cov-report= tests/core tests/simulation tests/figures/test_equivalence.py
	@$(BIN)/python -m coverage report --fail-under=95 --include="$$(echo src/hocket/{$(CORE)}.py | tr ' ' ',')"

soak: $(STAMP) ## the long tests (about an hour)
	@HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest -m soak $(ARGS)

bench: $(STAMP) ## speed of engine, learning, codecs, journal and queueing (about 20 minutes)
	@$(BIN)/python -m benchmarks.engine $(ARGS)
	@$(BIN)/python -m benchmarks.learning $(ARGS)
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.vmap
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.codecs
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.queueing
	@$(BIN)/python -m benchmarks.journal
	@$(BIN)/python -m benchmarks.service

peers: $(STAMP) ## other systems on the same workloads, installed in .peers/ (about 20 minutes)
	@$(BIN)/python -m benchmarks.peers $(ARGS)

clean: ## remove caches and builds; .venv, .peers and runs stay
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* htmlcov
	@find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
