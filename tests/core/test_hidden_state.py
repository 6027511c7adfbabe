"""The hidden state: replicas that decode the published bytes themselves, paths, refusals, contraction."""

from itertools import pairwise
from typing import ClassVar
from zlib import crc32

import numpy as np
import pytest
from msgspec import Struct

import hocket as hk
from hocket.codec import QSGD, Float32, TopK
from hocket.downlink import HiddenState
from hocket.downlink.frame import FRAME
from hocket.downlink.hidden_state import Hidden
from hocket.errors import Diverged, InvalidInput
from hocket.lease import Edge, Node
from hocket.schema import Schema, Segment, Vector
from hocket.service.clock import ScriptedClock
from hocket.service.loopback import run_loopback
from hocket.snapshot import pack, unpack

SCHEMA = Schema((Segment("w", (100,)),))


class Halves(Struct, frozen=True, tag="test_halves", tag_field="kind"):
    """Keeps ``keep`` of every value, in one byte per value as far as size goes."""

    keep: float = 0.75
    bound: float | None = 0.0625
    id: ClassVar[int] = 200
    lossless: ClassVar[bool] = False
    unbiased: ClassVar[bool] = False
    merges: ClassVar[bool] = False

    def distortion(self, schema: Schema) -> float:
        return self.bound if self.bound is not None else float("inf")

    def size(self, schema: Schema) -> tuple[int, bool]:
        return 4 + schema.size, True

    def encode(self, x: Vector, schema: Schema, key: int) -> bytes:
        scale = float(np.abs(x).max(initial=0.0)) or 1.0
        self_scaled = np.round(np.clip(x * self.keep / scale, -1, 1) * 100).astype(np.int8)
        return np.float32(scale).tobytes() + self_scaled.tobytes()

    def decode(self, data: bytes, schema: Schema) -> Vector:
        return np.frombuffer(data, np.int8, offset=4).astype(np.float32) * (np.frombuffer(data, "<f4", 1)[0] / 100)


def published(
    policy: HiddenState, versions: int, seed: int = 0
) -> tuple[Hidden, list[Node], list[Vector], list[Vector]]:
    """A walk of the model: state, nodes, models and hidden states by version."""
    rng = np.random.default_rng(seed)
    state, nodes, models, hidden = policy.init(SCHEMA), [], [], []
    x = rng.standard_normal(100).astype(np.float32)
    for v in range(versions):
        kept, value, node = policy.commit(state, "a", None if v == 0 else x, x, v, v)
        nodes.append(node), models.append(kept), hidden.append(value)
        x = x + rng.standard_normal(100).astype(np.float32) * 0.1
    return state, nodes, models, hidden


def follow(
    policy: HiddenState, state: Hidden, have: Node | None, held: Vector | None, want: Node, value: Vector
) -> Vector:
    for edge in policy.path(state, have, want, SCHEMA):
        data = policy.open(state, edge, value, SCHEMA)
        assert len(data) == edge.size
        held = policy.apply(held, edge, data, SCHEMA)
    return held


def test_replicas_agree_at_every_version_bit_for_bit() -> None:
    """One that follows, one that replays a few messages, one from a snapshot: the same digest as the server."""
    policy = HiddenState(Halves())
    state, nodes, models, hidden = published(policy, 30)
    held = hidden[0]
    for v in range(1, 30):
        held = follow(policy, state, nodes[v - 1], held, nodes[v], hidden[v])
        assert held.tobytes() == hidden[v].tobytes()
        late = follow(policy, state, nodes[max(0, v - 3)], hidden[max(0, v - 3)], nodes[v], hidden[v])
        joined = follow(policy, state, None, None, nodes[v], hidden[v])
        assert late.tobytes() == joined.tobytes() == hidden[v].tobytes()
    errors = [np.linalg.norm(x - h) for x, h in zip(models[5:], hidden[5:], strict=True)]
    steps = [np.linalg.norm(b - a) for a, b in pairwise(models)]
    assert max(errors) < max(steps), "what is left out of one message is in the next"


def test_a_client_replays_while_that_is_cheaper_than_a_snapshot() -> None:
    policy = HiddenState(Halves())
    state, nodes, _, _ = published(policy, 30)
    message, full = FRAME.size + 104, FRAME.size + SCHEMA.nbytes
    most = full // message
    for missed in range(1, 12):
        edges = policy.path(state, nodes[29 - missed], nodes[29], SCHEMA)
        assert sum(e.size for e in edges) == min(missed * message, full)
        assert (edges[0].source is None) == (missed > most)
    assert policy.path(state, nodes[29], nodes[20], SCHEMA)[0].source is None, "never back by differences"


def test_a_short_log_ends_in_snapshots() -> None:
    policy = HiddenState(Halves(), log=2)
    state, nodes, _, hidden = published(policy, 6)
    assert [e.source is None for e in policy.path(state, nodes[2], nodes[5], SCHEMA)] == [True]
    assert len(policy.path(state, nodes[3], nodes[5], SCHEMA)) == 2
    (edge,) = HiddenState(Halves()).path(published(HiddenState(Halves()), 6)[0], nodes[4], nodes[5], SCHEMA)
    with pytest.raises(InvalidInput, match="gone"):
        policy.open(policy.init(SCHEMA), edge, hidden[5], SCHEMA)
    snapshot = policy.path(state, None, nodes[5], SCHEMA)[0]
    with pytest.raises(InvalidInput, match="gone"):
        policy.open(state, snapshot, None, SCHEMA)


def sealed(message: bytes) -> bytes:
    """A message with the checksum that its bytes have now."""
    head, body = message[: FRAME.size - 4], message[FRAME.size :]
    return head + crc32(body, crc32(head)).to_bytes(4, "little") + body


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda d: d[:20], "20 bytes; a frame has 56"),
        (lambda d: b"xx" + d[2:], "is not 68680200"),
        (lambda d: d[:-1], "or damaged; fetch it again"),
        (lambda d: d[:-1] + bytes([d[-1] ^ 1]), "or damaged; fetch it again"),
        (lambda d: d[:4] + b"\x09" + d[5:], "or damaged; fetch it again"),
        (lambda d: sealed(d[:4] + b"\x00" + d[5:]), "codec id 0, or its settings, are not those of"),
        (lambda d: sealed(d[:8] + b"\x09" + d[9:]), "leads to version 9; take a snapshot"),
        (lambda d: sealed(d[:16] + bytes(16) + d[32:]), "does not start from the state held"),
        (lambda d: sealed(d[:32] + bytes(16) + d[48:]), "the state reached is not the one published"),
    ],
)
def test_a_damaged_message_is_refused_by_name(damage, sentence) -> None:
    policy = HiddenState(Halves())
    state, nodes, _, hidden = published(policy, 3)
    (edge,) = policy.path(state, nodes[1], nodes[2], SCHEMA)
    data = policy.open(state, edge, hidden[2], SCHEMA)
    with pytest.raises(InvalidInput, match=sentence):
        policy.apply(hidden[1], edge, damage(data), SCHEMA)


def test_a_message_on_the_wrong_state_is_refused() -> None:
    """A gap, a repeat, and a client with nothing: none of them is applied."""
    policy = HiddenState(Halves())
    state, nodes, _, hidden = published(policy, 4)
    (edge,) = policy.path(state, nodes[1], nodes[2], SCHEMA)
    data = policy.open(state, edge, hidden[2], SCHEMA)
    for held in (hidden[0], hidden[2], None):
        with pytest.raises(InvalidInput, match="take a snapshot"):
            policy.apply(held, edge, data, SCHEMA)


def test_a_codec_that_is_no_contraction_is_refused_or_watched() -> None:
    for bound in (1.0, None):
        with pytest.raises(InvalidInput, match="adds up unless that is below 1"):
            HiddenState(Halves(bound=bound)).init(SCHEMA)
    published(HiddenState(Halves(bound=1.5), monitor=True), 40)
    with pytest.raises(Diverged, match="of each difference of the hidden state out"):
        published(HiddenState(Halves(keep=0.0, bound=1.5), monitor=True), 40)


def schedule(seed: int, policy: HiddenState, run: tuple[Hidden, list[Node], list[Vector], list[Vector]]) -> int:
    """One client under broadcasts that are lost, repeated, delayed and out of order; how many it knew were not next."""
    state, nodes, _, hidden = run
    rng, last = np.random.default_rng(seed), len(nodes) - 1
    at = int(rng.integers(last))
    held, noticed = hidden[at], 0
    arriving = [v for v in range(1, last + 1) if rng.random() < 0.8]
    arriving += [v for v in arriving if rng.random() < 0.2]
    arriving.sort(key=lambda v: v + 4 * rng.random())
    for v in arriving:
        message = state.log[v]
        edge = Edge(message.target, message.source, message.size)
        try:
            held = policy.apply(held, edge, message.data, SCHEMA)
        except InvalidInput as e:
            assert "take a snapshot" in str(e) and v != at + 1, "a message that is next is taken"
            noticed += 1
            if v <= at:
                continue  # a repeat, or overtaken
            trips = 1
            for edge in policy.path(state, nodes[at], nodes[v], SCHEMA):
                held = policy.apply(held, edge, policy.open(state, edge, hidden[v], SCHEMA), SCHEMA)
            assert trips <= 2
        at = v
        assert held.tobytes() == hidden[at].tobytes(), "a wrong state went unnoticed"
    return noticed


@pytest.mark.parametrize("codec", [QSGD(bucket=25), TopK(0.1), Halves()], ids=lambda c: type(c).__name__)
def test_t16_every_gap_is_noticed_before_training(codec) -> None:
    policy = HiddenState(codec)
    run = published(policy, 25)
    assert sum(schedule(seed, policy, run) for seed in range(300)) > 1000


@pytest.mark.soak
def test_t16_a_hundred_thousand_schedules() -> None:
    policy = HiddenState(QSGD(bucket=25))
    run = published(policy, 25)
    for seed in range(100_000):
        schedule(seed, policy, run)


@pytest.mark.parametrize("codec", [QSGD(bucket=25), TopK(0.1, QSGD())], ids=lambda c: type(c).__name__)
def test_t17_a_message_made_again_after_a_crash_is_the_same(codec) -> None:
    """Before the step, between step and broadcast, after it: the same bytes, and the same state."""
    policy = HiddenState(codec)
    state, nodes, models, _ = published(policy, 6)
    step = models[-1] + np.float32(0.1)
    before = pack(state)
    _, value, node = policy.commit(state, "a", models[-1], step, 6, 6)
    for saved in (before, pack(state)):
        again = unpack(saved, Hidden)
        if again.node.version < 6:
            _, once_more, renamed = policy.commit(again, "a", models[-1], step, 6, 6)
            assert renamed == node and once_more.tobytes() == value.tobytes()
        (edge,) = policy.path(again, nodes[-1], node, SCHEMA)
        assert policy.open(again, edge, value, SCHEMA) == state.log[6].data


def test_t18_an_old_backup_is_found_out_and_catches_up() -> None:
    """A device that says it holds version 8 and holds that of its backup cannot apply what follows, and resyncs."""
    policy = HiddenState(QSGD(bucket=25))
    state, nodes, _, hidden = published(policy, 12)
    (edge,) = policy.path(state, nodes[8], nodes[9], SCHEMA)
    for backup in (hidden[2], hidden[7], hidden[8] * np.float32(1.0000001)):
        with pytest.raises(InvalidInput, match="does not start from the state held; take a snapshot"):
            policy.apply(backup, edge, policy.open(state, edge, hidden[9], SCHEMA), SCHEMA)
    held = follow(policy, state, None, None, nodes[11], hidden[11])
    assert held.tobytes() == hidden[11].tobytes()


@pytest.mark.parametrize("codec", [Float32(), Halves(), QSGD(), TopK(0.1)])
def test_real_devices_decode_what_is_published(codec) -> None:
    """Loopback: 30 replicas with copies of their own; every start is checked against its digest by ``apply``."""
    task = hk.reference_tasks.gaussian(clients=30, samples=40)
    fleet = hk.Fleet.synthetic(30, seed=2, compute_law=hk.fleet.Exponential())
    method = hk.compose(
        hk.strategies.fedbuff(5, 15), hk.Strategy("hidden", task=hk.TaskPart(downlink=HiddenState(codec)))
    )
    until = hk.Until(updates=200)
    simulated = hk.simulate(task, fleet, method, until, seed=1, log=True)
    real = run_loopback(task, fleet, method, until, seed=1, clock=ScriptedClock(fleet, 1))
    assert real.models["gaussian"].tobytes() == simulated.models["gaussian"].tobytes()
    assert real.log.table().equals(simulated.log.table())


def test_without_loss_it_is_fedbuff() -> None:
    """The identity codec: FedBuff's model up to the rounding of differences."""
    task = hk.reference_tasks.gaussian(clients=30, samples=40)
    fleet = hk.Fleet.synthetic(30, seed=2, down=np.full(30, 1e12))
    plain = hk.strategies.fedbuff(5, 15)
    hidden = hk.compose(plain, hk.Strategy("hidden", task=hk.TaskPart(downlink=HiddenState())))
    a, b = (hk.simulate(task, fleet, m, hk.Until(updates=300), seed=1) for m in (plain, hidden))
    x, y = a.models["gaussian"], b.models["gaussian"]
    assert np.linalg.norm(x - y) <= 1e-5 * np.linalg.norm(x)
