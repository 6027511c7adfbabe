"""Sub-models in learners: masks that hold, squared gradients, batches of different covers, and slices of a real
width."""

import numpy as np
import pytest
from msgspec.structs import replace

from hocket.errors import InvalidInput
from hocket.keyed import key
from hocket.learning import MLP, ClientData, Examples, Job, LocalSGD, NumpyLearner, SlicedLearner, squares
from hocket.ranking import Ranking, schema_of
from hocket.submodel import Slices
from hocket.testing.moments import lease
from hocket.uplink import Banded
from hocket.width import at_width, block

LOCAL = LocalSGD(lr=0.05, batch_size=4, steps=5)
draw = np.random.default_rng(0)
ROWS = Examples(draw.standard_normal((90, 12)).astype(np.float32), draw.integers(3, size=90))
DATA = ClientData(ROWS, np.array([0, 30, 55, 70, 90]), ROWS, ROWS)


def numpy_learner(width: float = 1.0) -> NumpyLearner:
    return NumpyLearner(MLP(12, (round(16 * width), round(8 * width)), 3), DATA)


def torch_learner(width: float = 1.0, path: str = "auto", convolution: bool = False):
    pytest.importorskip("torch")
    from torch import nn

    from hocket.learning.torch_learner import TorchLearner

    def build() -> nn.Module:
        a, b = round(16 * width), round(8 * width)
        return nn.Sequential(nn.Linear(12, a), nn.ReLU(), nn.Linear(a, b), nn.ReLU(), nn.Linear(b, 3))

    return TorchLearner(build, DATA, path=path)


LEARNERS = {
    "numpy": numpy_learner,
    "stack": lambda: torch_learner(path="stack"),
    "single": lambda: torch_learner(path="single"),
    "auto": torch_learner,
}


def jobs_of(learner, covers, local=LOCAL, wants=True):
    x = learner.initial(0)
    out = []
    for i, covered in enumerate(covers):
        start = x
        if covered is not None:
            start = np.zeros_like(x)
            start[covered] = x[covered]
        out.append(Job(i, i % 4, start, local, key(i), 0, covered, wants))
    return out


def covers(size):
    order = np.random.default_rng(1).permutation(size).astype(np.int32)
    return [order[: int(share * size)] for share in (0.2, 0.5, 0.9)]


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("local", [LOCAL, LocalSGD(lr=0.05, batch_size=4, epochs=1, momentum=0.5, weight_decay=0.01)])
def test_what_is_not_covered_stays_zero(name, local):
    learner = LEARNERS[name]()
    given = jobs_of(learner, covers(learner.schema.size), local)
    for job, done in zip(given, learner.train(given), strict=True):
        outside = np.ones(len(job.start), bool)
        outside[job.covered] = False
        assert not done.delta[outside].any() and done.delta[~outside].any()
        assert len(done.aux) == squares.size(len(job.covered))


@pytest.mark.parametrize("name", LEARNERS)
def test_a_client_does_not_depend_on_the_covers_beside_it(name):
    learner = LEARNERS[name]()
    given = jobs_of(learner, [*covers(learner.schema.size), None, None])
    together = learner.train(given)
    for job, done in zip(given, together, strict=True):
        (alone,) = LEARNERS[name]().train([job])
        assert alone.delta.tobytes() == done.delta.tobytes() and alone.aux == done.aux
    whole = replace(given[3], covered=np.arange(learner.schema.size, dtype=np.int32))
    np.testing.assert_allclose(learner.train([whole])[0].delta, together[3].delta, atol=1e-6)


def test_masked_training_is_training_with_a_masked_forward_pass():
    """Against torch's own gradient of the network whose weights are multiplied by the mask."""
    torch = pytest.importorskip("torch")
    from torch.func import functional_call

    from hocket.learning.order import batches

    learner = torch_learner(path="single")
    (job,) = jobs_of(learner, covers(learner.schema.size)[1:2], replace(LOCAL, batch_size=90, steps=3))
    job = replace(job, client=0)
    mask = torch.zeros(learner.schema.size)
    mask[torch.from_numpy(job.covered.astype(np.int64))] = 1
    w = torch.from_numpy(job.start.copy()).requires_grad_()
    net, x, y = learner._net.module, torch.from_numpy(ROWS.features[:30]), torch.from_numpy(ROWS.labels[:30])
    for _ in batches(job.local, np.array([job.seed], np.uint64), np.array([30]), 30):
        parts, at = {}, 0
        for s in learner.schema.travelling:
            parts[s.name] = (w * mask)[at : at + s.size].reshape(s.shape)
            at += s.size
        loss = torch.nn.functional.cross_entropy(functional_call(net, parts, (x,)), y)
        (g,) = torch.autograd.grad(loss, w)
        w = (w - 0.05 * g).detach().requires_grad_()
    (done,) = learner.train([job])
    np.testing.assert_allclose(done.delta, w.detach().numpy() - job.start, atol=1e-6)
    theirs = np.square(g.numpy()[job.covered], dtype=np.float64)
    ours = squares.decode(done.aux, len(job.covered))
    np.testing.assert_allclose(ours / ours.max(), theirs / theirs.max(), rtol=0.1, atol=1e-3)


@pytest.mark.parametrize("path", ["single", "stack", "auto"])
def test_numpy_and_torch_send_the_same_squares(path):
    """The same network and batch: what is uploaded differs by the orientation of the tensors only."""
    ours, theirs = numpy_learner(), torch_learner(path=path)
    a, b = ours.initial(0), np.empty(0, np.float32)
    turned = np.concatenate([v.T.ravel() if v.ndim > 1 else v for v in ours.schema.views(np.arange(len(a))).values()])
    b = a[turned.astype(int)]
    one = Job(0, 1, a, LOCAL, 5, 0, None, True)
    (mine,), (other,) = ours.train([one]), theirs.train([replace(one, start=b)])
    got = [squares.decode(d.aux, len(a)) for d in (mine, other)]
    left, right = got[0][turned.astype(int)] / got[0].max(), got[1] / got[1].max()
    np.testing.assert_allclose(left, right, rtol=0.2, atol=1e-4)


@pytest.mark.parametrize("build", [numpy_learner, torch_learner])
def test_a_slice_is_a_model_of_its_own_width(build):
    """It trains what the masked whole trains, in tensors of half the width."""
    sliced, whole = SlicedLearner(build, (1.0, 0.5)), build()
    policy = Slices((1.0, 0.5))
    order, cuts = policy.order(whole.schema, None, None), policy.cuts(whole.schema)
    shapes = [s.shape for s in sliced._parts[cuts[0]].schema.travelling]
    assert shapes == [s.shape for s in at_width(whole.schema, 0.5)] and sorted(sliced.sizes) == list(cuts)
    given = jobs_of(whole, [order[: cuts[0]], order, None], wants=False)
    for job, small, masked in zip(given, sliced.train(given), whole.train(given), strict=True):
        np.testing.assert_allclose(small.delta, masked.delta, atol=2e-6)
        outside = np.setdiff1d(np.arange(whole.schema.size), block(whole.schema, 0.5))
        assert job.covered is None or len(job.covered) > cuts[0] or not small.delta[outside].any()
    part = schema_of(Ranking.of(order, cuts).cuts, cuts[0])
    data, _ = Banded().encode(None, given[0].start[np.sort(given[0].covered)], None, part, lease(0))
    assert len(data) == Banded().size(part, lease(0).cover)[0] < 4 * whole.schema.size // 2
    with pytest.raises(InvalidInput, match=r"client 0: a cover of 7 coordinates; this learner trains"):
        sliced.train([replace(given[0], covered=order[:7])])


def test_another_shape_than_the_slice_is_refused():
    with pytest.raises(InvalidInput, match=r"width 0.5: tensors .* the leading part of the whole model is"):
        SlicedLearner(lambda r: numpy_learner(1.0 if r == 1 else 0.25), (0.5,))
