"""What policies ask of the server: facts, requests, work ahead; and what it says to those that ask again."""

from typing import Any, ClassVar

import pytest
from msgspec import Struct

from hocket import actions as do
from hocket import events as on
from hocket.errors import Damaged, InvalidInput
from hocket.learning.local import LocalSGD
from hocket.lease import Cover, Node
from hocket.pacing import InFlight, Rounds
from hocket.policies import Due, Estimate, Pick
from hocket.server import Server
from hocket.strategies import asyncsgd, fedbuff
from hocket.strategy import Strategy, TaskPart, compose, fill
from hocket.until import SECOND

CLIENTS = 6
LOCAL = LocalSGD(lr=0.1, batch_size=10)


class Diary(Struct):
    """What a policy was told."""

    told: list[tuple[str, int]] = []
    wishes: list[str] = []


class Pace(Struct, frozen=True, tag="pace"):
    """Two leases, a step per update; writes facts down and asks for what the version of a step says."""

    timeout: float | None = None
    refill_first: bool = False
    at: dict[int, str] = {}
    look: int | None = None
    observes: ClassVar[tuple[type[on.Event], ...]] = (on.Stepped, on.Closed, on.Evaluated, on.Restored)

    def init(self, view):
        return Diary()

    def room(self, state, view, now):
        return {t.name: 2 - t.open for t in view.tasks.values() if not t.stepping and t.open < 2}

    def due(self, state, view, now):
        if self.look is not None:
            return Due(look_again_at=self.look)
        return next((Due(t.name) for t in view.tasks.values() if t.buffer and not t.stepping), None)

    def observe(self, state, fact, view, now):
        state.told.append((f"{type(fact).__name__} {getattr(fact, 'outcome', '')}".strip(), now))
        wish = self.at.get(fact.node.version) if isinstance(fact, on.Stepped) else None
        return [] if wish is None else [getattr(do, wish)("a")]


class Ahead(Struct, frozen=True, tag="ahead"):
    """Picks clients in turn, and the next two for the next version."""

    looks_ahead: ClassVar[bool] = True
    observes: ClassVar[tuple[type[on.Event], ...]] = ()

    def init(self, view):
        return None

    def match(self, state, slots, view, key):
        return [Pick(t, c, 0.5) for t, n in slots.items() for c in sorted(view.idle)[:n]]

    def ahead(self, state, slots, view, key):
        version = view.tasks["a"].version + 1
        return [Pick("a", c, 0.5, for_version=version) for c in sorted(view.idle)[:2]]


class Early(Struct, frozen=True, tag="early"):
    """Starts a fetch ``after`` so many seconds of a client's estimate, from the version before."""

    after: int = 0
    observes: ClassVar[tuple[type[on.Event], ...]] = ()

    def init(self, view):
        return None

    def starts(self, state, picks, view, estimate):
        return [(p.client, p.task, p.for_version, self.after * SECOND) for p in picks]


class Half(Struct, frozen=True, tag="half"):
    """Odd clients train the first two coordinates."""

    observes: ClassVar[tuple[type[on.Event], ...]] = ()

    def init(self, view, task):
        return None

    def cover(self, state, client):
        return Cover(1, 2) if client % 2 else Cover()


def serve(strategy: Strategy, names=("a",), join=True, **options) -> Server:
    server = Server(fill(strategy, names), CLIENTS, dict.fromkeys(names, LOCAL), **options)
    if join:
        server.handle(on.Joined(tuple(range(CLIENTS))), 0)
    return server


def arrive(server: Server, now: int = 1, lease: int | None = None) -> list[do.Action]:
    """The oldest lease (or this one) delivers."""
    found = server.view.leases[min(server.view.leases) if lease is None else lease]
    return server.handle(on.Arrived(found.id, found.client, 100, 10), now)


def step(server: Server, now: int = 1) -> list[do.Action]:
    return server.handle(on.Stepped("a", Node("a", server.view.tasks["a"].version + 1), 1), now)


def of(kind: type, actions: list[do.Action]) -> list[Any]:
    return [a for a in actions if isinstance(a, kind)]


def diary(server: Server) -> Diary:
    return server.state.memories["pacing"]


# --- facts and requests ----------------------------------------------------------------------------------


def test_a_policy_is_told_what_it_observes_and_how_leases_closed():
    server = serve(Strategy("x", Pace()))
    one, other = sorted(server.view.leases)
    arrive(server, 5, one)
    server.handle(on.Failed(other, server.view.leases[other].client, "broke"), 6)
    step(server, 7)
    server.handle(on.Evaluated("a", 1, "published", "test", {"accuracy": 0.5}), 8)
    server.handle(on.Woke(), 9)
    assert diary(server).told == [("Closed accepted", 5), ("Closed broke", 6), ("Stepped", 7), ("Evaluated", 8)]


def test_who_observes_evaluations_gets_them_on_the_validation_split_too():
    server = serve(Strategy("x", Pace()), join=False)
    asked = of(do.Evaluate, server.handle(on.Joined((0,)), 0))
    assert [a.split for a in asked] == ["test", "validation"]
    assert [a.split for a in of(do.Evaluate, serve(fedbuff(2, 3), join=False).handle(on.Joined((0,)), 0))] == ["test"]


@pytest.mark.parametrize("wish", ["Keep", "Rank", "Plan", "Evaluate"])
def test_requests_become_actions(wish):
    server = serve(Strategy("x", Pace(at={1: wish})))
    arrive(server)
    assert of(getattr(do, wish), step(server)) and not server.view.tasks["a"].stepping


def test_a_restore_holds_new_work_back_until_it_is_done():
    server = serve(Strategy("x", Pace(at={1: "Restore"})))
    arrive(server)
    out = step(server)
    assert of(do.Restore, out) and not of(do.Assign, out) and server.view.tasks["a"].stepping
    assert not of(do.Assign, arrive(server, 2)) and not of(do.Step, server.handle(on.Woke(), 3))
    out = server.handle(on.Restored("a", Node("a", 2), 1), 4)
    assert [type(a) for a in out][:1] == [do.Publish] and of(do.Step, out), "what arrived meanwhile is due now"
    assert (server.view.tasks["a"].epoch, server.view.tasks["a"].version) == (1, 2)
    server.validate()


def test_a_restore_asked_for_during_a_step_waits_for_it_and_survives_a_snapshot():
    server = serve(Strategy("x", Wishful()))
    arrive(server)
    out = server.handle(on.Evaluated("a", 0, "published", "test", {"accuracy": 0.1}), 2)
    assert not of(do.Restore, out) and server.state.asked == [do.Restore("a")]
    server.handle(on.Evaluated("a", 0, "published", "test", {"accuracy": 0.1}), 2)
    twin = serve(Strategy("x", Wishful()), join=False)
    twin.restore(server.snapshot())
    assert step(server, 3) == step(twin, 3)
    assert server.view.tasks["a"].stepping and not server.state.asked
    assert twin.snapshot() == server.snapshot()


class Wishful(Struct, frozen=True, tag="wishful"):
    """Asks to go back whenever it is shown an evaluation."""

    timeout: float | None = None
    refill_first: bool = False
    observes: ClassVar[tuple[type[on.Event], ...]] = (on.Evaluated,)

    init, room, due = Pace.init, Pace.room, Pace.due
    look: ClassVar[None] = None

    def observe(self, state, fact, view, now):
        return [do.Restore("a")]


# --- what a policy may not do ----------------------------------------------------------------------------


def test_a_policy_cannot_look_at_the_past():
    server = serve(Strategy("x", Pace(look=5)), join=False)
    with pytest.raises(InvalidInput, match="pacing asks to look again at 5 ns; it is 7 ns already"):
        server.handle(on.Joined((0,)), 7)


class Everybody(Ahead, frozen=True, tag="everybody"):
    """Picks client 5, whether it is there or not."""

    looks_ahead: ClassVar[bool] = False

    def match(self, state, slots, view, key):
        return [Pick(t, 5, 1.0) for t in slots]


def test_a_matching_cannot_pick_who_is_away():
    server = serve(Strategy("x", InFlight(1, 1), Everybody()), join=False)
    with pytest.raises(InvalidInput, match="matching picked client 5 for task 'a'; one of them takes no work now"):
        server.handle(on.Joined((0, 1)), 0)


class Forgetful(Pace, frozen=True, tag="forgetful"):
    """Remembers in a dict, which would come back from a snapshot as something else."""

    def init(self, view):
        return {}


def test_a_policy_remembers_in_a_struct():
    with pytest.raises(
        InvalidInput, match=r"pacing: init returned dict; a policy remembers in a msgspec\.Struct or None"
    ):
        serve(Strategy("x", Forgetful()))


# --- work ahead ------------------------------------------------------------------------------------------


def ahead(after=0) -> Server:
    method = Strategy("x", InFlight(2, 1), Ahead(), Early(after))
    return serve(method, estimate={"a": Estimate(100)})


def test_an_offer_waits_for_its_version():
    server = ahead()
    assert [o[:3] for o in server.state.offers][:2] == [(2, "a", 1), (3, "a", 1)]
    assert not of(do.Offer, arrive(server))
    out = step(server)
    assert {(o.client, o.node.version) for o in of(do.Offer, out)} >= {(2, 1), (3, 1)}
    assert all(version > 1 for _, _, version, _ in server.state.offers)


def test_an_offer_waits_for_its_time():
    server = ahead(after=30)
    arrive(server)
    out = step(server, 2)
    assert not of(do.Offer, out) and server.state.wake == 30 * SECOND
    server.handle(on.Left(2), 3)
    offered = {o.client for o in of(do.Offer, server.handle(on.Woke(), 30 * SECOND))}
    assert 3 in offered and 2 not in offered, "nothing is offered to who has left"
    server.validate()


def test_offers_end_with_their_task():
    server = ahead()
    assert server.state.offers
    server.handle(on.TaskEnded("a", "operator"), 1)
    assert not server.state.offers


# --- leases ----------------------------------------------------------------------------------------------


def test_a_lease_is_sent_with_its_cover():
    server = serve(Strategy("x", InFlight(6, 3), task=TaskPart(submodel=Half())))
    for x in server.view.leases.values():
        assert x.cover == x.node.cover == (Cover(1, 2) if x.client % 2 else Cover())


def test_everything_needed_later_is_written_down_when_a_lease_is_sent():
    server = serve(fedbuff(buffer=2, in_flight=4, timeout=5.0), seed=3)
    arrive(server, 10)
    arrive(server, 20)
    (sent,) = of(do.Assign, step(server, 30))
    x = sent.lease
    assert (x.task, x.version, x.node, x.routed, x.issued) == ("a", 1, Node("a", 1), 30, 30)
    assert (x.deadline, x.local, x.weight, x.group) == (30 + 5 * SECOND, LOCAL, 1.0, "")
    assert x.probability == 1 / 3, "one of the three that were idle"
    assert len({x.seed for x in server.view.leases.values()}) == len(server.view.leases) == 4


def test_seeds_depend_on_client_and_job_number_and_nothing_else():
    def seeds(clients):
        server = Server(fill(asyncsgd(30), ("a",)), clients, {"a": LOCAL}, seed=5)
        server.handle(on.Joined(tuple(range(clients))), 0)
        return {(x.client, x.ordinal): x.seed for x in server.view.leases.values()}

    small, large = seeds(4), seeds(9)
    both = small.keys() & large.keys()
    assert len(both) > 5 and all(small[k] == large[k] for k in both)


def test_a_waiting_lease_is_lost_with_its_client_and_held_up_with_its_task():
    late = Strategy("late", attach="start")
    server = serve(compose(asyncsgd(24), late), names=("a", "b"))
    waiting = [x for x in server.view.leases.values() if x.issued < 0]
    gone = waiting[0].client
    mine = {x.id for x in waiting if x.client == gone}
    out = server.handle(on.Left(gone), 1)
    assert {a.lease for a in of(do.Release, out)} == mine
    assert gone not in {a.lease.client for a in of(do.Assign, out)}
    server.handle(on.TaskPaused("a"), 2)
    busy = next(x for x in server.view.leases.values() if x.issued >= 0 and x.client in server.view.online)
    queue = [server.view.leases[i].task for i in server.state.waiting.get(busy.client, ())]
    sent = [a.lease for a in of(do.Assign, server.handle(on.Failed(busy.id, busy.client, "x"), 3))]
    mine = [x for x in sent if x.client == busy.client]
    assert [x.task for x in mine] == (["b"] if "b" in queue else [])
    server.validate()


def test_an_update_from_another_start_is_refused():
    """A device that digests what it trained from cannot deliver work on something else."""
    server = serve(fedbuff(2, 3))
    lease = server.view.leases[0]
    lease.node = Node("a", 0, digest="aa")
    out = server.handle(on.Arrived(0, lease.client, 100, 10, "bb"), 1)
    assert [a.reason for a in of(do.Refuse, out)] == ["wrong start"]


def test_a_journaled_server_gives_who_asks_again_the_same_answer():
    server = serve(fedbuff(2, 4, staleness_limit=0), journaled=True)
    first, second, old, _ = (server.view.leases[i] for i in range(4))
    assert not of(do.Accept, arrive(server, 1, first.id))
    repeat = on.Arrived(first.id, first.client, 100, 10)
    assert server.handle(repeat, 2) == [], "its acknowledgement is on the way"
    arrive(server, 3, second.id)
    step(server, 4)
    assert of(do.Accept, server.handle(on.Durable(99), 5)) == [
        do.Accept(first.id, first.client), do.Accept(second.id, second.client)
    ]  # fmt: skip
    assert server.handle(repeat, 6) == [do.Accept(first.id, first.client)]
    refused = of(do.Refuse, arrive(server, 7, old.id))
    assert [a.reason for a in refused] == ["stale by 1 versions, limit 0"]
    assert server.handle(on.Arrived(old.id, old.client, 100, 10), 8) == refused


def test_an_accepted_update_that_was_not_acknowledged_is_refused_when_its_task_ends():
    server = serve(fedbuff(3, 4), journaled=True)
    lease = server.view.leases[0]
    arrive(server, 1, 0)
    out = server.handle(on.TaskEnded("a", "operator"), 2)
    assert do.Refuse(0, lease.client, "ended") in out and do.Release(0, "a", "ended") in out
    assert not of(do.Accept, server.handle(on.Durable(99), 3))
    assert server.handle(on.Arrived(0, lease.client, 100, 10), 4) == [do.Refuse(0, lease.client, "ended")]


# --- after a restart -------------------------------------------------------------------------------------


def test_what_is_pending_can_be_asked_for_again():
    server = serve(fedbuff(1, 3, timeout=9.0), measure=("finite",))
    arrive(server, 1, 0)
    arrive(server, 1, 1)
    server.handle(on.Measured(0, {"finite": 1.0}), 2)
    pending = server.pending()
    assert {a.lease.id for a in of(do.Assign, pending)} == {2}
    assert of(do.Decode, pending) == [do.Decode(1, ("finite",))] and of(do.Step, pending) == [do.Step("a")]
    assert of(do.WakeAt, pending) == [do.WakeAt(9 * SECOND)]


def test_a_pending_restore_is_asked_for_again():
    server = serve(Strategy("x", Pace(at={1: "Restore"})))
    arrive(server)
    step(server)
    assert of(do.Restore, server.pending()) and not of(do.Step, server.pending())


def test_a_snapshot_of_another_strategy_is_refused():
    data = serve(fedbuff(2, 3)).snapshot()
    with pytest.raises((Damaged, InvalidInput)):
        serve(fedbuff(2, 3), names=("b",)).restore(data)


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_torn_snapshot_is_damage(cut):
    server = serve(fedbuff(2, 3))
    with pytest.raises(Damaged, match="snapshot of ServerState"):
        server.restore(server.snapshot()[:cut])
    server.validate()


# --- bad input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (on.Left(6), r"client 6 left; this server has clients 0\.\.5"),
        (on.Joined((0, -1)), r"this server has clients 0\.\.5"),
        (on.TaskPaused("z"), "no task 'z'; this run has a"),
        (on.Stepped("a", Node("a", 1), 1), "task 'a' stepped to version 1 without being asked"),
        (on.Restored("a", Node("a", 3), 1), "task 'a': version 3 after 0; versions go up by one"),
        (on.Trained(0, 0), "server: no event Trained; see hocket.events"),
        (on.Closed(None, "x"), "server: no event Closed"),
    ],
)
def test_an_event_that_makes_no_sense_is_refused_and_changes_nothing(event, message):
    server = serve(fedbuff(2, 3))
    before = server.snapshot()
    with pytest.raises(InvalidInput, match=message):
        server.handle(event, 1)
    assert server.snapshot() == before


def test_a_fleet_has_somebody_in_it():
    with pytest.raises(InvalidInput, match="clients = 0: a fleet has at least 1"):
        Server(fill(fedbuff(), ("a",)), 0, {"a": LOCAL})


def test_a_stalled_run_can_say_what_it_waits_for():
    server = serve(Strategy("x", Rounds(2)), names=("a", "b"))
    server.handle(on.TaskPaused("b"), 1)
    arrive(server, 2, 0)
    assert (
        server.waits_for
        == "6 of 6 clients online, 3 idle; a: active, 1 open, 1 buffered, b: paused, 2 open, 0 buffered"
    )
    assert server.finished == ""
