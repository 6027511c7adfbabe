"""The torch learner: any module, every path by the same suite, bad input in one line."""

from collections.abc import Callable
from copy import deepcopy
from sys import platform
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import hocket as hk
from hocket import TorchLearner
from hocket.errors import Diverged, InvalidInput
from hocket.keyed import generator
from hocket.learning import MLP, ClientData, Examples, Job, LocalSGD, NumpyLearner, torch_learner
from hocket.learning.order import batches, width
from hocket.testing.learner import LearnerConformance, check_lane_rule, draw_jobs, same

SIZES = (13, 5, 20, 1, 9)


def data(
    shape: tuple[int, ...] = (6,), classes: int = 4, sizes: tuple[int, ...] = SIZES, kind: str = "f4"
) -> ClientData:
    """Random features with classes that a model can learn; ``kind`` is the type of the features."""
    g = generator(5)
    n = sum(sizes) + 40
    x = g.standard_normal((n, *shape)).astype("f4") if kind == "f4" else g.integers(0, 11, (n, *shape)).astype(kind)
    y = x.reshape(n, -1)[:, :classes].argmax(1)
    rows = Examples(x, y)
    cut = sum(sizes)
    held = rows.take(slice(cut, n))
    return ClientData(rows.take(slice(0, cut)), np.cumsum([0, *sizes]), held, held)


class Recurrent(nn.Module):
    """Next character by an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 5)
        self.lstm = nn.LSTM(5, 7, batch_first=True)
        self.out = nn.Linear(7, 11)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.lstm(self.embed(x))[0])
        return out


def text() -> ClientData:
    rows = data((6,), kind="i8").train
    pairs = Examples(rows.features[:, :-1], rows.features[:, 1:])
    return ClientData(pairs, np.cumsum([0, *SIZES]), pairs, pairs)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(),
        nn.Dropout(0.3), nn.Linear(16, 4),
    )  # fmt: skip


def images() -> nn.Module:
    """Every kind of layer that images have in a stack, uneven sides, groups, and a frozen bias."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 2, stride=2, groups=2, bias=False),
        nn.GELU(), nn.AvgPool2d(2, stride=1), nn.Tanh(), nn.Flatten(), nn.Linear(6, 5), nn.SiLU(), nn.Linear(5, 4),
    )  # fmt: skip


class Written(nn.Module):
    """A forward pass in words; functions instead of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.one, self.two = nn.Conv2d(1, 3, 5), nn.Linear(12, 7), nn.Linear(7, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.conv(x)), 2)
        out: Tensor = self.two(torch.sigmoid(self.one(torch.flatten(x, 1))))
        return out


def bent() -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 5), nn.GELU(), nn.Linear(5, 3), nn.ELU(), nn.Linear(3, 4)
    )


def normed() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.GELU(), nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 5), nn.LayerNorm(5), nn.Sigmoid(), nn.Linear(5, 4),
    )  # fmt: skip


def normed_rows() -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Dropout(0.2), nn.Linear(10, 5), nn.LayerNorm(5), nn.SiLU(),
        nn.Linear(5, 4),
    )  # fmt: skip


def curved() -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 17, bias=False), nn.Tanh(), nn.Linear(17, 5), nn.Sigmoid(), nn.Linear(5, 33, bias=False),
        nn.ReLU(), nn.Linear(33, 4),
    )  # fmt: skip


class Residual(nn.Module):
    """Images past a branch, with running statistics: no chain of layers, and samples that see one another."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.branch, self.last = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(36, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        out: Tensor = self.last(nn.functional.max_pool2d(x + self.branch(x), 2).flatten(1))
        return out


class Attending(nn.Module):
    """A block of a transformer: embedding, causal attention, normalization, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(11, 8), nn.Parameter(torch.zeros(5, 8))
        self.norm, self.mixed, self.drop = nn.LayerNorm(8), nn.Linear(8, 24), nn.Dropout(0.2)
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
        self.out = nn.Linear(8, 11)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.place
        n, t, d = x.shape
        q, k, v = (z.view(n, t, 2, d // 2).transpose(1, 2) for z in self.mixed(self.norm(x)).chunk(3, -1))
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: Tensor = self.out(self.layer(x + self.drop(y.transpose(1, 2).reshape(n, t, d))))
        return out


class LowRank(nn.Linear):
    """A layer that stays as it is, and a product of two thin matrices that is trained beside it."""

    def __init__(self, ins: int, outs: int) -> None:
        super().__init__(ins, outs)
        self.a, self.b = nn.Parameter(torch.ones(2, ins)), nn.Parameter(torch.zeros(outs, 2))
        self.weight.requires_grad_(False)
        self.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(x) + x @ self.a.T @ self.b.T
        return out


def low_rank() -> nn.Module:
    return nn.Sequential(LowRank(6, 8), nn.Tanh(), LowRank(8, 4))


class Watching(nn.Module):
    """Remembers what it saw, and nothing else depends on it."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 8), nn.Linear(8, 4)
        self.register_buffer("seen", torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        self.seen.mul_(0.9).add_(x.detach().mean(0), alpha=0.1)
        out: Tensor = self.two(torch.tanh(self.one(x)))
        return out


class Tied(nn.Module):
    """An embedding that is the output layer, too."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.layer, self.out = nn.Embedding(11, 6), nn.Linear(6, 6), nn.Linear(6, 11, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(torch.tanh(self.layer(self.embed(x))))
        return out


class Overlapping(nn.Module):
    """Two parameters on the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 6)
        self.two.weight = nn.Parameter(self.one.weight.data.T)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.two(torch.tanh(self.one(x)))
        return out


def uneven() -> nn.Module:
    return nn.Sequential(LowRank(6, 7), nn.Sigmoid(), LowRank(7, 33), nn.Linear(33, 5))


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], ClientData], dict[str, Any]]] = {
    "mlp": (mlp, data, {}),
    "softmax": (lambda: nn.Linear(6, 4), data, {}),
    "bent": (bent, data, {}),
    "curved": (curved, data, {}),
    "images": (images, lambda: data((2, 9, 9)), {"trainable": lambda n: n != "0.bias"}),
    "written": (Written, lambda: data((1, 9, 9), kind="u1"), {}),
    "cnn": (cnn, lambda: data((1, 8, 8)), {}),
    "normed": (normed, lambda: data((1, 8, 8), kind="u1"), {}),
    "normed_rows": (normed_rows, lambda: data(sizes=(13, 5, 20, 8, 9)), {}),
    "residual": (Residual, lambda: data((1, 8, 8), sizes=(12, 4, 20, 16, 8), kind="u1"), {}),
    "attending": (Attending, text, {"loss": "next_character"}),
    "low_rank": (low_rank, data, {}),
    "uneven": (uneven, data, {}),
    "watching": (Watching, data, {}),
    "lstm": (Recurrent, text, {"loss": "next_character"}),
    "tied": (Tied, text, {"loss": "next_character"}),
}
"""Name to a builder, its data and further arguments."""


def learner(name: str, **more: Any) -> TorchLearner:
    build, samples, kwargs = MODELS[name]
    return TorchLearner(build, samples(), **{**kwargs, "threads": 2, **more})


class TestSingle(LearnerConformance):
    def learner(self) -> TorchLearner:
        return learner("mlp", path="single")


class TestStack(LearnerConformance):
    def learner(self) -> TorchLearner:
        return learner("mlp", path="stack")


class TestDelayed(LearnerConformance):
    local = (*LearnerConformance.local, LocalSGD(lr=0.1, batch_size=4, epochs=12), LocalSGD(lr=0.1, batch_size=60))

    def learner(self) -> TorchLearner:
        return learner("bent", path="delayed")


class TestDelayedAlone(LearnerConformance):
    def learner(self) -> TorchLearner:
        return learner("softmax", path="delayed")


class TestCompiled(LearnerConformance):
    local = TestDelayed.local

    def learner(self) -> TorchLearner:
        return learner("curved", path="compiled")


class TestImagesOneByOne(LearnerConformance):
    def learner(self) -> TorchLearner:
        return learner("images", path="stack-1")


class TestBent(LearnerConformance):
    def learner(self) -> TorchLearner:
        return learner("bent", path="stack")


class TestImages(LearnerConformance):
    def learner(self) -> TorchLearner:
        return learner("images", path="stack")


class TestWritten(LearnerConformance):
    def learner(self) -> TorchLearner:
        return learner("written", path="stack")


FOURS = (
    LocalSGD(lr=0.1, batch_size=4),
    LocalSGD(lr=0.1, batch_size=12, steps=3, decay=0.5),
    LocalSGD(lr=0.05, batch_size=16, epochs=2, momentum=0.9, weight_decay=0.01, proximal=0.1),
)
"""Local work in batches of multiples of four."""


class TestResidualMapped(LearnerConformance):
    local = FOURS

    def learner(self) -> TorchLearner:
        return learner("residual", path="vmap")


class TestAttendingMapped(LearnerConformance):
    local = LearnerConformance.local[::3]

    def learner(self) -> TorchLearner:
        return learner("attending", path="vmap")


def hooked() -> nn.Module:
    model = mlp()
    model[0].register_forward_hook(lambda module, inputs, output: 2 * output)
    return model


def hooked_back() -> nn.Module:
    model = mlp()
    model[1].register_full_backward_hook(lambda module, below, above: (0.1 * below[0],))
    return model


def patched() -> nn.Module:
    model = mlp()
    model[1].forward = torch.sin
    return model


class Still(nn.Sequential):
    """Its norm keeps its statistics in training."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))

    def train(self, mode: bool = True) -> "Still":
        super().train(mode)
        self[1].eval()
        return self


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 4))
    model[2].weight = model[0].weight
    return model


def in_place() -> nn.Module:
    return nn.Sequential(
        nn.LeakyReLU(0.5, inplace=True), nn.Linear(6, 8), nn.ELU(inplace=True), nn.Linear(8, 8), nn.SiLU(inplace=True),
        nn.Linear(8, 4),
    )  # fmt: skip


def clipped() -> nn.Module:
    model = mlp()
    model[0].weight.register_hook(lambda gradient: gradient.clamp(-1, 1))
    return model


def derived() -> nn.Module:
    """With a tensor that was computed from a parameter."""
    model = mlp()
    model[0].scaled = 2 * model[0].weight
    return model


@pytest.mark.parametrize("build", [hooked, hooked_back, patched, Still, tied, in_place])
def test_a_module_does_on_its_path_what_it_does_by_itself(build: Callable[[], nn.Module]) -> None:
    """A chain is not one if a module of it does more than its type does."""
    samples, g = data(), generator(3)
    model, local = build(), LocalSGD(lr=0.1, batch_size=4, epochs=2)
    before = samples.test.features.tobytes()
    own = TorchLearner(model, samples, threads=1)
    jobs = draw_jobs(own, (local,), 6, 1)
    for job, done in zip(jobs, own.train(jobs), strict=True):
        plain = deepcopy(model).train()
        tensors = {n: t for n, t in plain.state_dict(keep_vars=True).items() if n in own.schema.views(job.start)}
        for name, value in own.schema.views(job.start).items():
            tensors[name].data.copy_(torch.from_numpy(value))
        rows = samples.train.take(slice(*samples.offsets[job.client : job.client + 2]))
        n = len(rows.labels)
        for batch in batches(local, np.array([job.seed], np.uint64), np.array([n]), width(local, n)):
            at = batch.rows[0][batch.scale[0] > 0]
            x, y = torch.from_numpy(rows.features[at]), torch.from_numpy(rows.labels[at])
            loss = nn.functional.cross_entropy(plain(x), y)
            trained = [p for p in plain.parameters() if p.requires_grad]
            with torch.no_grad():
                for p, gradient in zip(trained, torch.autograd.grad(loss, trained), strict=True):
                    p -= 0.1 * gradient
        moved = own.schema.flatten({n: t.detach().numpy() for n, t in tensors.items()}) - job.start
        np.testing.assert_allclose(done.delta, moved, atol=1e-5)
    x = (own.initial(0) + 0.1 * g.standard_normal(own.schema.size)).astype(np.float32)
    assert own.evaluate(x, "test") == own.evaluate(x, "test")
    assert samples.test.features.tobytes() == before, "data are not written to"


TWO = (
    LocalSGD(lr=0.05, batch_size=7, steps=4),
    LocalSGD(lr=0.05, batch_size=12, steps=5, momentum=0.9, weight_decay=0.01, proximal=0.1),
)
"""Local work without a batch of one."""
STACKS = [
    ("mlp", "compiled"), ("softmax", "compiled"), ("curved", "compiled"), ("mlp", "stack"), ("mlp", "delayed"),
    ("softmax", "stack"), ("softmax", "delayed"), ("bent", "stack"),
    ("bent", "delayed"), ("images", "stack-8"), ("images", "stack-1"), ("written", "stack-8"), ("written", "stack-1"),
    ("cnn", "stack-8"), ("normed", "stack-8"), ("normed", "stack-1"), ("normed_rows", "stack"),
    ("normed_rows", "delayed"), ("normed", "single-last"), ("cnn", "single-last"),
    ("residual", "vmap"), ("attending", "vmap"), ("low_rank", "vmap"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "path"), STACKS)
def test_stack_in_lanes_of_any_number(name: str, path: str) -> None:
    """128, 32, 8 and 1 at a time and 1, 2 and 4 workers, bit for bit; and up to rounding what autograd says."""
    own, reference = learner(name, path=path), learner(name, path="single")
    local = {"normed_rows": TWO, "residual": FOURS, "attending": FOURS}.get(name, LearnerConformance.local)
    jobs = draw_jobs(own, local, 128, 4)
    together = own.train(jobs)
    for lanes in (1, 8, 32):
        apart = [t for at in range(0, len(jobs), lanes) for t in own.train(jobs[at : at + lanes])]
        assert all(same(a, b) for a, b in zip(together, apart, strict=True))
    for threads in (1, 4):
        other = learner(name, path=path, threads=threads).train(jobs)
        assert all(same(a, b) for a, b in zip(together, other, strict=True))
    pairs = list(zip(together, reference.train(jobs), strict=True))
    close = [np.allclose(a.delta, b.delta, rtol=2e-3, atol=3e-5) for a, b in pairs]
    assert sum(close) >= len(jobs) - 2, "more than what a unit whose input is zero up to rounding can explain"
    for a, b in pairs:
        assert a.metrics["loss"] == pytest.approx(b.metrics["loss"], rel=1e-3)
    plain = {path, "stack"} if path in ("compiled", "delayed") else {path}  # what is put off has no momentum
    assert set(own.kernels.values()) == plain and set(reference.kernels.values()) == {"single"}


@pytest.mark.parametrize(
    ("name", "work", "paths"),
    [
        ("attending", LocalSGD(lr=0.1, batch_size=7), {"vmap"}),
        ("residual", LocalSGD(lr=0.1, batch_size=8), {"vmap"}),
        ("residual", LocalSGD(lr=0.1, batch_size=10), {"single", "vmap"}),  # batches of 10 and 2; of 8 and 4
        ("watching", LocalSGD(lr=0.1, batch_size=7), {"single"}),  # a batch that is padded would be remembered
        ("uneven", LocalSGD(lr=0.1, batch_size=10), {"single"}),  # products of which lanes have bits of their own
    ],
)
def test_what_is_mapped_over_clients(name: str, work: LocalSGD, paths: set[str]) -> None:
    """What is known to keep the lane rule; the rest one client after another."""
    own = learner(name, path="vmap")
    jobs = draw_jobs(own, (work,), 9, 0)
    check_lane_rule(own, jobs)
    assert set(own.kernels.values()) == paths


def test_mapping_over_clients_is_measured() -> None:
    """Among the others, and never taken unasked: it may be slower."""
    own, other = learner("attending", path="measured"), learner("attending")
    jobs = draw_jobs(own, (LocalSGD(lr=0.1, batch_size=8),), 16, 0)
    first = own.train(jobs)
    assert set(own.kernels.values()) <= {"vmap", "single"}
    other.train(jobs)
    assert set(other.kernels.values()) == {"single"}
    other.pin(dict.fromkeys(own.kernels, "vmap"))
    mapped = other.train(jobs)
    own.pin(other.kernels)
    assert all(same(a, b) for a, b in zip(mapped, own.train(jobs), strict=True))
    assert all(np.allclose(a.delta, b.delta, rtol=2e-3, atol=3e-5) for a, b in zip(first, mapped, strict=True))


@pytest.mark.parametrize(("features", "path"), [(12, "stack"), (300, "delayed")])
def test_a_first_layer_is_put_off_where_it_is_worth_it(features: int, path: str) -> None:
    own = TorchLearner(lambda: nn.Sequential(nn.Linear(features, 8), nn.GELU(), nn.Linear(8, 4)), data((features,)))
    own.train(draw_jobs(own, [LocalSGD(lr=0.1, batch_size=5)], 4, 0))
    assert set(own.kernels.values()) == {path}


@pytest.mark.parametrize("path", ["auto", "measured"])
def test_chosen_and_pinned(path: str) -> None:
    """Equal learners agree, and the paths of one can be given to another."""
    own, other = learner("images", path=path), learner("images", path=path)
    jobs = draw_jobs(own, LearnerConformance.local, 12, 0)
    first = own.train(jobs)
    assert all(same(a, b) for a, b in zip(first, other.train(jobs), strict=True))
    assert own.kernels == other.kernels and own.kernels
    pinned = learner("images", path=dict.fromkeys(own.kernels, "stack-1"))
    pinned.train(jobs)
    assert set(pinned.kernels.values()) == {"stack-1"}
    pinned.pin(own.kernels)
    assert all(same(a, b) for a, b in zip(first, pinned.train(jobs), strict=True))
    with pytest.raises(InvalidInput, match="path is 'delayed', which takes chains"):
        pinned.pin({"width 10": "delayed"})


class TestDropoutInStacks(LearnerConformance):
    def learner(self) -> TorchLearner:
        return learner("cnn", path="stack-8")


class TestNormedInStacks(LearnerConformance):
    def learner(self) -> TorchLearner:
        return learner("normed", path="stack-8")


class TestDropoutAlone(LearnerConformance):
    def learner(self) -> TorchLearner:
        return learner("cnn", path="single")


class TestRecurrent(LearnerConformance):
    def learner(self) -> TorchLearner:
        return learner("lstm", path="single")


class TestNormed(LearnerConformance):
    def learner(self) -> TorchLearner:
        return learner("normed", path="single")


def test_same_as_numpy() -> None:
    """The same batches, so the same result up to rounding as the reference learner."""
    samples = data()
    ours, reference = TorchLearner(mlp, samples), NumpyLearner(MLP(6, (8,), 4), samples)
    jobs = draw_jobs(ours, LearnerConformance.local, 12, 0)

    def translate(x: np.ndarray) -> np.ndarray:
        v = ours.schema.views(x)
        return np.concatenate([v["0.weight"].T.ravel(), v["0.bias"], v["2.weight"].T.ravel(), v["2.bias"]])

    theirs = [Job(j.lease, j.client, translate(j.start), j.local, j.seed, j.version) for j in jobs]
    for a, b in zip(ours.train(jobs), reference.train(theirs), strict=True):
        np.testing.assert_allclose(translate(a.delta), b.delta, rtol=2e-4, atol=2e-6)
        assert a.metrics["loss"] == pytest.approx(b.metrics["loss"], rel=1e-5)
    x = ours.initial(1)
    ours_metrics, theirs_metrics = ours.evaluate(x, "test"), reference.evaluate(translate(x), "test")
    assert ours_metrics["accuracy"] == theirs_metrics["accuracy"]
    assert ours_metrics["loss"] == pytest.approx(theirs_metrics["loss"], rel=1e-5)


def test_frozen_parts_do_not_travel() -> None:
    """Only what is trained is in the vector; the rest keeps its values."""
    own = learner("mlp", trainable=["2.*"])
    assert {s.name: s.kind for s in own.schema.segments} == {
        "0.weight": "frozen", "0.bias": "frozen", "2.weight": "trainable", "2.bias": "trainable",
    }  # fmt: skip
    assert own.schema.size == 36
    check_lane_rule(own, draw_jobs(own, LearnerConformance.local, 6, 0))
    with pytest.raises(InvalidInput, match=r"'9\.\*' matches none of 0\.weight"):
        learner("mlp", trainable=["9.*"])


@pytest.mark.parametrize("path", ["auto", "vmap"])
def test_a_tensor_with_two_names_travels_once_and_learns_from_both_uses(path: str) -> None:
    """As in a plain loop on the same batches; the state dict has both names."""
    own = learner("tied", path=path)
    assert [s.name for s in own.schema.segments] == ["embed.weight", "layer.weight", "layer.bias"]
    x, local = own.initial(3), LocalSGD(lr=0.5, batch_size=4, epochs=2)
    (done,) = own.train([Job(0, 2, x, local, 5, 0)])
    module, held = Tied(), text()
    module.load_state_dict(own.state_dict(x))
    descent, first = torch.optim.SGD(module.parameters(), 0.5), int(held.offsets[2])
    for batch in batches(local, np.array([5], np.uint64), held.samples[2:3], 4):
        rows = torch.from_numpy(first + batch.rows[0][batch.scale[0] > 0])
        features, labels = torch.from_numpy(held.train.features), torch.from_numpy(held.train.labels)
        descent.zero_grad()
        nn.functional.cross_entropy(module(features[rows]).transpose(1, 2), labels[rows]).backward()
        descent.step()
    for name, moved in own.schema.views(x + done.delta).items():
        np.testing.assert_allclose(moved, module.state_dict()[name].numpy(), rtol=1e-4, atol=1e-6)
    check_lane_rule(own, draw_jobs(own, [local], 4, 0))


def test_tensors_with_two_names_are_chosen_by_either_and_saved_under_both() -> None:
    assert [s.name for s in learner("tied", trainable=["out.*"]).schema.travelling] == ["embed.weight"]
    assert learner("tied", trainable=["layer.*"]).schema.size == 42
    task = hk.Task.of(learner("tied", threads=1), LocalSGD(lr=0.1, batch_size=5))
    run = hk.simulate(task, hk.Fleet.synthetic(5, seed=0), hk.strategies.fedbuff(2, 3), hk.Until(updates=4), seed=1)
    module = Tied()
    module.load_state_dict(run.state_dict())
    assert module.out.weight is module.embed.weight
    assert module.out.weight.detach().numpy().tobytes() == run.model()["embed.weight"].tobytes()


def test_chains_with_the_tensors_of_another_layer_are_trained() -> None:
    def build() -> nn.Module:
        chain = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
        chain[2].weight = chain[0].weight
        return chain

    own = TorchLearner(build, data(), threads=1)
    assert own.schema.size == 48
    check_lane_rule(own, draw_jobs(own, LearnerConformance.local, 4, 0))
    assert set(own.kernels.values()) == {"single"}
    with pytest.raises(InvalidInput, match="none with the tensors of another"):
        TorchLearner(build, data(), path="stack")


def test_running_statistics_travel_as_buffers() -> None:
    own = learner("normed")
    kinds = {s.name: s.kind for s in own.schema.segments}
    assert kinds["1.running_mean"] == "buffer" and kinds["1.num_batches_tracked"] == "frozen"
    x = own.initial(0)
    decay = LocalSGD(lr=0.1, batch_size=5, weight_decay=0.5, proximal=0.1, momentum=0.5)
    for local in (decay, LocalSGD(lr=0.1, batch_size=5)):
        (done,) = own.train([Job(0, 0, x, local, 3, 0)])
        moved = own.schema.views(done.delta)["1.running_mean"]
        module = normed()
        module.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in own.schema.views(x).items()}, strict=False)
        assert 0 < np.abs(moved).max() < 1


@pytest.mark.parametrize(
    ("loss", "labels", "outputs"),
    [
        ("mse", np.linspace(-1, 1, 12, dtype="f4"), 1),
        ("bce", np.arange(12) % 2, 1),
        ("cross_entropy", np.arange(12) % 3, 3),
    ],
)
def test_losses(loss: str, labels: np.ndarray, outputs: int) -> None:
    """Full-batch steps lower each loss; the metrics that fit are there."""
    rows = Examples(generator(1).standard_normal((12, 5)).astype("f4"), labels)
    own = TorchLearner(lambda: nn.Linear(5, outputs), ClientData(rows, np.array([0, 12]), rows, rows), loss=loss)
    x = own.initial(0)
    (done,) = own.train([Job(0, 0, x, LocalSGD(lr=0.1, batch_size=12, steps=40), 0, 0)])
    before, after = own.evaluate(x, "test"), own.evaluate(x + done.delta, "test")
    assert after["loss"] < before["loss"]
    assert after.keys() == {"loss"} | {"mse": {"mse"}, "bce": {"accuracy", "auc"}}.get(loss, {"accuracy"})


def test_threads_of_the_caller_stay() -> None:
    before = torch.get_num_threads()
    own = learner("mlp")
    own.train(draw_jobs(own, LearnerConformance.local, 4, 0))
    assert torch.get_num_threads() == before and torch.is_grad_enabled()


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("uneven", "low_rank", "watching")])
@pytest.mark.parametrize("forks", [False, True])
def test_number_of_workers_changes_nothing(name: str, forks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_learner, "possible", lambda: forks and platform == "linux")
    results = []
    for threads in (1, 2, 4):
        own = learner(name, threads=threads)
        results.append(own.train(draw_jobs(own, TWO if name == "normed_rows" else LearnerConformance.local[1:], 9, 3)))
    for other in results[1:]:
        assert all(same(a, b) for a, b in zip(results[0], other, strict=True))


class Counting(nn.Module):
    """Keeps state where nobody looks."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        out: Tensor = self.linear(x)
        return out


class Noisy(nn.Linear):
    """Draws from the global generator."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + torch.rand_like(x))


class Branching(nn.Linear):
    """Goes one way or another."""

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        return out if out.sum() > 0 else -out


class Writing(nn.Linear):
    """Writes into what it has made for one client."""

    def forward(self, x: Tensor) -> Tensor:
        out = torch.zeros(len(x), 4)
        out += super().forward(x)
        return out


class Between(nn.Linear):
    """Says something else to whoever maps it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (2 if type(self.weight) is not nn.Parameter else 1)


@pytest.mark.parametrize(
    ("build", "samples", "kwargs", "message"),
    [
        (Counting, data, {}, "'calls' changes during a forward pass; state must be"),
        (lambda: Noisy(6, 4), data, {}, "two identical training passes differ"),
        (lambda: nn.Linear(5, 4), data, {}, r"the model does not take float32\[2, 6\]"),
        (lambda: nn.Linear(6, 3), data, {}, r"label 3 of row \d+ is not one of the model's 3 classes"),
        (lambda: nn.Linear(6, 4), data, {"loss": "hinge"}, "loss 'hinge' is unknown; give one of cross_entropy"),
        (lambda: nn.Linear(6, 4), data, {"path": "fast"}, "path is 'fast'; it must be one of auto"),
        (Recurrent, text, {"path": "stack"}, "path is 'stack', which takes chains of Linear"),
        (
            Recurrent,
            text,
            {"path": "vmap"},
            "path is 'vmap', which does not take this model: torch has no batching rule ",
        ),
        (
            lambda: Branching(6, 4),
            data,
            {"path": "vmap"},
            "this model: attempting to use a Tensor in some data-dependent",
        ),
        (lambda: Writing(6, 4), data, {"path": "vmap"}, r"this model: output with shape .*; use 'auto' or 'single'"),
        (lambda: Between(6, 4), data, {"path": "vmap"}, "this model: mapped over clients it computes something else"),
        (lambda: nn.Linear(6, 4), data, {"device": "cuda:7"}, "device 'cuda:7' is not there"),
        (lambda: nn.Linear(6, 4), data, {"device": "tpu"}, "device 'tpu' is unknown"),
        (lambda: nn.Linear(6, 4), data, {"threads": 0}, "threads is 0"),
        (lambda: nn.Linear(6, 4), data, {"loss": "mse"}, "give one output per label"),
        (lambda: nn.Linear(6, 4).double(), data, {}, "parameter 'weight' is torch.float64; it must be float32"),
        (nn.ReLU, data, {}, "nothing is trainable among no parameters"),
        (Overlapping, data, {}, "'one.weight' and 'two.weight' share memory and are two tensors"),
        (clipped, data, {}, "parameter '0.weight' has a gradient hook, which copies of it lose"),
        (derived, data, {}, "it cannot be copied, and every client needs a copy: Only Tensors created"),
    ],
)
def test_bad_input(build: Any, samples: Any, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        TorchLearner(build, samples(), **kwargs)


@pytest.mark.skipif(platform != "linux", reason="processes are forked on Linux only")
def test_jobs_begun_in_the_background_are_those_trained_at_once() -> None:
    own = learner("mlp", threads=3)
    jobs = draw_jobs(own, LearnerConformance.local, 40, 4)
    at_once = learner("mlp", threads=1).train(jobs)
    first, second = own.begin(jobs[:25]), own.begin(jobs[25:])
    assert first and second
    for i in (*range(25, 40, 2), 3, 0, 7):  # in any order, and not all
        assert same((first + second)[i](), at_once[i])
    assert all(same(a, b) for a, b in zip(own.train(jobs), at_once, strict=True))


@pytest.mark.skipif(platform != "linux", reason="processes are forked on Linux only")
def test_only_the_call_of_a_job_that_diverged_says_so() -> None:
    own = learner("mlp", threads=2)
    x, local = own.initial(0), LocalSGD(lr=0.1, batch_size=4)
    bad = np.full_like(x, np.nan)
    begun = own.begin([Job(i, 2, bad if i == 7 else x, local, i, 0) for i in range(12)])
    assert begun
    for i, result in enumerate(begun):
        if i == 7:
            with pytest.raises(Diverged, match=r"client 2: its result .lease 7. is not finite"):
                result()
        else:
            assert np.isfinite(result().delta).all()


def test_bad_jobs() -> None:
    own = learner("mlp")
    x, local = own.initial(0), LocalSGD(lr=0.1, batch_size=4)
    with pytest.raises(InvalidInput, match="client 9 does not exist"):
        own.train([Job(0, 9, x, local, 0, 0)])
    with pytest.raises(InvalidInput, match="start is float64"):
        own.train([Job(0, 0, x.astype("f8"), local, 0, 0)])
    with pytest.raises(Diverged, match=r"client 2: its result .lease 7. is not finite"):
        own.train([Job(7, 2, x, LocalSGD(lr=1e30, batch_size=4, epochs=3), 0, 0)])


def test_batch_norm_needs_two_samples() -> None:
    own = TorchLearner(lambda: nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)), data())
    x = own.initial(0)
    own.train([Job(0, 0, x, LocalSGD(lr=0.1, batch_size=13), 0, 0)])
    for client, batch in ((3, 5), (0, 4)):
        with pytest.raises(InvalidInput, match=f"client {client}: {SIZES[client]} samples leave it a batch of one"):
            own.train([Job(0, client, x, LocalSGD(lr=0.1, batch_size=batch), 0, 0)])


def test_runs_in_a_simulation() -> None:
    """A task of a torch learner, twice: the same bytes."""
    runs = []
    for threads in (1, 2):
        task = hk.Task.of(learner("mlp", threads=threads), LocalSGD(lr=0.1, batch_size=5))
        fleet = hk.Fleet.synthetic(5, seed=0)
        runs.append(hk.simulate(task, fleet, hk.strategies.fedbuff(2, 3), hk.Until(updates=30), seed=1))
    assert runs[0].summary == runs[1].summary
    assert all(np.array_equal(a, runs[1].model()[n]) for n, a in runs[0].model().items())
