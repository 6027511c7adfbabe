"""DoCoFL: anchors ahead, corrections in time; with and without prefetch, and under FedFetch's schedule."""

import numpy as np
import pytest
from msgspec.structs import replace

import hocket as hk
from hocket.codec import EDEN
from hocket.downlink import Anchors, Full
from hocket.downlink.anchors import ANCHOR
from hocket.errors import InvalidInput
from hocket.record.log import KINDS
from hocket.schema import Schema, Segment
from hocket.strategies import docofl
from hocket.strategy import Strategy, TaskPart
from hocket.uplink import Plain

SCHEMA = Schema((Segment("w", (500, 20)), Segment("b", (20,))))


def committed(policy: Anchors, versions: int):
    """State, nodes, models and what clients start from, by version."""
    state, rng = policy.init(SCHEMA), np.random.default_rng(0)
    x, nodes, models, values = rng.normal(size=SCHEMA.size).astype(np.float32), [], [], []
    for v in range(versions):
        x = x + rng.normal(size=x.size, scale=0.02).astype(np.float32)
        kept, value, node = policy.commit(state, "a", None, x, v, v)
        assert kept is x
        nodes.append(node), models.append(x), values.append(value)
    return state, nodes, models, values


def follow(policy: Anchors, state, edges, held=None):
    """The value at the end of a path, and its bytes."""
    size = 0
    for edge in edges:
        data = policy.open(state, edge, None, SCHEMA)
        size += len(data)
        held = policy.apply(held, edge, data, SCHEMA)
    return held, size


def test_the_oldest_anchor_in_use_is_corrected():
    policy = Anchors(every=10, keep=3)
    _, nodes, models, values = committed(policy, 45)
    assert [nodes[v].variant for v in (0, 9, 19, 29, 30, 39, 40, 44)] == [0, 0, 0, 0, 10, 10, 20, 20]
    for x, value in zip(models, values, strict=True):
        assert 0 < np.linalg.norm(value - x) / np.linalg.norm(x) < 0.25


def test_an_anchor_held_leaves_only_the_correction_and_sizes_do_not_depend_on_the_time_away():
    policy = Anchors(every=10, keep=3)
    state, nodes, _, values = committed(policy, 45)
    full = 4 * SCHEMA.size
    sizes = set()
    for away in (None, nodes[3], nodes[40], nodes[43]):
        value, size = follow(policy, state, policy.path(state, away, nodes[44], SCHEMA))
        assert value.tobytes() == values[44].tobytes()
        sizes.add(size)
    assert len(sizes) == 1 and sizes.pop() < 0.16 * full
    offered = policy.ahead(state, nodes[41])
    assert (offered.kind, offered.version, offered.variant) == (ANCHOR, 41, 20)
    held, early = follow(policy, state, policy.path(state, nodes[3], offered, SCHEMA))
    value, late = follow(policy, state, policy.path(state, offered, nodes[44], SCHEMA), held)
    assert value.tobytes() == values[44].tobytes() and early < 0.085 * full and late < 0.075 * full
    again = policy.ahead(state, nodes[42])
    assert policy.path(state, offered, again, SCHEMA) == (), "the same anchor under another version's name"


def test_an_anchor_fetched_a_window_ahead_is_the_one_its_round_uses():
    policy = Anchors(every=5, keep=2, window=4)
    state, nodes, *_ = committed(policy, 1)
    for v in range(1, 40):
        offered = policy.ahead(state, nodes[-1])
        fetched = {v - 1 + policy.window: offered.variant}
        nodes.append(policy.commit(state, "a", None, np.zeros(SCHEMA.size, np.float32), v, v)[2])
        for later, variant in fetched.items():
            assert policy._of(later) == variant


def test_who_follows_needs_one_correction_and_comes_closer():
    policy, plain = Anchors(every=4, follow=True), Anchors(every=4, keep=1, window=0)
    state, nodes, models, values = committed(policy, 24)
    assert len(policy.path(state, nodes[21], nodes[22], SCHEMA)) == 1
    assert len(policy.path(state, nodes[18], nodes[22], SCHEMA)) == 4, "an anchor and three corrections"
    value, _ = follow(policy, state, policy.path(state, nodes[18], nodes[22], SCHEMA))
    assert value.tobytes() == values[22].tobytes()
    once = committed(plain, 24)[3]
    assert np.linalg.norm(values[23] - models[23]) < 0.5 * np.linalg.norm(once[23] - models[23])


def test_what_is_gone_is_a_snapshot():
    policy = Anchors(every=3, keep=2, log=2)
    state, nodes, *_ = committed(policy, 12)
    edges = policy.path(state, None, nodes[5], SCHEMA)
    assert [(e.source, e.target, e.size) for e in edges] == [(None, nodes[5], state.full)]
    with pytest.raises(InvalidInput, match="gone"):
        policy.open(state, edges[0], None, SCHEMA)


@pytest.mark.parametrize("words", ["keep = 0", "window = 30"])
def test_settings_that_make_no_sense_are_refused(words):
    name, value = words.split(" = ")
    with pytest.raises(InvalidInput, match=rf"anchors\.{words}"):
        Anchors(**{name: int(value)})


def world(method: Strategy, rounds: int = 60) -> hk.Run:
    task = hk.Task.sized(parameters=100_000, clients=60, local=hk.LocalSGD(lr=0.1, batch_size=10, steps=10))
    fleet = hk.Fleet(compute=np.full(60, 0.02), down=1e3 * 1.1 ** np.arange(60), up=np.full(60, 1e6))
    return hk.simulate(task, fleet, method, hk.Until(steps=rounds), log=True)


def test_in_its_round_a_client_fetches_only_the_correction():
    early, plain = world(docofl(6)), world(docofl(6, prefetch_window=0))
    table = early.log.table().to_pylist()
    late = [r["value"] for r in table if KINDS[r["kind"]] == "fetched" and r["lease"] >= 0]
    policy = docofl().task.downlink
    schema = Schema((Segment("w", (100_000,)),))
    correction = EDEN(2).size(schema)[0] + 56
    assert sum(v == correction for v in late) > 0.6 * len(late)
    assert policy.anchor.expected(schema) == pytest.approx(25_000, rel=0.01)
    assert early.summary["virtual_time_s"] < plain.summary["virtual_time_s"]
    assert early.summary["bytes"]["down"] < 1.15 * plain.summary["bytes"]["down"]
    scheduled = world(docofl(6, every=4, scheduled=True))
    assert scheduled.summary["bytes"]["prefetched"] > 0


def test_it_learns_about_as_well_as_with_whole_models_on_every_path():
    local = hk.LocalSGD(lr=0.2, batch_size=10, steps=5)
    task = hk.reference_tasks.gaussian(20, 10, 16, samples=40, alpha=0.3, local=local, hidden=(16,), held_out=300)
    fleet = hk.Fleet.equal(20, 0.01, 1e3, 1e4)
    base = docofl(5, 1.0)
    whole = replace(
        base,
        matching=hk.matching.Uniform("skip"),
        prefetch=hk.prefetch.NoPrefetch(),
        task=TaskPart(downlink=Full(), uplink=Plain(EDEN(4))),
    )
    methods = [whole, docofl(5, 1.0, 0), base, docofl(5, 1.0, every=4, scheduled=True)]
    found = [
        hk.simulate(task, fleet, m, hk.Until(steps=60), seed=2).summary["tasks"]["gaussian"]["accuracy"]
        for m in methods
    ]
    assert min(found[1:]) > found[0] - 0.1 > 0.5, found


def test_submodels_need_another_downlink():
    method = hk.strategies.heterofl(4)
    with pytest.raises(InvalidInput, match="downlink anchors"):
        hk.Core(
            hk.reference_tasks.gaussian(clients=8, samples=20),
            replace(method, task=replace(method.task, downlink=Anchors())),
            clients=range(8),
        )
