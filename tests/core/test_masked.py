"""Sub-models: the ranking, the masked means, densities, recovery, bands; figures are those of the method's own
example."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hocket import wire
from hocket.codec import QSGD, Float32
from hocket.downlink import Bands
from hocket.errors import InvalidInput
from hocket.guard import Hinge, Polynomial
from hocket.learning import squares
from hocket.lease import INDEX, Cover, Node
from hocket.merge import MaskedDeltas, MaskedModels, MeanByWeight
from hocket.merge.masked_models import resum
from hocket.optimizer import SGD
from hocket.policies import Contribution
from hocket.ranking import Ranking, listed, listing, schema_of
from hocket.schema import Kind, Schema, Segment
from hocket.snapshot import pack, unpack
from hocket.strategies import prfl
from hocket.submodel import Controller, Pruning, Slices, pruned
from hocket.submodel.pruned import Sizes
from hocket.submodel.tracker import Tracker
from hocket.testing.moments import lease
from hocket.uplink import Banded
from hocket.width import at_width, block

MIB = 2**20
THREE = Schema((Segment("w", (3,)),))
BEFORE = np.array([3, 1, 3], np.float32)
MODELS = [([1], [0]), ([3], [0]), ([2, 1], [0, 1])]
"""Covered values and coordinates of the three models (1,0,0), (3,0,0), (2,1,0)."""


def sent(client: int, values, covered, version: int = 0, share: float = 1.0, size: int = 3) -> Contribution:
    delta = np.zeros(size, np.float32)
    at = None if covered is None else np.array(covered, np.int32)
    delta[slice(None) if at is None else at] = values
    given = lease(client, client=client, version=version)
    return Contribution(given, share, 10, delta, np.zeros(size, np.float32), at, None, share)


def merged(policy, contributions, x=BEFORE, weigh=lambda _: 1.0, lr=1.0, state=None):
    state = policy.init(Schema((Segment("w", (len(x),)),)), 10) if state is None else state
    for c in contributions:
        policy.add(state, c)
    return SGD(lr).apply(None, x, policy.take(state, x, weigh))


# --- the masked mean -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("average", "lr", "expected"),
    [
        ("covered", 1.0, (2, 1, 3)),
        ("covered", 0.5, (2.5, 1, 3)),
        ("plain", 1.0, (2, 1 / 3, 3)),
        ("common", 1.0, (2, 1, 3)),
    ],
)
def test_the_example_of_the_paper(average, lr, expected):
    models = [sent(i, *m) for i, m in enumerate(MODELS)]
    np.testing.assert_allclose(merged(MaskedModels(average), models, lr=lr), expected, rtol=1e-6)


def test_plain_averaging_loses_what_nobody_covers():
    whole = [sent(i, v, None) for i, v in enumerate([(1, 0, 0), (3, 0, 0), (2, 1, 0)])]
    np.testing.assert_allclose(merged(MaskedModels(), whole), (2, 1 / 3, 0), rtol=1e-6)


@pytest.mark.parametrize(
    ("decay", "weights"),
    [
        (lambda t: max(t, 1) ** -0.6 if t else 1.0, None),
        (Polynomial(0.6).weight, (0.587249, 0.255615, 0.157136)),
        (Hinge(0.6, 2).weight, (0.542773, 0.339233, 0.117994)),
    ],
)
def test_ages_weigh(decay, weights):
    ages = (0, 3, 8)
    models = [sent(i, *m, version=8 - t) for (i, m), t in zip(enumerate(MODELS), ages, strict=True)]
    p = np.array([decay(t) for t in ages])
    p /= p.sum()
    new = merged(MaskedModels(), models, weigh=lambda x: decay(8 - x.version))
    np.testing.assert_allclose(new, (p @ [1, 3, 2], 1, 3), rtol=1e-6)
    if weights is not None:
        np.testing.assert_allclose(p, weights, atol=5e-7)
    if weights == (0.587249, 0.255615, 0.157136):
        np.testing.assert_allclose(new, (1.668366, 1, 3), atol=1e-6)


def test_models_age_while_they_wait():
    policy, state = MaskedModels(), MaskedModels().init(THREE, 2)
    merged(policy, [sent(0, (0, 0, 0), None), sent(1, (1, 1, 1), None)], state=state)
    new = merged(policy, [sent(1, (1, 1, 1), None, version=3)], state=state, weigh=lambda x: 1 / (1 + 3 - x.version))
    np.testing.assert_allclose(new, 0.8, rtol=1e-6)


def test_a_coordinate_outside_every_cover_stays_and_a_zero_inside_counts():
    policy, state, x = MaskedModels(), MaskedModels().init(THREE, 3), BEFORE
    for step in range(20):
        x = merged(policy, [sent(0, [0, 4], [0, 1], step), sent(1, [2], [0], step)], x, state=state)
        assert x.tolist() == [1, 4, 3]
    assert merged(MaskedDeltas(), [sent(0, [0, 4], [0, 1]), sent(1, [2], [0])]).tolist() == [4, 5, 3]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_with_whole_models_it_is_the_mean(seed, clients):
    draw = np.random.default_rng(seed)
    x = draw.standard_normal(40).astype(np.float32)
    given_ = []
    for i in range(clients):
        c = sent(i, draw.standard_normal(40), None, share=float(draw.integers(1, 5)), size=40)
        c.start = x
        given_.append(c)
    mean = merged(MeanByWeight(), given_, x)
    np.testing.assert_allclose(merged(MaskedModels(), given_, x), mean, atol=1e-6)
    np.testing.assert_allclose(merged(MaskedDeltas(), given_, x), mean, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 3, 64]), st.booleans())
def test_running_sums_are_the_mean_over_the_buffer(seed, buckets, interrupted):
    """Against the formula over all models; with too few buckets the weights are those of the buckets."""
    draw, size = np.random.default_rng(seed), 30
    policy = MaskedModels(buckets=buckets, resum=7)
    state, x = policy.init(Schema((Segment("w", (size,)),)), 12), np.zeros(size, np.float32)
    order = draw.permutation(size).astype(np.int32)
    latest: dict[int, Contribution] = {}

    def s(given_):
        return 1.0 if buckets < 64 else (1 + version - given_.version) ** -0.6

    for version in range(25):
        for _ in range(draw.integers(1, 4)):
            client, n = int(draw.integers(12)), int(draw.integers(1, size))
            c = sent(client, draw.standard_normal(n), order[:n], int(draw.integers(version + 1)), 2.0, size)
            policy.add(state, c)
            latest[client] = c
        state = unpack(pack(state), type(state)) if interrupted else state
        new = SGD().apply(None, x, policy.take(state, x, s))
        num, den = np.zeros(size), np.zeros(size)
        for c in latest.values():
            num[c.covered] += s(c.lease) * c.share * c.delta[c.covered]
            den[c.covered] += s(c.lease) * c.share
        np.testing.assert_allclose(new, np.where(den > 0, num / np.where(den > 0, den, 1), x), atol=1e-5)
        assert len(state.buckets) <= buckets and set(state.rankings.users) == set(state.rankings.orders)
        x = new
    assert resum(state) < 1e-12


def test_without_the_buffer_only_arrivals_are_averaged_and_mixed_in():
    policy, state = MaskedModels(latest=False), MaskedModels().init(THREE, 4)
    x = merged(policy, [sent(i, (2, 2, 2), None) for i in range(4)], state=state)
    assert x.tolist() == [2, 2, 2]
    np.testing.assert_allclose(merged(policy, [sent(1, [6], [0], 1)], x, state=state), (3, 2, 2), rtol=1e-6)


def test_common_moves_only_what_all_cover():
    np.testing.assert_allclose(
        merged(MaskedModels("common"), [sent(0, [9, 9], [0, 1]), sent(1, [3], [0])]), (6, 1, 3), rtol=1e-6
    )


def test_only_the_last_clients_are_kept_if_so_wished():
    policy, state = MaskedModels(most=2), MaskedModels().init(THREE, 4)
    for i in range(4):
        policy.add(state, sent(i, [float(i)], [0]))
    assert list(state.held) == [2, 3]
    assert merged(policy, [sent(2, [7], [0], 1)], state=state).tolist() == [5, 1, 3]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_updates_over_the_fleet_are_the_mean_of_models_where_all_come_at_once(seed, interrupted):
    """And one by one, on a model that does not move meanwhile, they add up to the same step."""
    draw, size = np.random.default_rng(seed), 25
    order = draw.permutation(size).astype(np.int32)
    x = draw.standard_normal(size).astype(np.float32)
    covers = [order[: draw.integers(1, size + 1)] for _ in range(5)]

    def those(turn):
        out = [sent(i, draw.standard_normal(len(at)), at, turn, float(1 + i), size) for i, at in enumerate(covers)]
        for c in out:
            c.start = np.where(np.isin(np.arange(size), c.covered), x, 0).astype(np.float32)
        return out

    policy = MaskedDeltas(over="fleet")
    schema = Schema((Segment("w", (size,)),))
    state = policy.init(schema, 5)
    for turn in range(3):
        models, covers = those(turn), [order[: draw.integers(1, size + 1)] for _ in range(5)]
        expected = merged(MaskedModels(), models, x)
        np.testing.assert_allclose(merged(policy, models, x, state=state), expected, atol=1e-5)
        state = unpack(pack(state), type(state)) if interrupted else state
        single = sum(merged(policy, [c], x, state=state).astype(np.float64) - x for c in models)
        np.testing.assert_allclose(x + single, expected, atol=1e-5)
    assert len(state.rankings.orders) == 1 and sum(state.rankings.users.values()) == 5


def test_poison_is_trimmed_where_enough_cover():
    honest = [sent(i, [1 + i / 100] * 3, [0, 1, 2]) for i in range(8)]
    poison = [sent(8, [1e6, -1e6], [0, 1]), sent(9, [-1e6, -1e6], [0, 1])]
    zero = np.zeros(3, np.float32)
    new = merged(MaskedDeltas(trim=0.2), [*honest, *poison], zero)
    assert (np.abs(new - 1.03) < 0.05).all()
    assert abs(merged(MaskedDeltas(), [*honest, *poison], zero)[1]) > 1e5
    clipped = merged(MaskedDeltas(clip=1.0), [*honest, *poison], zero)
    assert np.abs(clipped).max() < 1.8
    few = merged(MaskedDeltas(trim=0.4), [sent(0, [5], [0]), sent(1, [1], [0])], zero)
    assert few.tolist() == [3, 0, 0], "two cannot be cut"


# --- the ranking -----------------------------------------------------------------------------------------

NET = Schema((Segment("a", (8, 10)), Segment("b", (8,)), Segment("c", (4, 8)), Segment("m", (4, 2), Kind.BUFFER)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0, 0.5))
def test_covers_are_nested_and_as_dense_as_they_say(seed, one, other, base):
    draw = np.random.default_rng(seed)
    x = draw.standard_normal(NET.size).astype(np.float32)
    known = np.where(draw.random(NET.size) < 0.5, draw.random(NET.size), 0)
    order, sizes = pruned.order(NET, x, known, base), Sizes.of(NET, base)
    assert sorted(order.tolist()) == list(range(NET.size)) and (sizes.fixed, sizes.weights) == (16, 112)
    small, large = sorted((one, other))
    covers = [set(order[: sizes.length(rho)].tolist()) for rho in (small, large)]
    assert covers[0] <= covers[1] and set(range(80, 88)) <= covers[0], "nested, biases in all"
    for rho, cover in zip((small, large), covers, strict=True):
        assert len(cover) - 16 == max(int(rho * 112), int(base * 80) + int(base * 32))
        for begin, end in ((0, 80), (88, 120)):
            largest = np.argsort(-np.abs(x[begin:end]), kind="stable")[: int(base * (end - begin))] + begin
            assert set(largest.tolist()) <= cover, "the base share of a layer"


def test_unmeasured_weights_rank_below_measured_ones_of_their_layer():
    x = np.arange(1, NET.size + 1, dtype=np.float32) / 1000
    known = np.zeros(NET.size)
    known[[3, 7]] = 0.5, 0.9
    order = pruned.order(NET, x, known, 0.0).tolist()
    assert order[16 : 16 + 34] == [7, *range(119, 87, -1), 3][:1] + order[17 : 16 + 34]
    assert order.index(7) < order.index(3) < order.index(2)


@pytest.mark.parametrize("schema", [NET, Schema((Segment("w", (7, 3)),))])
def test_index_lists_come_back(schema):
    order = np.random.default_rng(0).permutation(schema.size).astype(np.int32)
    ranking = Ranking.of(order, (5, 9))
    for band in range(len(ranking.cuts)):
        data = listing(ranking.band(band), schema.size)
        assert listed(data, schema.size).tolist() == ranking.band(band).tolist()
    with pytest.raises(InvalidInput, match=r"index list: 2 bytes; a model of 21 takes 3|takes 16"):
        listed(b"\0\0", schema.size)
    with pytest.raises(InvalidInput, match="cuts"):
        Ranking.of(order, (0, 4))


# --- bytes -----------------------------------------------------------------------------------------------

VGG = Schema((Segment("w", (9_747_136 // 512, 512)), *(Segment(f"b{i}", (n,)) for i, n in enumerate((3786,)))))
CONV2 = Schema((Segment("w", (6_601_504 // 32, 32)), Segment("b", (2206,))))
TEN = (1.0, 1.0, 0.6, 0.6, 0.3, 0.3, 0.1, 0.1, 0.1, 0.1)


def fetched(schema: Schema, *densities: float) -> dict[float, tuple]:
    """The path from nothing to each density, the bands being those of all of them."""
    sizes = Sizes.of(schema, 0.05)
    downlink = Bands()
    state = downlink.init(schema)
    ranking = Ranking.of(None, tuple({sizes.length(rho) for rho in densities}), schema.size)
    downlink.ranked(state, 0, ranking, True, 0)
    want = {rho: Node("a", 0, cover=Cover(0, sizes.length(rho))) for rho in densities}
    return {rho: downlink.path(state, None, node, schema) for rho, node in want.items()}


def alone(schema: Schema, rho: float) -> int:
    """Bytes of a sub-model that is sent as one piece, the whole one without a list."""
    return sum(e.size for e in fetched(schema, rho)[rho] if rho < 1 or e.target.kind != INDEX)


@pytest.mark.parametrize(
    ("schema", "whole", "tenth", "egress"),
    [(VGG, 37.197, 4.895, (41.8, 77.9, 165.6)), (CONV2, 25.191, 3.314, (28.3, 52.8, 112.2))],
)
def test_bytes_are_those_of_the_table(schema, whole, tenth, egress):
    assert alone(schema, 1.0) / MIB == pytest.approx(whole, rel=1e-4)
    assert alone(schema, 0.1) / MIB == pytest.approx(tenth, rel=3e-4)
    published = {e: e.size for path in fetched(schema, *TEN).values() for e in path}
    bands = sum(published.values()) / MIB
    distinct, unicast = (sum(alone(schema, rho) for rho in rhos) / MIB for rhos in (set(TEN), TEN))
    for value, table in zip((bands, distinct, unicast), egress, strict=True):
        assert value == pytest.approx(table, rel=5e-3)
    assert unicast / bands >= 3.9 and distinct / bands >= 1.8
    received = [sum(e.size for e in path) for path in fetched(schema, *TEN).values()]
    assert min(received) / MIB == pytest.approx(tenth, rel=3e-4), "what a client receives does not shrink"
    up, _ = Banded().size(schema_of((Sizes.of(schema, 0.05).length(0.1),), Sizes.of(schema, 0.05).length(0.1)), Cover())
    if schema is VGG:
        assert up / MIB == pytest.approx(3.733, rel=1e-3)


def test_bands_make_the_submodel_bit_for_bit():
    draw, downlink = np.random.default_rng(1), Bands()
    state, value = downlink.init(NET), draw.standard_normal(NET.size).astype(np.float32)
    ranking = Ranking.of(draw.permutation(NET.size).astype(np.int32), (20, 50, 90))
    downlink.ranked(state, 3, ranking, True, 7)
    for length in ranking.cuts:
        want, held, lists = Node("a", 9, cover=Cover(3, length)), None, []
        for edge in downlink.path(state, None, want, NET):
            if edge.target.kind == INDEX:
                lists.append(listed(listing(ranking.band(-1 - edge.band), NET.size), NET.size))
                assert edge.size == len(listing(ranking.band(0), NET.size)) and edge.target.version == 7
                continue
            data = downlink.open(state, edge, value[ranking.positions(edge.target.cover.length)], NET)
            assert len(data) == edge.size
            held = downlink.apply(held, edge, data, NET)
        assert np.concatenate(lists).tolist() == ranking.positions(length).tolist()
        assert held.tobytes() == value[np.concatenate(lists)].tobytes()
        again = downlink.path(state, want, replace(want, version=10), NET)
        assert again and all(e.target.kind != INDEX for e in again), "lists are sent once per epoch"
    with pytest.raises(InvalidInput, match="no band of epoch 3 ends at 21; Rank with that cut first"):
        downlink.path(state, None, Node("a", 9, cover=Cover(3, 21)), NET)


def test_one_scale_per_band():
    """A few large values in the inner band do not coarsen the outer one."""
    draw = np.random.default_rng(0)
    values = np.concatenate([100 * draw.standard_normal(64), 0.01 * draw.standard_normal(1024)]).astype(np.float32)
    codec, schema, given_ = QSGD(bits=8, bucket=None), schema_of((64, 1088), 1088), lease(0)
    data, _ = Banded(codec).encode(None, values, None, schema, given_)
    bands, _ = Banded(codec).decode(data, schema, given_)
    one = wire.decode(codec, wire.encode(codec, values, schema, 0), schema)
    error = [np.linalg.norm(v[64:] - values[64:]) / np.linalg.norm(values[64:]) for v in (bands, one)]
    assert error[0] < 0.15 and error[1] > 0.9


def test_squares_are_a_byte_each():
    g = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    g[::7] = 0
    data = squares.encode(g)
    assert len(data) == squares.size(1000) == 1004
    np.testing.assert_allclose(squares.decode(data, 1000), np.square(g, dtype=np.float64), rtol=0.0443)
    plain = Banded(Float32())
    sent_, _ = plain.encode(None, g, data, Schema((Segment("w", (1000,)),)), lease(0))
    assert plain.decode(sent_, Schema((Segment("w", (1000,)),)), lease(0))[1] == data
    for bad in (data[:-1], b"\xff" * 1004):
        with pytest.raises(InvalidInput, match="squared gradients"):
            squares.decode(bad, 1000)


# --- densities -------------------------------------------------------------------------------------------

DOWN = np.array([20, 18, 12, 10, 6, 4, 2.5, 2, 2, 1.5])
UP = np.array([5, 4, 3, 2.5, 1.5, 1, 0.6, 0.5, 0.5, 0.4])
FIXED_POINT = [1, 0.79, 0.6, 0.49, 0.27, 0.17, 0.09, 0.07, 0.07, 0.05]


def times_of(rho):
    """Seconds to receive and send VGG-11 at these densities: values, and a bitmap both ways unless it is whole.

    The fixed point is one of these times; with a bitmap on the way down only, densities settle 0.03 higher.
    """
    rho = np.asarray(rho)
    size = ((rho * 9_747_136 + 3786) * 4 + np.where(rho < 1, 9_747_136 / 8, 0)) / MIB
    return size / DOWN + size / UP


def controlled(start, least, compute=0.0, steps=3):
    rho, seen = list(start), [[] for _ in start]
    for _ in range(steps):
        times = (times_of(rho) + compute).tolist()
        after = Controller().adjust(rho, times, [least] * 10, seen)
        for points, r, t in zip(seen, rho, times, strict=True):
            points.append((r, t))
        rho = after
    return rho


def test_densities_settle_where_the_published_rule_does():
    rho = controlled(TEN, 0.05)
    times = times_of(rho)
    assert (np.abs(times / times[0] - 1) < 0.06).all(), times / times[0]
    np.testing.assert_allclose(rho, FIXED_POINT, atol=0.02)
    held = controlled(TEN, 0.1)
    assert held[6:] == [0.1] * 4
    np.testing.assert_allclose((times_of(held) / times_of(held)[0])[6:], (1.09, 1.32, 1.32, 1.67), atol=0.01)


def test_the_printed_formula_oscillates():
    """rho_i = max(min_j t_j / t_i, rho_min) with the times of the current densities never comes to rest."""
    rho, tenth = np.array(TEN), []
    for _ in range(6):
        t = times_of(rho)
        rho = np.maximum(t.min() / t, 0.05)
        tenth.append(float(rho[9]))
    jumps = np.abs(np.diff(tenth))
    assert jumps.min() > 0.2, tenth
    np.testing.assert_allclose(tenth[:3], (0.60, 0.13, 0.50), atol=0.02)


def test_a_time_that_density_does_not_change_leaves_the_density():
    """Masks do not make computing faster: the slope is fitted before the controller acts on it again."""
    rho, seen = [1.0, 1.0], [[(0.8, 10.0)], [(0.8, 40.0)]]
    assert Controller().adjust(rho, [10.0, 40.0], [0.1, 0.1], seen) == [1.0, 1.0]
    mixed = controlled(TEN, 0.05, compute=5.0, steps=6)
    times = times_of(mixed) + 5.0
    assert (np.abs(times / times[0] - 1) < 0.06).all(), "with a part that does not shrink it still settles"


def test_recovery_triggers_once():
    t, lifts = Tracker(), 0
    for score in (0.5, 0.6, 0.55, 0.55, 0.58, 0.59):
        t.see(score)
        if t.count >= 3:
            t.count, lifts = 0, lifts + 1
    assert lifts == 1 and t.best == 0.6


# --- slices ----------------------------------------------------------------------------------------------


def test_slices_are_leading_blocks_and_nested():
    dense = Schema(
        (Segment("a.weight", (6, 8)), Segment("a.bias", (8,)), Segment("b.weight", (8, 3)), Segment("b.bias", (3,)))
    )
    conv = Schema(
        (
            Segment("0.weight", (8, 1, 5, 5)),
            Segment("0.bias", (8,)),
            Segment("1.weight", (3, 8 * 49)),
            Segment("1.bias", (3,)),
        )
    )
    assert [s.shape for s in at_width(dense, 0.5)] == [(6, 4), (4,), (4, 3), (3,)]
    assert [s.shape for s in at_width(conv, 0.5)] == [(4, 1, 5, 5), (4,), (3, 4 * 49), (3,)]
    for schema in (dense, conv):
        policy = Slices()
        order = policy.order(schema, None, None)
        for r in policy.widths:
            own = block(schema, r)
            assert sorted(order[: len(own)].tolist()) == own.tolist() and len(own) in policy.cuts(schema)
    with pytest.raises(InvalidInput, match="a chain of weights with a bias after each"):
        at_width(NET, 0.5)
    with pytest.raises(InvalidInput, match="give falling shares"):
        Slices((0.5, 1.0))


def test_bad_settings_are_named():
    for make, text in [
        (lambda: Pruning(start=()), "start"),
        (lambda: Pruning(least=0), "least"),
        (lambda: Pruning(interval=0), "interval"),
        (lambda: Controller(gain=0), "gain"),
        (lambda: MaskedModels(buckets=0), "buckets"),
        (lambda: MaskedDeltas(trim=0.5), "trim"),
        (lambda: MaskedDeltas(trim=0.2, over="fleet"), "over the fleet"),
        (lambda: prfl(of="updates", average="plain"), "those are of models"),
    ]:
        with pytest.raises(InvalidInput, match=text):
            make()
