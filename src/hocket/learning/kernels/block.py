"""Local SGD of a block of clients in lockstep, on the buffers of one kernel.

The rate is folded into what each sample counts for, so a gradient is a finished step of its lane; without momentum
it goes straight into the parameters and no gradient is ever stored. With momentum the velocity holds rate * v.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hocket.keyed import MASK, key
from hocket.learning import squares
from hocket.learning.kernels.kernel import Kernel, Step, Whole, Work
from hocket.learning.kernels.samples import Drawn, Samples
from hocket.learning.learner import Job, Trained
from hocket.learning.local import LocalSGD
from hocket.learning.order import segments
from hocket.schema import Vector

SAMPLE_BYTES = 1 << 23
"""Samples gathered at a time, unless a step has more."""
MOST_STEPS = 16


class Block(NamedTuple):
    """Jobs that are trained in lockstep: the name of a kernel, and the width of a batch.

    ``least``: jobs below which a part of the block takes no less time than they do.
    """

    kernel: str
    wide: int
    jobs: Sequence[Job]
    least: int = 1


def train_block(
    kernel: Kernel,
    work: Work | Whole,
    samples: Samples,
    wide: int,
    jobs: Sequence[Job],
    trained: Tensor | None,
    outs: Sequence[Vector] | None = None,
) -> list[Trained]:
    """Results of jobs of one kind of local work, width and span, sorted by falling number of updates.

    ``work`` has at least as many lanes; its contents are undefined before and after. ``trained`` is 1 for coordinates
    with a gradient and 0 for buffers, float32[size]; None if all have one. ``outs``: where the deltas go, if not to
    memory of the samples.
    """
    local, n = jobs[0].local, len(jobs)
    deltas = [_memory(samples, job.start) for job in jobs] if outs is None else list(outs[:n])
    if isinstance(work, Whole):
        return work.train(samples, wide, jobs, deltas)
    clients = np.array([j.client for j in jobs])
    sizes = samples.sizes[clients]
    starts = [samples.shared(j.start) for j in jobs]
    used = max(n, kernel.least)
    span = kernel.span(local, int(sizes[0]), wide)
    work.begin(starts + starts[-1:] * (used - n), [torch.from_numpy(delta) for delta in deltas], span)
    rates = np.array([[local.rate(j.version)] for j in jobs], np.float32)
    aux: list[bytes | None] = [None] * n
    steps = Lockstep(kernel, work, jobs, sizes, rates, trained, aux)
    losses = np.zeros(n)
    seeds = np.array([j.seed & MASK for j in jobs], np.uint64)
    length = local.updates(int(sizes[0])) if span.rows else span.steps or _steps(samples, used, wide)
    for segment in segments(local, seeds, sizes, wide, length, span.steps > 0):
        k = segment.rows.shape[1]
        rows = np.zeros((len(segment.rows), max(k, kernel.least), wide), np.int64)
        rows[:, :k] = segment.rows
        scale = np.zeros(rows.shape, np.float32)
        np.multiply(segment.scale, rates[:k], out=scale[:, :k])
        drawn = Drawn(samples, np.resize(clients[:k], rows.shape[1]), rows, span.rows)
        found = steps.run(drawn, scale, segment.active)
        for step in np.where(segment.scale > 0, found[:, :k], 0).sum(2, dtype=np.float64):
            losses[:k] += step
    used_up = [local.samples(size) for size in sizes.tolist()]
    work.end()
    lanes = zip(deltas, used_up, losses.tolist(), aux, strict=True)
    return [Trained(delta, n, {"loss": loss / n}, squared) for delta, n, loss, squared in lanes]


class Lockstep:
    """Steps of all clients of a block one after the other, on the lanes of a work.

    Args:
        kernel, work: what computes a step.
        jobs: of the lanes.
        sizes: samples that their clients hold.
        rates: float32[jobs, 1].
        trained: see :func:`train_block`.
        aux: where squares go that jobs ask for.
    """

    def __init__(
        self,
        kernel: Kernel,
        work: Work,
        jobs: Sequence[Job],
        sizes: NDArray[np.int64],
        rates: NDArray[np.float32],
        trained: Tensor | None,
        aux: list[bytes | None],
    ) -> None:
        local, used = jobs[0].local, max(len(jobs), kernel.least)
        if local.momentum:
            work.out[:used].zero_()
        self._kernel, self._work, self._jobs = kernel, work, jobs
        self._descent = Descent(local, work, torch.from_numpy(rates).to(work.x.device), trained)
        self._masks, self._watched = _masks(jobs, used, work.x), _Last(local, jobs, sizes, work.x, aux)
        self._done = 0

    def run(self, drawn: Drawn, scale: NDArray[np.float32], active: Sequence[int]) -> NDArray[np.float32]:
        """Take the drawn steps; the losses, float32[steps, lanes, width].

        Args:
            drawn: their samples.
            scale: float32[steps, lanes, width], what a sample counts for, rate included; 0 for padding.
            active: how many of the lanes take part in each step, as long as there are any.
        """
        work, watched, kernel = self._work, self._watched, self._kernel
        scales = torch.from_numpy(scale).to(work.x.device)
        counts = np.count_nonzero(scale, axis=2).tolist()
        work.load(drawn)
        found = []
        for s, k in enumerate(active):
            at = self._done + s
            keys = [key(j.seed, at) for j in self._jobs[:k]] if kernel.keyed else [0] * k
            watched.before(at)
            found.append(self._descent.step(s, k, scales[s, : max(k, kernel.least)], Step(counts[s][:k], keys)))
            if self._masks is not None:
                work.x[: len(self._masks)].mul_(self._masks)
            watched.after(at)
        self._done += len(scale)
        losses = np.zeros_like(scale)
        for s, (k, loss) in enumerate(zip(active, found, strict=True)):
            losses[s, :k] = loss[:k].cpu().numpy()
        return losses


def _masks(jobs: Sequence[Job], lanes: int, x: Tensor) -> Tensor | None:
    """1 where a lane's coordinates are covered and 0 elsewhere, float32[lanes, size]; None for whole models."""
    if jobs[0].covered is None:
        return None
    masks = torch.zeros((lanes, x.shape[1]), device=x.device)
    for lane in range(lanes):
        masks[lane, torch.from_numpy(jobs[min(lane, len(jobs) - 1)].covered.astype(np.int64)).to(x.device)] = 1  # type: ignore[union-attr]
    return masks


class _Last:
    """What the last step of each job moved: its gradient, up to the rate, unless there is momentum or the like.

    ``found``: where the ``aux`` of each job goes, its squares where they are wanted.
    """

    def __init__(
        self, local: LocalSGD, jobs: Sequence[Job], sizes: NDArray[np.int64], x: Tensor, found: list[bytes | None]
    ) -> None:
        self.found = found
        self._jobs, self._x, self._before = jobs, x, dict[int, Tensor]()
        self._ends: dict[int, list[int]] = {}
        for lane, (job, size) in enumerate(zip(jobs, sizes.tolist(), strict=True)):
            if job.squares:
                self._ends.setdefault(local.updates(size) - 1, []).append(lane)

    def before(self, step: int) -> None:
        """A step begins."""
        self._before = {lane: self._x[lane].clone() for lane in self._ends.get(step, ())}

    def after(self, step: int) -> None:
        """It is done."""
        for lane, before in self._before.items():
            moved, covered = (before - self._x[lane]).cpu().numpy(), self._jobs[lane].covered
            self.found[lane] = squares.encode(moved if covered is None else moved[covered])


def _memory(samples: Samples, like: Vector) -> Vector:
    """Room for what is learned, which comes back when that is gone."""
    return samples.memory.take(like.shape, torch.float32, torch.device("cpu")).numpy()


def _steps(samples: Samples, lanes: int, wide: int) -> int:
    each = lanes * wide * samples.bytes_each
    return max(1, min(MOST_STEPS, SAMPLE_BYTES // max(each, 1)))


class Descent:
    """Steps of :mod:`hocket.learning.local` on the lanes of a work."""

    def __init__(self, local: LocalSGD, work: Work, rates: Tensor, trained: Tensor | None) -> None:
        self._work = work
        self._momentum = local.momentum
        mask = 1 if trained is None else trained
        self._decay = rates * local.weight_decay * mask if local.weight_decay else None
        self._pull = rates * local.proximal * mask if local.proximal else None
        self._start = work.x[: len(rates)].clone() if local.proximal else work.x

    def step(self, s: int, k: int, scale: Tensor, step: Step) -> Tensor:
        """One step of the first k lanes; their losses, float32[k or more, width]."""
        if not self._momentum and self._decay is None and self._pull is None:
            return self._work.step(s, len(scale), scale, step)
        x, out = self._work.x[:k], self._work.out[:k]
        extra = None
        if self._decay is not None:
            extra = self._decay[:k] * x
        if self._pull is not None:
            pull = self._pull[:k] * (x - self._start[:k])
            extra = pull if extra is None else extra.add_(pull)
        if self._momentum:
            out.mul_(self._momentum)
        loss = self._work.step(s, len(scale), scale, step)
        if extra is not None:
            out.add_(extra, alpha=1 if self._momentum else -1)
        if self._momentum:
            x.sub_(out)
        return loss


def lane_blocks(members: list[int], most: int, threads: int, least: int) -> list[list[int]]:
    """Jobs in blocks of at most ``most``, alike in size, as many as keep all threads busy; full blocks if all have the
    same cost because ``least`` lanes are computed anyway.

    >>> [len(b) for b in lane_blocks(list(range(50)), 16, 2, 2)], [len(b) for b in lane_blocks([5, 6, 7], 16, 2, 2)]
    ([12, 13, 12, 13], [1, 2])
    >>> [len(b) for b in lane_blocks(list(range(17)), 8, 2, 8)]
    [8, 8, 1]
    """
    n = len(members)
    if least >= most:
        return [members[i : i + most] for i in range(0, n, most)]
    count = max(-(-n // most), min(threads, n))
    count = min(n, -(-count // threads) * threads)
    cuts: NDArray[np.int64] = np.arange(count + 1) * n // count
    return [members[a:b] for a, b in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)]
