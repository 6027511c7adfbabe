"""A hidden state per band: replicas of different sub-models agree bit for bit, what is published, what is refused."""

import msgspec
import numpy as np
import pytest

from hocket.codec import QSGD, Float32, TopK
from hocket.downlink import HiddenBands
from hocket.downlink.frame import FRAME
from hocket.downlink.hidden_bands import HiddenBanded
from hocket.errors import Diverged, InvalidInput
from hocket.lease import ALL, INDEX, Cover, Node
from hocket.ranking import Ranking, listing
from hocket.record.ledger import Ledger
from hocket.schema import Schema, Segment
from hocket.snapshot import pack, unpack

SIZE = 200
SCHEMA = Schema((Segment("w", (SIZE,)),))
CUTS = (20, 60, 150)


class Origin:
    """A server whose model walks at random; values and rankings by version and epoch."""

    def __init__(self, policy: HiddenBands, seed: int = 0) -> None:
        self.policy, self.draw = policy, np.random.default_rng(seed)
        self.state = policy.init(SCHEMA)
        self.x = self.draw.standard_normal(SIZE).astype(np.float32)
        _, value, self.node = policy.commit(self.state, "a", None, self.x, 0, 0)
        self.values, self.rankings, self.epoch = {0: value}, {}, -1
        self.rank(CUTS)

    def rank(self, cuts=CUTS) -> None:
        self.epoch += 1
        order = self.draw.permutation(SIZE).astype(np.int32)
        ranking = self.rankings[self.epoch] = Ranking.of(order, cuts)
        self.policy.ranked(self.state, self.epoch, ranking, True, self.node.version)

    def step(self, scale: float = 0.1) -> None:
        before, version = self.x, self.node.version + 1
        self.x = self.x + scale * self.draw.standard_normal(SIZE).astype(np.float32)
        _, value, self.node = self.policy.commit(self.state, "a", before, self.x, version, version)
        self.values[version] = value

    def want(self, length: int, version: int | None = None) -> Node:
        node = self.node if version is None else self.state.log[version].target
        return Node(node.task, node.version, node.kind, -1, Cover(self.epoch, length), node.digest)

    def read(self, edge) -> bytes:
        """As the book does it."""
        ranking, cover = self.rankings[edge.target.cover.epoch], edge.target.cover
        if edge.target.kind == INDEX:
            return listing(ranking.band(ranking.cuts.index(cover.length)), SIZE)
        value = self.values[edge.target.version][ranking.positions(cover.length)]
        return self.policy.open(self.state, edge, value, SCHEMA)


class Replica:
    """A client that knows what it was sent."""

    def __init__(self) -> None:
        self.node, self.held, self.received = None, None, 0

    def follow(self, origin: Origin, length: int, ledger: Ledger | None = None) -> list:
        want = origin.want(length)
        edges = origin.policy.path(origin.state, self.node, want, SCHEMA)
        for edge in edges:
            data = origin.read(edge)
            assert len(data) == edge.size
            self.received += len(data)
            if ledger is not None:
                ledger.open_edge(edge)
            if edge.target.kind != INDEX:
                self.held = origin.policy.apply(self.held, edge, data, SCHEMA)
        self.node = want
        where = origin.rankings[origin.epoch].positions(length)
        assert self.held.tobytes() == origin.values[want.version][where].tobytes()
        return list(edges)


@pytest.mark.parametrize("codec", [Float32(), QSGD(bucket=25), TopK(0.2)], ids=lambda c: type(c).__name__)
def test_replicas_of_all_sub_models_agree_over_epochs(codec):
    """Some follow every version, some miss a few; densities rise; rankings change; one state at the origin."""
    origin, draw = Origin(HiddenBands(codec)), np.random.default_rng(1)
    replicas, lengths = [Replica() for _ in range(8)], [CUTS[i % 3] for i in range(8)]
    for version in range(1, 60):
        origin.step()
        if version % 15 == 0:
            lengths = [CUTS[min(2, CUTS.index(n) + int(draw.random() < 0.3))] for n in lengths]
            origin.rank()
        for replica, length in zip(replicas, lengths, strict=True):
            if draw.random() < 0.6:
                replica.follow(origin, length)
    error = np.linalg.norm(origin.x - origin.values[59]) / np.sqrt(SIZE)
    assert error < 0.1, "the hidden state follows the model on every band, also where nobody covers it"


def test_each_band_is_published_once_whoever_fetches_it():
    origin, ledger = Origin(HiddenBands(QSGD(bucket=25))), Ledger()
    replicas = [(Replica(), CUTS[i % 3]) for i in range(30)]
    for replica, n in replicas:
        replica.follow(origin, n, ledger)
    first, received = ledger.published, sum(r.received for r, _ in replicas)
    assert first == sum(FRAME.size + 4 * n for n in (20, 40, 90)) + 3 * 25
    origin.step()
    paths = [replica.follow(origin, n, ledger) for replica, n in replicas]
    sizes = [d.size for d in origin.state.log[1].bands[:3]]
    assert ledger.published - first == sum(sizes)
    assert [sum(e.size for e in p) for p in paths[:3]] == [sum(sizes[:k]) for k in (1, 2, 3)]
    assert sum(sizes) < 0.5 * 4 * 150 and sum(r.received for r, _ in replicas) - received == 10 * sum(
        sum(sizes[:k]) for k in (1, 2, 3)
    )


def test_paths_are_the_cheapest_of_those_there_are():
    origin = Origin(HiddenBands(QSGD(bucket=25), log=50))
    late, held = Replica(), origin.want(60)
    late.follow(origin, 60)
    for _ in range(30):
        origin.step()
    assert all(
        e.source is None or e.source.version == 30
        for e in origin.policy.path(origin.state, held, origin.want(60), SCHEMA)
    )
    near = origin.want(60, 29)
    replayed = origin.policy.path(origin.state, near, origin.want(60), SCHEMA)
    assert [(e.source.version, e.band) for e in replayed] == [(29, 0), (29, 1)]
    grown = origin.policy.path(origin.state, near, origin.want(150), SCHEMA)
    assert [e.target.kind == INDEX for e in grown] == [True, False, False, False], "the new band, its list first"
    assert [e.source.version for e in grown[1:]] == [29, 29, 30]
    assert origin.policy.path(origin.state, origin.want(150, 29), origin.want(60), SCHEMA)[0].source is None
    origin.rank()
    again = origin.policy.path(origin.state, near, origin.want(60), SCHEMA)
    assert len([e for e in again if e.target.kind == INDEX]) == 2, "a new epoch: lists and values"
    with pytest.raises(InvalidInput, match="no band of epoch 1 ends at 61"):
        origin.policy.path(origin.state, None, origin.want(61), SCHEMA)


def test_what_does_not_fit_is_refused():
    origin, late = Origin(HiddenBands(QSGD(bucket=25), log=2)), Replica()
    late.follow(origin, 60)
    origin.step()
    inner, outer = origin.policy.path(origin.state, late.node, origin.want(60), SCHEMA)
    data = origin.read(outer)
    for held in (None, late.held[:30], late.held + np.float32(1)):
        with pytest.raises(InvalidInput, match=r"fetch those first|take a snapshot"):
            origin.policy.apply(held, outer, data, SCHEMA)
    with pytest.raises(InvalidInput, match="does not start from the state held"):
        origin.policy.apply(late.held, inner, data, SCHEMA)
    with pytest.raises(InvalidInput, match="damaged"):
        origin.policy.apply(late.held, outer, data[:-1] + b"\x99", SCHEMA)
    for _ in range(3):
        origin.step()
    with pytest.raises(InvalidInput, match=r"the difference to .* is gone"):
        origin.policy.open(origin.state, outer, None, SCHEMA)
    with pytest.raises(InvalidInput, match=r"is gone; a newer one"):
        origin.policy.open(
            origin.state, origin.policy.path(origin.state, None, origin.want(20), SCHEMA)[-1], None, SCHEMA
        )
    with pytest.raises(InvalidInput, match=r"hidden_bands.log = 0"):
        HiddenBands(log=0)
    with pytest.raises(InvalidInput, match=r"hidden_bands: codec .* adds up unless that is below 1"):
        HiddenBands(QSGD(2, bucket=None)).init(SCHEMA)
    with pytest.raises(Diverged):
        watched = Origin(HiddenBands(QSGD(2, bucket=None), monitor=True))
        for _ in range(60):
            watched.step()


def test_a_snapshot_goes_on_with_the_same_bytes():
    origin = Origin(HiddenBands(QSGD(bucket=25)))
    for _ in range(3):
        origin.step()
    saved = pack(origin.state)
    origin.step()
    again = unpack(saved, HiddenBanded)
    _, value, node = origin.policy.commit(again, "a", None, origin.x, 4, 4)
    assert node == origin.node and value.tobytes() == origin.values[4].tobytes()
    assert pack(again) == pack(origin.state)


def test_the_whole_is_fetched_ahead_from_whatever_part_is_held():
    """Of a part only its bands are followed; after a ranking all of it is sent again, with its lists."""
    origin, client = Origin(HiddenBands(QSGD(bits=8))), Replica()

    def whole() -> list:
        want = msgspec.structs.replace(origin.node, cover=ALL)
        edges = origin.policy.path(origin.state, client.node, want, SCHEMA)
        for edge in edges:
            if edge.target.kind != INDEX:
                client.held = origin.policy.apply(client.held, edge, origin.read(edge), SCHEMA)
        client.node = want
        order = origin.rankings[origin.epoch].positions(SIZE)
        assert client.held.tobytes() == origin.values[want.version][order].tobytes()
        return list(edges)

    def lists(edges: list) -> int:
        return sum(e.target.kind == INDEX for e in edges)

    origin.step()
    client.follow(origin, 60)
    origin.step()
    assert lists(whole()) == 2, "of the bands that were not held"
    origin.step()
    again = whole()
    assert lists(again) == 0 and sum(e.size for e in again) < SCHEMA.nbytes
    for steps in (1, 3):
        origin.rank()
        for _ in range(steps):
            origin.step()
        assert lists(whole()) == 4
