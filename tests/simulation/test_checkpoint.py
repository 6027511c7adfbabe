"""A checkpoint is what was written, or nobody goes on from it."""

import random
from pathlib import Path

import pytest

import hocket as hk
from hocket.errors import Damaged
from hocket.setup import Setup
from hocket.simulation import checkpoint
from hocket.simulation.run import Simulation, prepare

SETUP = Setup.of(
    hk.reference_tasks.gaussian(8, samples=10, dim=3, classes=2, held_out=20),
    hk.strategies.qafel(buffer=2, in_flight=4),
    hk.Until(updates=100),
)


def ready() -> Simulation:
    return prepare(SETUP, hk.Fleet.synthetic(8, availability=hk.fleet.Renewal(on=9.0, off=3.0)), log=True)


def test_whatever_changes_in_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    sim, rng = ready(), random.Random(0)
    sim.engine.run(150)
    checkpoint.save(tmp_path, sim.engine, sim.curve, sim.name)
    path = tmp_path / checkpoint.FILE
    whole = path.read_bytes()
    assert checkpoint.saved_curve(tmp_path) == sim.curve
    for _ in range(200):
        at = rng.choice([rng.randrange(len(whole)), rng.randrange(600)])
        changed = bytes([rng.randrange(256)]) if rng.random() < 0.7 else (2**62).to_bytes(8, "little")
        path.write_bytes(whole[:at] + changed + whole[at + len(changed) :] if rng.random() < 0.8 else whole[:at])
        if path.read_bytes() == whole:
            continue
        with pytest.raises(Damaged):
            checkpoint.saved_curve(tmp_path)
        again = ready()
        with pytest.raises(Damaged) as error:
            checkpoint.load(tmp_path, again.engine, again.curve, again.name)
        assert "\n" not in str(error.value) and "remove it to start" in str(error.value)


def test_a_checkpoint_of_another_format_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sim = ready()
    sim.engine.run(50)
    with monkeypatch.context() as older:
        older.setattr(checkpoint, "FORMAT", "1")
        checkpoint.save(tmp_path, sim.engine, sim.curve, sim.name)
    with pytest.raises(Damaged, match="format 1, this version reads 2; remove it to start again"):
        checkpoint.load(tmp_path, sim.engine, sim.curve, sim.name)
