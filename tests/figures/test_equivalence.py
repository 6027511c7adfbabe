"""The exact claims: lazy equals eager, the same seed gives the same bytes, FedAvg is the plain loop."""

import numpy as np
import pytest

import hocket as hk
from hocket.keyed import key
from hocket.learning import Job, LocalSGD

METHODS = {
    "fedavg": hk.strategies.fedavg(cohort=10, overcommit=1.3),
    "fedasync": hk.strategies.fedasync(in_flight=12),
    "fedbuff": hk.strategies.fedbuff(buffer=5, in_flight=20),
}


def digits(model: str) -> hk.Task:
    return hk.reference_tasks.digits(clients=60, alpha=0.3, model=model)


@pytest.mark.parametrize("model", ["softmax", "mlp"])
@pytest.mark.parametrize("name", METHODS)
def test_lazy_batches_equal_one_at_a_time_bit_for_bit(name: str, model: str) -> None:
    task, fleet = digits(model), hk.Fleet.synthetic(60, seed=1, compute_law=hk.fleet.Exponential())
    until = hk.Until(updates=500)
    lazy = hk.simulate(task, fleet, METHODS[name], until, seed=3, log=True)
    eager = hk.simulate(task, fleet, METHODS[name], until, seed=3, log=True, eager=True)
    assert eager.machine["mean_batch"] == 1.0 < lazy.machine["mean_batch"]
    assert lazy.models["digits"].tobytes() == eager.models["digits"].tobytes()
    assert lazy.summary == eager.summary and lazy.curve == eager.curve
    assert lazy.log.table().equals(eager.log.table())


@pytest.mark.parametrize("name", METHODS)
def test_same_seed_same_bytes(name: str, tmp_path) -> None:
    for run in ("a", "b"):
        fleet = hk.Fleet.synthetic(60, seed=1)
        hk.simulate(digits("softmax"), fleet, METHODS[name], hk.Until(updates=300), seed=5, out=tmp_path / run)
    for file in ("summary.json", "model-digits.safetensors", "curve.parquet", "events/000000.parquet"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_another_seed_gives_another_run() -> None:
    runs = [
        hk.simulate(digits("softmax"), hk.Fleet.synthetic(60), METHODS["fedbuff"], hk.Until(updates=100), seed=s)
        for s in (0, 1)
    ]
    assert runs[0].models["digits"].tobytes() != runs[1].models["digits"].tobytes()


@pytest.mark.parametrize("objective", ["uniform", "samples"])
def test_fedavg_equals_a_plain_loop(objective: str) -> None:
    """Equal devices, everybody in every round: x <- x + weighted mean of the local results."""
    task = hk.reference_tasks.digits(
        clients=20, model="mlp", local=LocalSGD(lr=0.1, batch_size=8, epochs=2), objective=objective
    )
    fleet = hk.Fleet.equal(20, compute=0.01, down=1e6, up=1e6)
    rounds, seed = 15, 7
    run = hk.simulate(task, fleet, hk.strategies.fedavg(cohort=20), hk.Until(steps=rounds), seed=seed)
    x = task.learner.initial(key(seed, "initial", "digits")).astype(np.float64)
    weights = task.samples / task.samples.sum() if objective == "samples" else np.full(20, 1 / 20)
    from hocket.keyed import mix

    for version in range(rounds):
        start = x.astype(np.float32)
        seeds = [mix(key(seed, "lease", "digits") ^ (c << 32 | version)) for c in range(20)]
        jobs = [Job(c, c, start, task.local, seeds[c], version) for c in range(20)]
        x = start + sum(w * t.delta.astype(np.float64) for w, t in zip(weights, task.learner.train(jobs), strict=True))
    np.testing.assert_allclose(run.models["digits"], x, atol=1e-6)
    assert run.summary["tasks"]["digits"]["version"] == rounds
