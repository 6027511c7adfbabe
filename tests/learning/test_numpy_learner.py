"""The reference learner: gradients, the lane rule, local work in closed form, refusals."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hocket.errors import Diverged, InvalidInput
from hocket.learning import MLP, ClientData, Examples, Job, LocalSGD, NumpyLearner, softmax
from hocket.learning.order import batches, streams, width
from hocket.testing.learner import LearnerConformance, check_lane_rule

SIZES = [1, 2, 3, 7, 8, 9, 10, 14, 20, 21, 40, 1, 13, 30]
MODELS = {"softmax": softmax(13, 5), "mlp": MLP(13, (7, 1, 6), 5), "wide": MLP(13, (300,), 2)}


def learner_of(model: MLP, sizes: list[int] = SIZES, seed: int = 0) -> NumpyLearner:
    draw = np.random.default_rng(seed)

    def examples(n: int, name: str) -> Examples:
        x = draw.standard_normal((n, model.features)).astype(np.float32)
        return Examples(x, draw.integers(model.classes, size=n), name)

    offsets = np.concatenate([[0], np.cumsum(sizes)])
    data = ClientData(examples(sum(sizes), "train"), offsets, examples(70, "v"), examples(130, "t"))
    return NumpyLearner(model, data)


LEARNERS = {name: learner_of(model) for name, model in MODELS.items()}


class TestSoftmax(LearnerConformance):
    def learner(self) -> NumpyLearner:
        return LEARNERS["softmax"]


class TestMLP(LearnerConformance):
    def learner(self) -> NumpyLearner:
        return LEARNERS["mlp"]


works = st.builds(
    LocalSGD,
    lr=st.sampled_from([0.01, 0.3]),
    batch_size=st.sampled_from([1, 2, 3, 8, 10, 17, 64]),
    epochs=st.sampled_from([None, 1, 3]),
    momentum=st.sampled_from([0.0, 0.9]),
    weight_decay=st.sampled_from([0.0, 0.1]),
    proximal=st.sampled_from([0.0, 0.5]),
    decay=st.sampled_from([1.0, 0.5]),
) | st.builds(
    LocalSGD,
    lr=st.just(0.1),
    batch_size=st.sampled_from([1, 5, 10]),
    steps=st.sampled_from([1, 4, 19]),
    momentum=st.sampled_from([0.0, 0.5]),
)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=40)
@given(data=st.data())
def test_lane_rule(name: str, data: st.DataObject) -> None:
    learner = LEARNERS[name]
    shared = data.draw(st.lists(works, min_size=1, max_size=2))
    jobs = data.draw(
        st.lists(
            st.builds(
                Job,
                lease=st.just(0),
                client=st.integers(0, len(SIZES) - 1),
                start=st.sampled_from([learner.initial(s) for s in range(3)]),
                local=st.sampled_from(shared),
                seed=st.integers(-(2**63), 2**64),
                version=st.integers(0, 3),
            ),
            min_size=1,
            max_size=80,
        )
    )
    check_lane_rule(learner, jobs)


def test_the_number_of_blas_threads_changes_nothing() -> None:
    """Products above the size from which BLAS would use threads; one digest per number of threads."""
    code = """
import numpy as np
from hashlib import blake2b
from hocket.learning import *
draw = np.random.default_rng(0)
rows = Examples(draw.standard_normal((160, 600)).astype(np.float32), draw.integers(10, size=160))
data = ClientData(rows, np.array([0, 96, 160]), rows, rows)
learner = NumpyLearner(MLP(600, (150,), 10), data)
x = learner.initial(0)
local = [LocalSGD(lr=0.05, batch_size=b) for b in (48, 1)]
done = learner.train([Job(i, i % 2, x, local[i // 2], i, 0) for i in range(4)])
print(blake2b(b"".join(t.delta.tobytes() for t in done)).hexdigest(), learner.evaluate(x, "test"))
"""
    where = {"PYTHONPATH": os.pathsep.join(sys.path)}
    told = set()
    for threads in ("1", "2", "4"):
        count = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), threads)
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | where | count,
            capture_output=True,
            text=True,
            check=True,
        )
        told.add(done.stdout)
    assert len(told) == 1


@pytest.mark.parametrize("name", MODELS)
def test_gradient_equals_finite_differences_in_float64(name: str) -> None:
    model, draw = MODELS[name], np.random.default_rng(1)
    lanes, wide = 3, 6
    x = (0.5 * draw.standard_normal((lanes, model.schema.size))).astype(np.float32)
    inputs = draw.standard_normal((lanes, wide, model.features)).astype(np.float32)
    labels = draw.integers(model.classes, size=(lanes, wide))
    scale = draw.random((lanes, wide)).astype(np.float32)
    scale[:, -1] = 0

    def loss(p: np.ndarray, lane: int) -> tuple[float, np.ndarray]:
        h, *rest = inputs[lane].astype(np.float64), *model.blocks(p)
        for i, block in enumerate(rest):
            h = (np.maximum(h, 0) if i else h) @ block[:-1] + block[-1]
        each = np.log(np.exp(h).sum(axis=1)) - h[np.arange(wide), labels[lane]]
        return float(each @ scale[lane]), each

    work = model.workspace(lanes, wide)
    work.inputs[..., :-1] = inputs
    g = np.empty_like(x)
    base = np.arange(lanes)[:, None] * (model.classes * wide) + np.arange(wide)
    losses = work.gradient(x, labels * wide + base, scale, g)
    for lane in range(lanes):
        p = x[lane].astype(np.float64)
        np.testing.assert_allclose(losses[lane], loss(p, lane)[1], rtol=1e-5, atol=1e-6)
        for i in draw.choice(p.size, size=min(p.size, 120), replace=False):
            step = np.zeros_like(p)
            step[i] = 1e-6
            slope = (loss(p + step, lane)[0] - loss(p - step, lane)[0]) / 2e-6
            assert g[lane, i] == pytest.approx(slope, rel=1e-4, abs=2e-6)


def reference(learner: NumpyLearner, job: Job) -> tuple[np.ndarray, float]:
    """Softmax regression with plain loops in float64, batches from the same keyed order."""
    local, data = job.local, learner._data
    lo, hi = data.offsets[job.client : job.client + 2]
    n = int(hi - lo)
    x0 = job.start.astype(np.float64)
    x, v, total = x0.copy(), np.zeros_like(x0), 0.0
    order, _ = streams(np.array([job.seed], np.uint64), np.array([n]), np.array([50]))
    cuts = []
    if local.epochs is not None:
        for e in range(local.epochs):
            cuts += [order[e * n : (e + 1) * n][i : i + local.batch_size] for i in range(0, n, local.batch_size)]
    else:
        b = min(local.batch_size, n)
        cuts = [order[s * b : (s + 1) * b] for s in range(local.steps)]
    for batch in cuts:
        f = data.train.features[lo + batch].astype(np.float64)
        w = x.reshape(14, 5)
        z = f @ w[:-1] + w[-1]
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        rows = np.arange(len(batch)), data.train.labels[lo + batch]
        total -= np.log(p[rows]).sum()
        p[rows] -= 1
        g = np.vstack([f.T @ p, p.sum(axis=0)]).ravel() / len(batch)
        v = local.momentum * v + g + local.weight_decay * x + local.proximal * (x - x0)
        x = x - local.rate(job.version) * v
    return x - x0, total / sum(len(c) for c in cuts)


@pytest.mark.parametrize(
    "local",
    [
        LocalSGD(lr=0.2, batch_size=10),
        LocalSGD(lr=0.2, batch_size=4, epochs=3, decay=0.5, decay_every=2),
        LocalSGD(lr=0.2, batch_size=9, steps=5),
        LocalSGD(lr=0.05, batch_size=4, steps=11, momentum=0.9, weight_decay=0.1, proximal=1.0),
    ],
)
def test_local_work_equals_a_plain_float64_loop(local: LocalSGD) -> None:
    learner = LEARNERS["softmax"]
    start = np.random.default_rng(2).standard_normal(learner.schema.size).astype(np.float32)
    jobs = [Job(c, c, start, local, 99 + c, 5) for c in range(len(SIZES))]
    for job, done in zip(jobs, learner.train(jobs), strict=True):
        delta, loss = reference(learner, job)
        np.testing.assert_allclose(done.delta, delta, rtol=1e-4, atol=2e-6)
        assert done.metrics["loss"] == pytest.approx(loss, rel=1e-5)


def test_proximal_term_in_closed_form() -> None:
    """Full-batch step 2 of FedProx differs from plain SGD by -rate * mu * (w1 - w0)."""
    learner = LEARNERS["softmax"]
    x = learner.initial(0)
    plain, prox, once = (
        learner.train([Job(0, 10, x, LocalSGD(lr=0.1, batch_size=40, steps=s, proximal=mu), 1, 0)])[0].delta
        for s, mu in ((2, 0.0), (2, 3.0), (1, 3.0))
    )
    np.testing.assert_allclose(prox - plain, -0.1 * 3.0 * once, rtol=1e-3, atol=1e-7)


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    local=st.builds(LocalSGD, lr=st.just(1.0), batch_size=st.integers(1, 45), epochs=st.integers(1, 20))
    | st.builds(LocalSGD, lr=st.just(1.0), batch_size=st.integers(1, 45), steps=st.integers(1, 40)),
)
def test_every_pass_uses_every_sample_once(sizes: list[int], local: LocalSGD) -> None:
    wide = max(width(local, n) for n in sizes)
    sizes = sorted((n for n in sizes if width(local, n) == wide), key=lambda n: -local.updates(n))
    seen: list[list[int]] = [[] for _ in sizes]
    for batch in batches(local, np.arange(len(sizes), dtype=np.uint64), np.array(sizes), wide):
        for lane, (rows, scale) in enumerate(zip(batch.rows, batch.scale, strict=True)):
            real = scale > 0
            assert scale.sum() == pytest.approx(1, rel=1e-5)
            assert set(rows[~real].tolist()) <= set(rows[real].tolist())
            seen[lane] += rows[real].tolist()
    for n, rows in zip(sizes, seen, strict=True):
        assert len(rows) == local.samples(n)
        for at in range(0, len(rows) - n + 1, n):
            assert sorted(rows[at : at + n]) == list(range(n))


def test_orders_are_uniform() -> None:
    order, _ = streams(np.arange(6000, dtype=np.uint64), np.full(6000, 3), np.ones(6000, np.int64))
    _, count = np.unique(order.reshape(-1, 3) @ np.array([9, 3, 1]), return_counts=True)
    assert len(count) == 6 and abs(count - 1000).max() < 4 * 29


def test_evaluate_equals_a_plain_loop() -> None:
    learner = LEARNERS["mlp"]
    x = learner.initial(4)
    split = learner._data.test
    h = split.features.astype(np.float64)
    for i, block in enumerate(MODELS["mlp"].blocks(x.astype(np.float64))):
        h = (np.maximum(h, 0) if i else h) @ block[:-1] + block[-1]
    loss = np.log(np.exp(h).sum(axis=1)) - h[np.arange(len(split)), split.labels]
    got = learner.evaluate(x, "test")
    assert got["accuracy"] == np.mean(h.argmax(axis=1) == split.labels)
    assert got["loss"] == pytest.approx(loss.mean(), rel=1e-5)


def test_divergence_names_the_client() -> None:
    learner = LEARNERS["mlp"]
    x = learner.initial(0)
    jobs = [Job(i, c, x, LocalSGD(lr=lr, batch_size=2), 1, 0) for i, (c, lr) in enumerate([(3, 0.1), (9, 1e30)])]
    with pytest.raises(Diverged, match=r"client 9: its result \(lease 1\) is not finite .* rate 1e\+30; lower lr"):
        learner.train(jobs)


def test_bad_jobs() -> None:
    learner, local = LEARNERS["softmax"], LocalSGD(lr=0.1, batch_size=2)
    x = learner.initial(0)
    with pytest.raises(InvalidInput, match="client 14 does not exist; the learner has clients 0 to 13"):
        learner.train([Job(0, 14, x, local, 0, 0)])
    with pytest.raises(InvalidInput, match=r"client 2: start is float64\[70\]; the model is float32\[70\]"):
        learner.train([Job(0, 2, x.astype(np.float64), local, 0, 0)])
    with pytest.raises(InvalidInput, match="split 'train' does not exist; ask for 'validation' or 'test'"):
        learner.evaluate(x, "train")
    with pytest.raises(InvalidInput, match=r"x is float32\[69\]; the model is float32\[70\]"):
        learner.evaluate(x[1:], "test")


def test_model_must_fit_the_data() -> None:
    data = LEARNERS["softmax"]._data
    with pytest.raises(InvalidInput, match="train: 13 features for a model of 12"):
        NumpyLearner(softmax(12, 5), data)
    with pytest.raises(InvalidInput, match=r"train: label 4 of row \d+ is not one of the model's 4 classes \(0 to 3\)"):
        NumpyLearner(softmax(13, 4), data)
    with pytest.raises(InvalidInput, match="model: layers 3-0-2; it needs 1 feature, 2 classes and 1 unit"):
        MLP(3, (0,), 2)
