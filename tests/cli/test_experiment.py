"""Experiment files: what they mean, and that the resolved one means the same."""

import tomllib
from pathlib import Path

import msgspec
import numpy as np
import pytest

import hocket as hk
from hocket.experiment import load, parse
from hocket.fleet import Exponential, LogNormal, Renewal
from hocket.guard import Hinge

LAW = Exponential.__struct_config__.tag_field
WHEN = Renewal.__struct_config__.tag_field


def experiment(*edits: str, **tables: object) -> hk.experiment.Experiment:
    """A small experiment with some tables replaced."""
    tree = {
        "task": {"kind": "gaussian", "clients": 12, "samples": 20, "held_out": 100},
        "fleet": {"kind": "synthetic"},
        "strategy": {"use": "fedbuff", "buffer": 3, "in_flight": 6},
        "until": {"updates": 60},
    }
    return parse({k: v for k, v in {**tree, **tables}.items() if v is not None}, edits)


TREES = {
    "plain": {},
    "laws": {
        "fleet": {
            "kind": "synthetic",
            "compute_law": {LAW: "lognormal", "sigma": 0.5},
            "availability": {WHEN: "renewal", "on": 500.0, "off": 100.0},
            "latency": 0.1,
            "failure": 0.1,
            "egress": 1e5,
        }
    },
    "equal": {"fleet": {"kind": "equal", "compute": 0.01, "down": float("inf"), "up": 1e5}},
    "columns": {"fleet": {"kind": "synthetic", "down": [1e5 + i for i in range(12)], "links": "parallel"}},
    "size-only": {"task": {"kind": "sized", "parameters": 50, "samples": [1 + i for i in range(12)]}},
    "decay": {"strategy": {"use": "fedasync", "in_flight": 4, "decay": {"kind": "hinge", "grace": 2}}},
    "steps": {"strategy": {"use": "asyncsgd", "in_flight": 4}},
    "parts": {
        "strategy": {
            "name": "mine",
            "pacing": {"kind": "rounds", "cohort": 4},
            "optimizer": {"kind": "yogi"},
            "guard": {"kind": "chain", "guards": [{"kind": "staleness", "limit": 5}, {"kind": "norm_bound"}]},
        }
    },
    "two tasks": {
        "task": None,
        "tasks": {
            "small": {
                "kind": "gaussian",
                "clients": 12,
                "samples": 20,
                "held_out": 100,
                "dim": 4,
                "local": {"steps": 2},
            },
            "large": {"kind": "gaussian", "samples": 20, "held_out": 100},
        },
        "strategy": {
            "tasks": {
                "small": {"use": "fedbuff", "buffer": 2, "in_flight": 4},
                "large": {"use": "fedbuff", "buffer": 2, "in_flight": 4, "optimizer": {"kind": "momentum"}},
            }
        },
    },
}


@pytest.mark.parametrize("name", TREES)
def test_the_resolved_experiment_is_the_same_experiment(name):
    one = experiment(**TREES[name])
    two = parse(tomllib.loads(one.toml()))
    assert two.resolved() == one.resolved()
    assert tomllib.loads(one.toml()) == one.resolved()
    assert two.run().summary == one.run().summary


def test_every_default_is_written_out():
    table = experiment().resolved()
    assert table["seed"] == table["tasks"]["gaussian"]["seed"] == table["fleet"]["seed"] == 0
    assert table["fleet"]["clients"] == table["tasks"]["gaussian"]["clients"] == 12
    local = hk.LocalSGD(lr=0.05, batch_size=32, steps=27)
    written = {k: v for k, v in msgspec.to_builtins(local).items() if v is not None}
    assert table["tasks"]["gaussian"]["local"] == written
    assert table["strategy"]["pacing"]["refill_first"] is False
    assert table["evaluation"] == {"every": 1, "subject": "published", "split": "test"}


def test_a_file_is_what_the_same_calls_are_in_python():
    mine = experiment().run()
    task = hk.reference_tasks.gaussian(clients=12, samples=20, held_out=100)
    fleet = hk.Fleet.synthetic(12, seed=0)
    theirs = hk.simulate(task, fleet, hk.strategies.fedbuff(buffer=3, in_flight=6), hk.Until(updates=60))
    assert mine.summary == theirs.summary


def test_the_seed_is_that_of_data_and_devices_unless_they_have_their_own():
    base, moved = experiment(), experiment("seed=1")
    held = experiment("seed=1", "task.seed=0", "fleet.seed=0")
    assert not np.array_equal(base.fleet.down, moved.fleet.down)
    assert np.array_equal(base.fleet.down, held.fleet.down)
    assert base.tasks[0].bayes == held.tasks[0].bayes != moved.tasks[0].bayes


def test_clients_are_named_once_in_either_place():
    assert len(experiment("fleet.clients=9", "task={kind='digits'}").fleet) == 9
    assert experiment("task={kind='digits', clients=8}").tasks[0].clients == 8
    assert len(experiment("task={kind='digits'}").fleet) == 100


def test_set_reads_toml_and_bare_words():
    it = experiment(
        "strategy.use=fedasync", "strategy={use='fedasync', in_flight=3}", "strategy.decay.kind=hinge",
        "strategy.decay.grace = 2", "fleet.failure=0.25", f"fleet.compute_law={{{LAW}='lognormal', sigma=0.5}}",
    )  # fmt: skip
    assert it.strategy.task.guard.decay == Hinge(grace=2)
    assert it.fleet.failure == 0.25
    assert it.fleet.compute_law == LogNormal(0.5)


def test_set_reaches_into_lists():
    it = experiment("strategy.1.optimizer.lr=3.0", strategy=[{"use": "fedasync"}, {"optimizer": {"kind": "sgd"}}])
    assert it.strategy.task.optimizer.lr == 3.0
    with pytest.raises(hk.InvalidInput, match="give a number from 0 to 0"):
        experiment("strategy.7.lr=1", strategy=[{"use": "fedavg"}])


def test_a_part_takes_the_place_of_the_method_s():
    it = experiment(
        strategy={"use": "fedbuff", "in_flight": 10, "optimizer": {"kind": "adam"}, "attach": "start", "name": "mine"}
    )
    assert it.strategy.task.optimizer == hk.optimizer.Adam()
    assert (it.strategy.name, it.strategy.attach) == ("mine", "start")
    assert it.strategy.task.merge == hk.strategies.fedbuff().task.merge


def test_a_fleet_part_at_the_top_settles_it_for_all_tasks():
    tables = TREES["two tasks"]
    each = {n: {**s, "in_flight": 4 + i} for i, (n, s) in enumerate(tables["strategy"]["tasks"].items())}
    with pytest.raises(hk.InvalidInput, match="bring different fleet policies for pacing"):
        experiment(**{**tables, "strategy": {"tasks": each}})
    pacing = {"kind": "in_flight", "in_flight": {"small": 4, "large": 6}, "buffer": 2}
    it = experiment(**{**tables, "strategy": {"tasks": each, "pacing": pacing}})
    assert it.strategy.pacing.in_flight == {"small": 4, "large": 6}
    assert it.strategy.tasks["large"].optimizer == hk.optimizer.Momentum()


def test_a_parquet_fleet_travels_with_the_run(tmp_path):
    hk.Fleet.synthetic(12, seed=5).to_parquet(tmp_path / "mine.parquet")
    text = experiment(fleet={"kind": "synthetic"}).toml()
    tree = {**tomllib.loads(text), "fleet": {"kind": "parquet", "path": "mine.parquet"}}
    one = parse(tree, folder=tmp_path)
    first = one.run(tmp_path / "run")
    assert str(tmp_path) not in (tmp_path / "run" / "experiment.toml").read_text()
    two = load(tmp_path / "run" / "experiment.toml")
    assert two.run().summary == first.summary
    assert np.array_equal(two.fleet.down, hk.Fleet.synthetic(12, seed=5).down)


@pytest.mark.parametrize("name", ["asyncsgd", "fedavg", "fedbuff"])
def test_the_examples_run(name, tmp_path):
    path = Path(__file__).parents[2] / "examples" / f"{name}.toml"
    run = load(path).run(tmp_path / name)
    assert run.summary["finished"] == "target"
    assert run.summary["strategy"] == name
