"""Which samples each client sees in which step: permutations keyed by the job, for many jobs at once.

Pass e of a job with seed s orders the client's n samples by 32 random bits each, a hash of (s, e, position);
equal bits keep their positions. Nothing else enters, so a job's order does not depend on the other jobs.
"""

from collections.abc import Iterator

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.keyed import key, mix_array
from hocket.learning.local import LocalSGD

Ints = NDArray[np.int64]
ORDER = key("order")
"""What is mixed into a seed for the order of its samples."""
_BLOCK = 16


def streams(seeds: NDArray[np.uint64], sizes: Ints, passes: Ints) -> tuple[Ints, Ints]:
    """Positions in the order in which they are used, all jobs one after the other, and where each job begins.

    Job i contributes ``passes[i]`` permutations of ``range(sizes[i])``.

    >>> import numpy as np
    >>> order, begin = streams(np.array([5, 6], np.uint64), np.array([3, 2]), np.array([1, 2]))
    >>> sorted(order[:3].tolist()), begin.tolist()
    ([0, 1, 2], [0, 3])
    """
    job = np.repeat(np.arange(len(sizes)), passes)
    nth = np.arange(len(job)) - np.repeat(np.cumsum(passes) - passes, passes)
    keys = mix_array(mix_array(seeds ^ np.uint64(ORDER))[job] ^ nth.astype(np.uint64))
    length = sizes[job]
    first = np.cumsum(length) - length
    segment = np.repeat(np.arange(len(job)), length)
    position = np.arange(len(segment)) - first[segment]
    random = mix_array(keys[segment] ^ position.astype(np.uint64)) >> np.uint64(32)
    rank = segment.astype(np.uint64) << np.uint64(32) | random
    total = sizes * passes
    return np.argsort(rank, kind="stable") - first[segment], np.cumsum(total) - total


class Batch(Struct, frozen=True, eq=False, gc=False):
    """One step of the first k jobs.

    ``rows`` int64[k, width] counts within the client's samples. ``scale`` float32[k, width] is 1 / (samples
    in the batch), 0 for padding; padding repeats the last sample of the job's own batch.
    """

    rows: Ints
    scale: NDArray[np.float32]


def width(local: LocalSGD, n: int) -> int:
    """Samples that a batch of a client with ``n`` is padded to: the batch size, or n rounded up to eights.

    It depends on the job alone, so jobs of one width can be stacked.

    >>> local = LocalSGD(lr=1.0, batch_size=20)
    >>> width(local, 100), width(local, 9), width(local, 3)
    (20, 16, 8)
    """
    return min(local.batch_size, -(-n // 8) * 8)


class Segment(Struct, frozen=True, eq=False, gc=False):
    """Some steps in a row of the first k jobs, k being those that take part in the first of them.

    ``rows`` int64[steps, k, width] and ``scale`` float32[steps, k, width] are those of :class:`Batch`; of a job that is
    done, rows are some of its samples and scales 0. ``active``: how many of the jobs take part in each step, as long
    as there are any.
    """

    rows: Ints
    scale: NDArray[np.float32]
    active: list[int]


def segments(
    local: LocalSGD, seeds: NDArray[np.uint64], sizes: Ints, width: int, length: int, whole: bool = False
) -> Iterator[Segment]:
    """All steps of jobs that are sorted by falling number of updates, at most ``length`` at a time.

    Args:
        local: the local work, common to the jobs.
        seeds: uint64[jobs].
        sizes: int64[jobs], samples that each client holds.
        width: what batches are padded to.
        length: steps of a segment; the last one has what is left.
        whole: the last one has ``length`` steps too, and nobody takes part in those that are too many.
    """
    updates = np.array([local.updates(n) for n in sizes.tolist()])
    per_pass = -(-sizes // local.batch_size) if local.epochs is not None else updates
    full = np.minimum(local.batch_size, sizes)
    passes = updates // per_pass if local.epochs is not None else -(-updates * full // sizes)
    order, begin = streams(seeds, sizes, passes)
    column = np.arange(width)
    for low in range(0, int(updates[0]), length):
        step = np.arange(low, low + length if whole else min(low + length, int(updates[0])))[:, None]
        k = int(np.count_nonzero(updates > low))
        due = step < updates[:k]
        which, nth = np.divmod(np.minimum(step, updates[:k] - 1), per_pass[:k])
        start = nth * full[:k]
        count = np.minimum(full[:k], sizes[:k] - start) if local.epochs is not None else full[:k] + 0 * start
        start += begin[:k] + which * sizes[:k]
        rows = order.take(start[..., None] + np.minimum(column, count[..., None] - 1))
        each = np.where(due, np.float32(1) / count.astype(np.float32), np.float32(0))
        scale = np.where(column < count[..., None], each[..., None], np.float32(0))
        yield Segment(rows, scale, [k for k in np.count_nonzero(due, axis=1).tolist() if k])


def batches(local: LocalSGD, seeds: NDArray[np.uint64], sizes: Ints, width: int) -> Iterator[Batch]:
    """The steps of :func:`segments` one by one; a job that is done drops out."""
    for segment in segments(local, seeds, sizes, width, _BLOCK):
        for rows, scale, k in zip(segment.rows, segment.scale, segment.active, strict=True):
            yield Batch(rows[:k], scale[:k])
