"""Bad input is one line on standard error that names the key, exit code 2, and nothing written."""

import errno
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hocket.fleet import Exponential, Renewal

LAW = Exponential.__struct_config__.tag_field
WHEN = Renewal.__struct_config__.tag_field
SIZED = "task = {kind = 'sized', parameters = 10, samples = 5}"

CASES = {  # override: how the line begins
    # unknown keys and choices
    "until.acuracy=0.8": "until.acuracy: unknown key; did you mean accuracy? allowed: accuracy, loss,",
    "untill.updates=3": "untill: unknown key; did you mean until? allowed: fleet, strategy,",
    "task.alfa=1": "task.alfa: unknown key; did you mean alpha? allowed: clients, alpha,",
    "task.kind=digit": "task.kind = 'digit': no such choice; did you mean digits? allowed: digits, gaussian,",
    "task.local.batchsize=3": "task.local.batchsize: unknown key; did you mean batch_size?",
    "strategy.bufer=3": "strategy.bufer: unknown key; did you mean buffer? allowed: buffer, in_flight,",
    "strategy.use=fedbuf": "strategy.use = 'fedbuf': no such method; did you mean fedbuff? allowed: asyncsgd,",
    "strategy.pacing={kind='round'}": "strategy.pacing.kind = 'round': no such choice; did you mean rounds?",
    "strategy.pacing={cohort=3}": "strategy.pacing.kind: missing; give one of in_flight, budgets, joint_rounds",
    "strategy.pacing.kind=[1]": "strategy.pacing.kind = [1]: no such choice",
    "strategy.uplink={kind='plain', codec={kind='float23'}}": "strategy.uplink.codec.kind = 'float23': no such",
    "strategy.normalise=sum": "strategy.normalise = 'sum': no such choice; allowed: count, weight",
    f"fleet.compute_law={{{LAW}='exponentia'}}": f"fleet.compute_law.{LAW} = 'exponentia': no such choice; did",
    "fleet.links=serial": "fleet.links = 'serial': no such choice; allowed: fifo, parallel",
    "until.at_least={f1=0.5}": "until.at_least.f1: no such metric; allowed: accuracy, loss",
    # wrong types
    "until.accuracy='high'": "until.accuracy = 'high': must be a number",
    "until.updates=1.5": "until.updates = 1.5: must be a whole number",
    "until.at_least={loss='low'}": "until.at_least.*: must be a number, not text",
    "strategy.buffer=true": "strategy.buffer = true: must be a whole number",
    "strategy=3": "strategy = 3: must be a table or a list",
    "task.hidden=[8, 'x']": "task.hidden[1] = 'x': must be a whole number",
    "seed=first": "seed = 'first': must be a whole number",
    # impossible values
    "until.accuracy=1.5": "until.accuracy = 1.5: must be above 0 and at most 1",
    "until.accuracy=nan": "until.accuracy = nan: must be a finite number",
    "until.updates=0": "until.updates = 0: must be above 0",
    "until.updates=100000000000000000000": "until.updates = 100000000000000000000: must be at most 2**53",
    "until={}": "until: no stop condition; give accuracy,",
    "evaluation.every=0": "evaluation.every = 0: must be 1 or more",
    "seed=-1": "seed = -1: must be a whole number from 0 to 2**64 - 1",
    "task.alpha=-1": "task.alpha is -1.0; it must be positive",
    "task.clients=0": "task.clients = 0: must be 1 or more",
    "task.clients=5000": "task.clients: dirichlet: 1257 samples cannot give 5000 clients 2 each;",
    "task.local.lr=-0.1": "task.local.lr is -0.1; it must be in (0, inf)",
    "task.local={steps=3, epochs=2}": "task.local.epochs: local: epochs 2 and steps 3 are both set",
    "strategy.lr=-1": "strategy.lr = -1.0: must be above 0",
    "strategy.lr=inf": "strategy.lr = inf: must be a finite number",
    "strategy.staleness_limit=-1": "strategy.staleness_limit: ",
    "strategy.timeout=1e300": "strategy.timeout = 1e+300: must be from 1e-09 to 1e+09 seconds",
    "strategy={use='fedavg', overcommit=0.5}": "strategy.overcommit = 0.5: must be 1 or more",
    "strategy={use='fedavg', pacing={kind='rounds', cohort=-1}}": "strategy.pacing.cohort = -1: must be 1 or more",
    "fleet.down=-5": "fleet.down: client 0 has down=-5 B/s (19 more like it); it must be above 0",
    "fleet.up=0": "fleet.up: client 0 has up=0 B/s (19 more like it); it must be above 0",
    "fleet.compute=0": "fleet.compute: client 0 has compute=0 s/sample",
    "fleet.failure=2": "fleet.failure=2.0; give a chance from 0 to 1",
    f"fleet.availability={{{WHEN}='renewal', on=-1, off=2}}": "fleet.availability.on=-1.0 s; give a mean above 0",
    "task={kind='sized', parameters=10, samples=[5, 0]}": "task.samples: task 'sized'",
    "fleet={kind='equal', clients=20, compute=1, down=1e6}": "fleet.up: missing; fleet needs up",
    # things that do not go together
    "strategy.in_flight=200": "strategy.in_flight: strategy fedbuff: InFlight(in_flight=200,",
    "strategy={use='fedavg', cohort=30}": "strategy.cohort: strategy fedavg: Rounds(cohort=30,",
    "strategy={use='fedavg', merge={kind='mean_by_fleet'}}": "strategy.merge: strategy fedavg: merge mean_by_fleet",
    "strategy=[{use='fedavg'}, {use='fedbuff'}]": "strategy: compose: fedavg and fedbuff both set pacing;",
    "strategy.tasks={mnist={optimizer={kind='adam'}}}": "strategy.tasks.mnist: no such task; allowed: digits",
    "fleet.clients=30": "task.clients = 20: the fleet has 30 devices;",
    "fleet.dropout=0.1": "fleet.dropout = 0.1: a silent device is only noticed by a timeout",
    "task.name='../mine'": "task name '../mine': must be letters, digits,",
    "tasks.a.kind=digits": "task, tasks: both are given;",
    SIZED: "until: task 'sized' is size-only and has no metrics;",
    # the option itself
    "until.accuracy": "--set 'until.accuracy': give key=value",
    "until.accuracy.x=1": "--set 'until.accuracy.x=1': until.accuracy = 0.8 is no table",
    "until.accuracy=[1": "--set 'until.accuracy=[1': '[1' is not a TOML value",
}


@pytest.mark.parametrize("edit", CASES)
def test_a_wrong_value_is_one_line_and_nothing_is_written(here, hocket, edit):
    code, out, err = hocket("simulate", "small.toml", "--set", edit)
    assert code == 2
    assert err.startswith(f"error: {CASES[edit]}"), err
    assert out == "" and err.count("\n") == 1 and err.endswith("\n")
    assert [p.name for p in here.iterdir()] == ["small.toml"]


def test_a_run_that_is_not_finite_is_one_line_that_names_the_client(here, hocket):
    code, out, err = hocket("simulate", "small.toml", "--set", "task.local.lr=1e38", "--out", "o")
    said = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (code, len(said)) == (2, 1) and "Traceback" not in out + err, err
    assert "is not finite" in said[0] and "lower lr of its LocalSGD" in said[0], err


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("seed = ", "bad.toml: not TOML (Invalid value"),
        ("seed = " + "9" * 5000, "bad.toml: not TOML (Exceeds the limit"),
        ("seed = " + "[" * 50000, "bad.toml: not TOML (maximum recursion depth"),
        ("a." * 50000 + "a = 1", "bad.toml: tables within tables, more than 32 deep"),
        ("[until]\naccuracy = 0.9", "fleet: missing; the file needs fleet, strategy"),
        ("fleet = {}\nstrategy = {}\nuntil = {updates = 1}", "task: missing; give a table such as [task]"),
    ],
)
def test_a_file_that_is_not_an_experiment(here, hocket, text, begins):
    Path("bad.toml").write_text(text)
    code, _, err = hocket("simulate", "bad.toml")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"error: {begins}"), err


def test_a_file_that_is_not_there(here, hocket):
    assert hocket("simulate", "nope.toml") == (2, "", "error: nope.toml: no such file; give an experiment in TOML\n")
    assert hocket("report", "nowhere")[0] == 2


@pytest.mark.parametrize("seeds", ["5", "3:3", "a:b", "-1:2", "4:2"])
def test_seeds_that_are_no_range(here, hocket, seeds):
    code, _, err = hocket("simulate", "small.toml", f"--seeds={seeds}")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"error: --seeds '{seeds}': give first:end")


@pytest.mark.parametrize("arguments", [("simulate",), ("simulat", "x"), ("report",), ("demo", "--sed", "1")])
def test_wrong_usage_is_one_line_as_well(hocket, arguments):
    code, _, err = hocket(*arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("error: ")


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [
        (errno.EACCES, 2, "give another place to write to"),
        (errno.ENOSPC, 7, "make room: the same command with --resume"),
    ],
)
def test_what_the_system_refuses_says_what_to_do(here, hocket, monkeypatch, number, code, says):
    def refused(*args: object) -> None:
        raise OSError(number, os.strerror(number), "o/curve.parquet")

    monkeypatch.setattr("hocket.simulation.checkpoint.finish", refused)
    given = hocket("simulate", "small.toml", "--out", "o")
    assert given[0] == code and given[2].splitlines()[-1].startswith(
        f"error: o/curve.parquet: {os.strerror(number)}; {says}"
    )


def test_a_misspelt_command_is_told_once(hocket):
    assert hocket("simulat", "x")[2].count("simulate") == 1


def test_a_parquet_fleet_without_a_needed_column(here, hocket):
    pq.write_table(pa.table({"compute_s_per_sample": np.ones(20), "up_bytes_per_s": np.ones(20)}), "devices.parquet")
    code, _, err = hocket("simulate", "small.toml", "--set", "fleet={kind='parquet', path='devices.parquet'}")
    assert code == 2
    assert err.startswith("error: fleet: devices.parquet: column down_bytes_per_s is missing; found compute_s_per_sa")
    assert not Path("runs").exists()


def test_a_directory_that_holds_a_run_is_not_touched(here, hocket):
    assert hocket("simulate", "small.toml", "--out", "o")[0] == 0
    before = {p: p.read_bytes() for p in Path("o").rglob("*") if p.is_file()}
    code, _, err = hocket("simulate", "small.toml", "--out", "o", "--set", "seed=4")
    assert code == 2 and err.startswith("error: o holds a run already (summary.json,")
    code, _, err = hocket("simulate", "small.toml", "--out", "o", "--set", "seed=4", "--resume")
    assert code == 2 and err.startswith("error: o holds a run of another experiment;")
    assert {p: p.read_bytes() for p in Path("o").rglob("*") if p.is_file()} == before


def test_a_file_in_the_place_of_the_directory(here, hocket):
    Path("o").write_text("mine")
    for arguments in (("simulate", "small.toml"), ("demo",)):
        assert hocket(*arguments, "--out", "o") == (2, "", "error: o is a file; give a directory\n")
    assert Path("o").read_text() == "mine"
