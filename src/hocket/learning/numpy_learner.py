"""The reference learner: NumPy only, many clients per call, one client's bits independent of the others.

Jobs of the same local work and the same padded batch width are stacked into lanes, a cacheful at a time; see
:mod:`hocket.learning.mlp` for why a lane's numbers are those it has alone.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hocket.errors import InvalidInput
from hocket.keyed import MASK
from hocket.learning import squares
from hocket.learning.cross_entropy import fold
from hocket.learning.data import ClientData, Examples
from hocket.learning.learner import Job, Trained, diverged
from hocket.learning.local import LocalSGD
from hocket.learning.mlp import Lanes, Model
from hocket.learning.order import batches, width
from hocket.schema import Schema, Vector

CACHE_BYTES = 1 << 22
MOST_LANES = 64
_ROWS = 64


class NumpyLearner:
    """Trains a :class:`~hocket.learning.mlp.Model` on :class:`~hocket.learning.data.ClientData`.

    Raises:
        InvalidInput: the data have another number of features, or a label that the model has no class for.

    >>> import numpy as np
    >>> from hocket.learning import ClientData, Examples, Job, LocalSGD, NumpyLearner, softmax
    >>> rows = Examples(np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1]))
    >>> learner = NumpyLearner(softmax(4, 2), ClientData(rows, np.array([0, 3, 4]), rows, rows))
    >>> x = learner.initial(0)
    >>> (done,) = learner.train([Job(0, 1, x, LocalSGD(lr=1.0, batch_size=2), seed=7, version=0)])
    >>> learner.schema.views(done.delta)["bias"].tolist()
    [-0.5, 0.5]
    """

    def __init__(self, model: Model, data: ClientData) -> None:
        for split in (data.train, data.validation, data.test):
            if split.features.ndim != 2 or split.features.dtype != np.float32:
                raise InvalidInput(
                    f"{split.name}: features are {split.features.dtype}{list(split.features.shape)}; this learner "
                    "takes float32 [samples, features]: flatten and scale them, or use another learner"
                )
            if split.labels.ndim != 1 or split.labels.dtype != np.int64:
                raise InvalidInput(
                    f"{split.name}: labels are {split.labels.dtype}{list(split.labels.shape)}; this learner takes "
                    "one class per sample, a whole number from 0"
                )
            if split.features.shape[1] != model.features:
                raise InvalidInput(
                    f"{split.name}: {split.features.shape[1]} features for a model of {model.features}; "
                    "build the model with the number that the data have"
                )
            if split.labels.max() >= model.classes:
                row = int(split.labels.argmax())
                raise InvalidInput(
                    f"{split.name}: label {split.labels[row]} of row {row} is not one of the model's "
                    f"{model.classes} classes (0 to {model.classes - 1})"
                )
        self._model = model
        self._schema = model.schema
        self._size = self._schema.size
        self._data = data
        self._samples = data.samples
        self._samples.flags.writeable = False
        self._inputs = _with_ones(data.train.features)
        self._held_out = {s: _padded(data.split(s)) for s in ("validation", "test")}

    @property
    def schema(self) -> Schema:
        """What the model is made of."""
        return self._schema

    @property
    def samples(self) -> NDArray[np.int64]:
        """Samples that each client holds, int64[clients], read-only."""
        return self._samples

    def initial(self, seed: int) -> Vector:
        """A first model, float32[size]; see :meth:`hocket.learning.mlp.MLP.initial`."""
        return self._model.initial(seed)

    def train(self, jobs: Sequence[Job]) -> list[Trained]:
        """Results in the order of the jobs.

        Raises:
            InvalidInput: a client that does not exist, or a start vector of another size or type.
            Diverged: a result is not finite; the message names the client.
        """
        stacks: dict[tuple[LocalSGD, int], list[int]] = {}
        for i, job in enumerate(jobs):
            self._check(job)
            stacks.setdefault((job.local, width(job.local, self._samples[job.client].item())), []).append(i)
        out: dict[int, Trained] = {}
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for (local, wide), members in stacks.items():
                members.sort(key=lambda i: -local.updates(self._samples[jobs[i].client].item()))
                lanes = self._lanes(wide)
                for at in range(0, len(members), lanes):
                    chunk = members[at : at + lanes]
                    done = self._train_lanes(local, wide, [jobs[i] for i in chunk])
                    out.update(zip(chunk, done, strict=True))
        for i, job in enumerate(jobs):
            if not np.isfinite(out[i].delta).all():
                raise diverged(job)
        return [out[i] for i in range(len(jobs))]

    def evaluate(self, x: Vector, split: str) -> dict[str, float]:
        """``"accuracy"`` and mean cross-entropy ``"loss"`` on ``"validation"`` or ``"test"``.

        Raises:
            InvalidInput: another split, or a model of another size or type.
        """
        self._check_vector("x", x)
        labels = self._data.split(split).labels
        with np.errstate(over="ignore", invalid="ignore"):
            stacks = self._held_out[split]
            z = np.concatenate([self._model.logits(x, stacks[i : i + 16]) for i in range(0, len(stacks), 16)])
            z = z.reshape(-1, self._model.classes)[: len(labels)].astype(np.float64)
            right = float(np.mean(z.argmax(axis=1) == labels))
            z -= z.max(axis=1, keepdims=True)
            loss = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), labels]
        return {"accuracy": right, "loss": float(loss.mean())}

    def _check(self, job: Job) -> None:
        if not 0 <= job.client < len(self._samples):
            raise InvalidInput(
                f"client {job.client} does not exist; the learner has clients 0 to {len(self._samples) - 1}"
            )
        self._check_vector(f"client {job.client}: start", job.start)

    def _check_vector(self, what: str, x: Vector) -> None:
        if x.shape != (self._size,) or x.dtype != np.float32:
            raise InvalidInput(f"{what} is {x.dtype}{list(x.shape)}; the model is float32[{self._size}]")

    def _lanes(self, wide: int) -> int:
        floats = 5 * self._size + self._model.floats(wide)
        return max(1, min(MOST_LANES, CACHE_BYTES // (4 * floats)))

    def _train_lanes(self, local: LocalSGD, wide: int, jobs: list[Job]) -> list[Trained]:
        """Train jobs of one width, sorted by falling number of updates."""
        clients = np.array([j.client for j in jobs])
        first, sizes = self._data.offsets[clients, None], self._samples[clients]
        seeds = np.array([j.seed & MASK for j in jobs], np.uint64)
        rate = np.array([[local.rate(j.version)] for j in jobs], np.float32)
        x = np.stack([j.start for j in jobs])
        start = x.copy() if local.proximal else x
        g = np.empty_like(x)
        velocity = np.zeros_like(x) if local.momentum else x
        masks, last = _masks(jobs, self._size), np.zeros_like(x) if any(j.squares for j in jobs) else None
        work = self._model.workspace(len(jobs), wide)
        base = np.arange(len(jobs))[:, None] * (self._model.classes * wide) + np.arange(wide)
        losses = np.zeros((len(jobs), wide))
        labels = self._data.train.labels
        for batch in batches(local, seeds, sizes, wide):
            k = len(batch.rows)
            rows = batch.rows + first[:k]
            self._inputs.take(rows, axis=0, out=work.inputs[:k], mode="clip")
            target = labels.take(rows) * wide + base[:k]
            loss = work.gradient(x[:k], target, batch.scale, g[:k])
            losses[:k] += loss * (batch.scale > 0)
            if masks is not None:
                g[:k] *= masks[:k]
            if last is not None:
                last[:k] = g[:k]
            _descend(local, rate[:k], x[:k], start[:k], velocity[:k], g[:k])
        totals = fold(losses[:, :, None])[:, 0, 0].tolist()
        out = []
        for i, (job, after, total, n) in enumerate(zip(jobs, x, totals, sizes.tolist(), strict=True)):
            samples, aux = local.samples(n), None
            if job.squares and last is not None:
                aux = squares.encode(last[i] if job.covered is None else last[i, job.covered])
            out.append(Trained(after - job.start, samples, {"loss": total / samples}, aux))
        return out


def _masks(jobs: Sequence[Job], size: int) -> Lanes | None:
    """1 where a job's coordinates are covered and 0 elsewhere, float32[jobs, size]; None if all are everywhere."""
    if all(j.covered is None for j in jobs):
        return None
    masks = np.zeros((len(jobs), size), np.float32)
    for mask, job in zip(masks, jobs, strict=True):
        mask[slice(None) if job.covered is None else job.covered] = 1.0
    return masks


def _descend(local: LocalSGD, rate: Lanes, x: Lanes, start: Lanes, velocity: Lanes, g: Lanes) -> None:
    """One step of :mod:`hocket.learning.local` on every lane; ``g`` is overwritten."""
    if local.weight_decay:
        g += local.weight_decay * x
    if local.proximal:
        g += local.proximal * (x - start)
    if local.momentum:
        velocity *= local.momentum
        velocity += g
        np.multiply(velocity, rate, out=g)
    else:
        g *= rate
    x -= g


def _with_ones(features: NDArray[np.float32]) -> NDArray[np.float32]:
    out = np.ones((len(features), features.shape[1] + 1), np.float32)
    out[:, :-1] = features
    return out


def _padded(split: Examples) -> Lanes:
    """Inputs in stacks of 64 rows, the last filled up with zeros: products too small for BLAS to thread."""
    rows = _with_ones(split.features)
    out = np.zeros((-(-len(rows) // _ROWS) * _ROWS, rows.shape[1]), np.float32)
    out[: len(rows)] = rows
    return out.reshape(-1, _ROWS, rows.shape[1])
