"""Local SGD of a block of clients in lockstep, on the buffers of one kernel.

The rate is folded into what each sample counts for, so a gradient is a finished step of its lane; without momentum
it goes straight into the parameters and no gradient is ever stored. With momentum the velocity holds rate * v.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hocket.keyed import MASK, key
from hocket.learning.kernels.kernel import Kernel, Work
from hocket.learning.kernels.samples import Samples
from hocket.learning.learner import Job, Trained
from hocket.learning.local import LocalSGD
from hocket.learning.order import batches


def train_block(
    kernel: Kernel, samples: Samples, wide: int, jobs: Sequence[Job], trained: Tensor | None
) -> list[Trained]:
    """Results of jobs of one kind of local work and one width, sorted by falling number of updates.

    ``trained`` is 1 for coordinates with a gradient and 0 for buffers, float32[size]; None if all have one.
    """
    local = jobs[0].local
    sizes = samples.sizes[[j.client for j in jobs]]
    work = kernel.work(max(len(jobs), kernel.least), wide, local.momentum > 0)
    starts = [samples.shared(j.start) for j in jobs]
    for lane, row in enumerate(work.x):
        row.copy_(starts[min(lane, len(jobs) - 1)])
    if local.momentum:
        work.out.zero_()
    rates = np.array([[local.rate(j.version)] for j in jobs], np.float32)
    descent = Descent(local, work, torch.from_numpy(rates).to(work.x.device), trained)
    gather = samples.gatherer([j.client for j in jobs], len(work.x), wide)
    losses = np.zeros((len(jobs), wide))
    seeds = np.array([j.seed & MASK for j in jobs], np.uint64)
    for step, batch in enumerate(batches(local, seeds, sizes, wide)):
        k = len(batch.rows)
        padded = max(k, kernel.least)
        scale = np.zeros((padded, wide), np.float32)
        np.multiply(batch.scale, rates[:k], out=scale[:k])
        counts = np.count_nonzero(batch.scale, axis=1).tolist() + [wide] * (padded - k)
        keys = [key(j.seed, step) for j in jobs[:k]] + [0] * (padded - k) if kernel.keyed else [0] * padded
        inputs, targets = gather(batch.rows, padded)
        loss = descent.step(k, inputs, targets, torch.from_numpy(scale).to(work.x.device), counts, keys)
        losses[:k] += np.where(batch.scale > 0, loss[:k].cpu().numpy(), 0)
    out = []
    for start, after, row, n in zip(starts, work.x, losses, sizes.tolist(), strict=False):
        used = local.samples(n)
        delta = after.sub_(start).cpu().numpy()  # a row of the block's own buffer, which is not used again
        out.append(Trained(delta, used, {"loss": sum(row.tolist()) / used}))
    return out


class Descent:
    """Steps of :mod:`hocket.learning.local` on the lanes of a work."""

    def __init__(self, local: LocalSGD, work: Work, rates: Tensor, trained: Tensor | None) -> None:
        self._work = work
        self._momentum = local.momentum
        mask = 1 if trained is None else trained
        self._decay = rates * local.weight_decay * mask if local.weight_decay else None
        self._pull = rates * local.proximal * mask if local.proximal else None
        self._start = work.x[: len(rates)].clone() if local.proximal else work.x

    def step(
        self, k: int, inputs: Tensor, targets: Tensor, scale: Tensor, counts: list[int], keys: list[int]
    ) -> Tensor:
        """One step of the first k lanes; their losses, float32[k or more, width]."""
        x, out = self._work.x[:k], self._work.out[:k]
        extra = None
        if self._decay is not None:
            extra = self._decay[:k] * x
        if self._pull is not None:
            pull = self._pull[:k] * (x - self._start[:k])
            extra = pull if extra is None else extra.add_(pull)
        if self._momentum:
            out.mul_(self._momentum)
        loss = self._work.step(inputs, targets, scale, counts, keys)
        if extra is not None:
            out.add_(extra, alpha=1 if self._momentum else -1)
        if self._momentum:
            x.sub_(out)
        return loss


def lane_blocks(members: list[int], most: int, threads: int) -> list[list[int]]:
    """Jobs in blocks of at most ``most``, alike in size, as many as keep all threads busy.

    >>> [len(b) for b in lane_blocks(list(range(50)), 16, 2)], [len(b) for b in lane_blocks(list(range(3)), 16, 2)]
    ([12, 13, 12, 13], [1, 2])
    """
    n = len(members)
    count = max(-(-n // most), min(threads, n))
    count = min(n, -(-count // threads) * threads)
    cuts: NDArray[np.int64] = np.arange(count + 1) * n // count
    return [members[a:b] for a, b in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)]
