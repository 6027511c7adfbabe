"""MaskFedAvg: the mean of the latest model of every client, each coordinate over those that were sent it (PR-FL).

    p_i = w_i s_i / sum_j w_j s_j          s_i the staleness weight of client i's latest model by now
    new = sum_i p_i m_i W_i / sum_i p_i m_i          where some m_i is 1; elsewhere the server's value stays
    W  <- (1 - lr) W + lr new          lr is the optimizer's rate

m_i are the coordinates that client i was *sent*, so a value of exactly 0 counts. ``average`` "common" moves only the
coordinates that all of them cover (Sub-FedAvg's common part); "plain" divides by sum_i p_i = 1, as if what a client was
not sent were 0. With ``latest`` False only the updates of this step are averaged, and the result is mixed in with
P = sum of their p_i, p normalised over all clients ever heard of, W <- P new + (1 - P) W (the unbuffered variants of
the released code).

Ma, "Federated learning based on pruning and recovery", 2024 (arXiv 2403.15439); Vahidian, Morafah, Lin, "Personalized
federated learning by structured and unstructured pruning under data heterogeneity", 2021 (arXiv 2105.00562).

Memory: the covered values of every client's latest model, and sums per *bucket*, a range of versions whose models weigh
the same. The former are needed again when a client's next model takes the place, so they may lie in a file
(:mod:`hocket.archive`). A new model costs its covered coordinates, a step the buckets times the model, whatever the
number of clients.
With as many buckets as there are versions in the buffer the weights are exact; beyond that the two oldest neighbours
are joined and weigh what their newest model weighs. Sums are made anew from the models every ``resum`` steps, but not
before as many updates as there are models, so that rounding does not add up and the cost of an update stays what it is.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.archive import Archive
from hocket.errors import InvalidInput
from hocket.lease import Lease
from hocket.merge.importance import Importance
from hocket.merge.rankings import Rankings
from hocket.policies import Contribution, Weigh
from hocket.ranking import Positions
from hocket.schema import Schema, Vector
from hocket.strategy import policy


class Held(Struct):
    """A client's latest model: the number of its covered values in the archive and how many they are, its weight
    without the guard's.

    ``order`` names the ranking among those kept.
    """

    lease: Lease
    values: int
    length: int
    order: int
    share: float
    bucket: int


class Bucket(Struct):
    """Sums of w_i W_i and of w_i m_i, float64[size]; ``lease`` is of the newest model in it, ``whole`` of w_i."""

    total: np.ndarray
    weight: np.ndarray
    lease: Lease
    whole: float = 0.0
    count: int = 0


class Buffer(Struct):
    """All of it; ``arrived`` are clients of the next step, ``fresh`` models since the sums were made anew."""

    size: int
    importance: Importance
    archive: Archive
    rankings: Rankings
    held: dict[int, Held] = {}
    buckets: dict[int, Bucket] = {}
    arrived: list[int] = []
    fresh: int = 0
    steps: int = 0


@policy("merge")
class MaskedModels(Struct, frozen=True, tag="masked_models", tag_field="kind", forbid_unknown_fields=True):
    """The mean over clients of their latest models.

    Args:
        average: over the clients that cover a coordinate, only where all do, or as if what is not covered were 0.
        latest: average the latest model of every client; else only what has arrived.
        most: clients whose latest models are kept, those that were heard of last; None: all.
        buckets: sums kept, each of a range of versions.
        resum: steps from one making of the sums to the next, at least.
    """

    average: Literal["covered", "common", "plain"] = "covered"
    latest: bool = True
    most: int | None = None
    buckets: int = 16
    resum: int = 64
    keeps: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if min(self.buckets, self.resum, self.most or 1) < 1 or self.most == 0:
            raise InvalidInput(
                f"masked_models: most = {self.most}, buckets = {self.buckets}, resum = {self.resum}; each is 1 or more"
            )

    def init(self, schema: Schema, clients: int) -> Buffer:
        return Buffer(schema.size, Importance(schema.size), Archive(), Rankings())

    def importance(self, state: Buffer) -> NDArray[np.float64] | None:
        """What the clients' squared gradients say, float64[size]; sums begin anew."""
        return state.importance.take()

    # --- updates -----------------------------------------------------------------------------------------

    def add(self, state: Buffer, contribution: Contribution) -> Mapping[str, float]:
        c = contribution
        state.importance.add(c)
        client, number = c.lease.client, c.lease.version
        _drop(state, client)
        order = state.rankings.add(c)
        where: slice | Positions = slice(None) if c.covered is None else c.covered
        values = c.start[where] + c.delta[where]
        kept = state.archive.put(values)
        held = state.held[client] = Held(c.lease, kept, len(values), order, c.share, number)
        _put(state, held, values, where)
        state.arrived.append(client)
        state.fresh += 1
        if self.most is not None and len(state.held) > self.most:
            _drop(state, next(iter(state.held)))
        while len(state.buckets) > self.buckets:
            _join(state)
        return {}

    # --- steps -------------------------------------------------------------------------------------------

    def take(self, state: Buffer, x: Vector, weigh: Weigh) -> NDArray[np.float64]:
        state.steps += 1
        if state.steps % self.resum == 0 and state.fresh >= len(state.held):
            resum(state)
        arrived, state.arrived = sorted(set(state.arrived) & state.held.keys()), []
        if not arrived or not state.held:
            return np.zeros(state.size)
        if not self.latest:
            return self._arrived(state, x, weigh, arrived)
        total, weight, whole, everybody = np.zeros(state.size), np.zeros(state.size), 0.0, np.ones(state.size, bool)
        for bucket in state.buckets.values():
            s = weigh(bucket.lease)
            total += s * bucket.total
            weight += s * bucket.weight
            whole += s * bucket.whole
        if self.average == "common":
            everybody = self._common(state, list(state.held))
        return self._step(x, total, weight, whole, everybody)

    def _arrived(self, state: Buffer, x: Vector, weigh: Weigh, arrived: list[int]) -> NDArray[np.float64]:
        """Average this step's models alone and mix the result in."""
        total, weight, whole = np.zeros(state.size), np.zeros(state.size), 0.0
        for client in arrived:
            held = state.held[client]
            where, p = _where(state, held), held.share * weigh(held.lease)
            total[where] += p * state.archive.get(held.values)
            weight[where] += p
            whole += p
        all_of_them = sum(held.share * weigh(held.lease) for held in state.held.values())
        common = self._common(state, arrived) if self.average == "common" else np.ones(state.size, bool)
        step = self._step(x, total, weight, whole, common)
        return step * (whole / all_of_them) if all_of_them > 0 else step

    def _common(self, state: Buffer, clients: list[int]) -> NDArray[np.bool_]:
        count = np.zeros(state.size, np.int32)
        for client in clients:
            count[_where(state, state.held[client])] += 1
        return np.equal(count, len(clients))

    def _step(
        self, x: Vector, total: NDArray[np.float64], weight: NDArray[np.float64], whole: float, where: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        covered = (weight > TINY * whole) & where
        over = np.full(len(total), whole) if self.average == "plain" else weight
        new = np.divide(total, over, out=x.astype(np.float64), where=covered)
        return new - x


TINY = 1e-9
"""A coordinate counts as covered if its weights sum to more than this share of all: sums leave rounding behind."""


def resum(state: Buffer) -> float:
    """Make the sums anew from the models; the largest difference from the old ones that was found, per unit of
    weight."""
    old, state.buckets, state.fresh = state.buckets, {}, 0
    for held in state.held.values():
        _put(state, held, state.archive.get(held.values), _where(state, held))
    worst = 0.0
    for number, bucket in state.buckets.items():
        before = old[number]
        scale = max(bucket.whole, 1e-300)
        bucket.lease = before.lease
        worst = max(worst, float(np.abs(bucket.total - before.total).max()) / scale)
    return worst


def _drop(state: Buffer, client: int) -> None:
    """Take a client's model out."""
    held = state.held.pop(client, None)
    if held is None:
        return
    where = _where(state, held)
    bucket = state.buckets[held.bucket]
    bucket.count -= 1
    if bucket.count:
        bucket.total[where] -= np.multiply(state.archive.get(held.values), held.share, dtype=np.float64)
        bucket.weight[where] -= held.share
        bucket.whole -= held.share
    else:
        del state.buckets[held.bucket]
    state.archive.drop(held.values)
    state.rankings.drop(held.order)


def _where(state: Buffer, held: Held) -> slice | Positions:
    return state.rankings.where(held.order, held.length)


def _put(state: Buffer, held: Held, values: Vector, where: slice | Positions) -> None:
    """Add a model to its bucket."""
    bucket = state.buckets.get(held.bucket)
    if bucket is None:
        bucket = Bucket(np.zeros(state.size), np.zeros(state.size), held.lease)
        state.buckets[held.bucket] = bucket
    bucket.total[where] += np.multiply(values, held.share, dtype=np.float64)
    bucket.weight[where] += held.share
    bucket.whole += held.share
    bucket.count += 1
    if held.lease.version >= bucket.lease.version:
        bucket.lease = held.lease


def _join(state: Buffer) -> None:
    """Make one of the two oldest buckets that are next to each other."""
    first, second = sorted(state.buckets)[:2]
    old, new = state.buckets.pop(first), state.buckets[second]
    new.total += old.total
    new.weight += old.weight
    new.whole += old.whole
    new.count += old.count
    for held in state.held.values():
        if held.bucket == first:
            held.bucket = second
