"""Any sequence of events on a device: queues stay in order, nothing is lost, nothing gets stuck."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hocket import actions as do
from hocket import events as on
from hocket.client import Client
from hocket.learning.local import LocalSGD
from hocket.lease import Cover, Lease, Node

ME = 1
LOCAL = LocalSGD(lr=0.1, batch_size=10)


def lease_of(number: int, node: Node) -> Lease:
    return Lease(number, node.task, ME, number, node, Cover(), LOCAL, number, 0, 0, version=node.version)


def device(overlap: bool = False) -> Client:
    return Client(ME, {"a": [None, None], "b": [None, None]}, overlap)


class Driver:
    """Carries out what a device asks for, and notes what may not happen."""

    def __init__(self, overlap: bool) -> None:
        self.overlap = overlap
        self.client = device(overlap)
        self.under_way: dict[tuple[str, int], object] = {}  # (fetch | train | upload, lease)
        self.received: list[int] = []  # in the order in which models were received, not yet trained
        self.trained: list[int] = []  # in the order of training, not yet uploaded
        self.assigned: dict[int, Lease] = {}
        self.order: list[int] = []  # assigned, not yet received
        self.ended: dict[int, str] = {}

    def give(self, event: on.DeviceEvent) -> list[object]:
        """Hand an event over and check the answer."""
        if isinstance(event, on.Fetched) and event.lease in self.order and self.overlap:
            self._receive(event.lease)
        out = self.client.handle(event, 0)
        if isinstance(event, on.Cancelled) and event.lease in self.order:
            self.order.remove(event.lease)
        while not self.overlap and self.order and self._held(self.order[0]):
            self._receive(self.order[0])
        if self.overlap and isinstance(event, on.Fetched) and event.lease < 0:
            for lease in [i for i in self.order if self._held(i)]:
                self._receive(lease)  # it waited for the offer of the same node
        started: int | None = None
        for item in out:
            assert (started is not None) == isinstance(item, do.Train), "Started and Train go together"
            started = self._item(event, item)
        assert started is None
        return out

    def _held(self, lease: int) -> bool:
        """The model is there already, so the lease is received without a download."""
        node = self.assigned[lease].node
        return ("fetch", lease) not in self.under_way and self.client.holds[node.task][ME] == node

    def _receive(self, lease: int) -> None:
        self.order.remove(lease)
        self.received.append(lease)

    def _item(self, event: on.DeviceEvent, item: object) -> int | None:
        match item:
            case do.Fetch(lease, client, node, have):
                assert client == ME and have == self.client.holds[node.task][ME] != node
                assert ("fetch", lease) not in self.under_way
                assert self.overlap or not self.kind("fetch"), "two downloads on one link"
                assert lease < 0 or self.overlap or lease == self.order[0], "downloads out of order"
                assert lease not in self.ended
                self.under_way["fetch", lease] = item
            case on.Started(lease, client):
                assert client == ME
                return lease
            case do.Train(lease):
                assert not self.kind("train"), "two trainings at once"
                assert lease.id == self.received[0], "trained out of the order of reception"
                assert lease.id not in self.ended
                self.under_way["train", lease.id] = item
            case do.Upload(lease):
                assert self.overlap or not self.kind("upload"), "two uploads on one link"
                assert lease.id in self.trained if self.overlap else lease.id == self.trained[0]
                assert lease.id not in self.ended and ("upload", lease.id) not in self.under_way
                self.under_way["upload", lease.id] = item
            case do.Abort(lease, client):
                assert client == ME and isinstance(event, on.Cancelled | on.Lost)
                for what in ("fetch", "train", "upload"):
                    self.under_way.pop((what, lease), None)
                if lease >= 0:
                    self._end(lease, "aborted")
            case on.Arrived(lease):
                assert isinstance(event, on.Uploaded)
                assert (item.client, item.size, item.samples) == (ME, event.size, event.samples)
                self._end(lease, "arrived")
            case on.Failed(lease, client, reason):
                assert (client, reason) == (ME, event.reason) and self.ended[lease] == "aborted"
                self.ended[lease] = "failed"
            case on.Fetched():
                assert item is event, "what was fetched is passed on as it is"
            case _:
                pytest.fail(f"unexpected {item}")
        return None

    def _end(self, lease: int, how: str) -> None:
        assert lease not in self.ended, "ended twice"
        self.ended[lease] = how
        for queue in (self.order, self.received, self.trained):
            if lease in queue:
                queue.remove(lease)

    def kind(self, what: str) -> list[int]:
        """Leases for which something of this kind is under way."""
        return [lease for kind, lease in self.under_way if kind == what]

    def assign(self, lease: Lease) -> None:
        self.assigned[lease.id] = lease
        self.order.append(lease.id)
        if self.overlap and self.client.holds[lease.task][ME] == lease.node:
            self._receive(lease.id)
        self.give(on.Assigned(lease))

    def complete(self, key: tuple[str, int]) -> None:
        """Whatever is under way under this key comes to its end."""
        what, lease = key
        action = self.under_way.pop(key)
        if what == "fetch":
            if lease >= 0 and not self.overlap:
                self._receive(lease)
            self.give(on.Fetched(lease, ME, action.node, 10))
        elif what == "train":
            self.received.remove(lease)
            self.trained.append(lease)
            self.give(on.Trained(lease, ME))
        else:
            self.give(on.Uploaded(lease, ME, 7, 5))

    def check(self) -> None:
        """Nothing waits for nothing, and the queues hold what they should."""
        c = self.client
        assert bool(self.under_way) != c.idle, "stuck, or busy without knowing"
        assert sorted(x.id for x in (*c.downloads, *c.ready, *c.uploads)) == sorted(
            set(self.assigned) - set(self.ended)
        )
        assert not c.ready or self.kind("train") == [c.ready[0].id]
        assert not c.uploads or self.kind("upload") == [x.id for x in c.uploads][: None if self.overlap else 1]
        assert (c.offer is not None) == (("fetch", -1) in self.under_way)


class ClientMachine(RuleBasedStateMachine):
    """A server and a network without manners."""

    @initialize(overlap=st.booleans())
    def begin(self, overlap):
        self.driver = Driver(overlap)
        self.next = 0

    @rule(task=st.sampled_from("ab"), version=st.integers(0, 3), many=st.integers(1, 3))
    def assign(self, task, version, many):
        for _ in range(many):
            self.driver.assign(lease_of(self.next, Node(task, version)))
            self.next += 1

    @rule(task=st.sampled_from("ab"), version=st.integers(0, 3))
    def offer(self, task, version):
        self.driver.give(on.Offered(ME, Node(task, version)))

    @precondition(lambda self: self.driver.under_way)
    @rule(at=st.integers(0, 20), many=st.integers(1, 4))
    def complete(self, at, many):
        for _ in range(many):
            if self.driver.under_way:
                keys = sorted(self.driver.under_way)
                self.driver.complete(keys[at % len(keys)])
                self.driver.check()

    @precondition(lambda self: self.next)
    @rule(at=st.integers(0, 20))
    def cancel(self, at):
        """Of anything ever given: at work, waiting, or long over."""
        lease = at % self.next
        over = lease in self.driver.ended
        out = self.driver.give(on.Cancelled(lease, ME))
        assert not out if over else self.driver.ended[lease] == "aborted"

    @rule()
    def cancel_offer(self):
        fetching = self.driver.client.offer is not None
        out = self.driver.give(on.Cancelled(-1, ME))
        assert bool(out) == fetching

    @rule()
    def lose(self):
        before = set(self.driver.assigned) - set(self.driver.ended)
        self.driver.give(on.Lost(ME, "off"))
        assert all(self.driver.ended[i] == "failed" for i in before), "a loss was not reported"
        assert self.driver.client.idle and not self.driver.under_way

    @rule(kind=st.integers(0, 2), lease=st.integers(0, 30))
    def late(self, kind, lease):
        """Completions of what is not under way start nothing."""
        kinds = (
            ("train", on.Trained(lease, ME)),
            ("upload", on.Uploaded(lease, ME, 7, 5)),
            ("fetch", on.Fetched(lease, ME, Node("a", 99), 10)),
        )
        what, event = kinds[kind]
        if (what, lease) in self.driver.under_way or (what == "fetch" and lease in self.driver.order):
            return
        assert self.driver.give(event) == ([event] if what == "fetch" else [])

    @invariant()
    def holds(self):
        if hasattr(self, "driver"):
            self.driver.check()

    def teardown(self):
        if not hasattr(self, "driver"):
            return
        for _ in range(4 * self.next + 10):
            if not self.driver.under_way:
                break
            self.driver.complete(min(self.driver.under_way))
            self.driver.check()
        self.driver.check()
        assert set(self.driver.ended) == set(self.driver.assigned), "a lease never ended"


class TestClientMachine(ClientMachine.TestCase):
    settings = settings(max_examples=300, stateful_step_count=30, deadline=None)


@pytest.mark.soak
class TestClientMachineLong(ClientMachine.TestCase):
    settings = settings(
        max_examples=10_000,
        stateful_step_count=50,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


def kinds(items):
    return [type(x).__name__ for x in items]


def test_the_life_of_a_lease():
    c = device()
    lease = lease_of(0, Node("a", 3))
    assert c.handle(on.Assigned(lease), 0) == [do.Fetch(0, ME, Node("a", 3), None)]
    fetched = on.Fetched(0, ME, Node("a", 3), 40)
    assert c.handle(fetched, 0) == [fetched, on.Started(0, ME), do.Train(lease)]
    assert c.holds["a"][ME] == Node("a", 3)
    assert c.handle(on.Trained(0, ME), 0) == [do.Upload(lease)]
    assert c.handle(on.Uploaded(0, ME, 9, 5), 0) == [on.Arrived(0, ME, 9, 5)]
    assert c.idle


def test_download_training_and_upload_of_three_leases_go_on_at_once():
    c = device()
    for i in range(3):
        c.handle(on.Assigned(lease_of(i, Node("a", i))), 0)
    assert kinds(c.handle(on.Fetched(0, ME, Node("a", 0), 1), 0)) == ["Fetched", "Started", "Train", "Fetch"]
    assert kinds(c.handle(on.Fetched(1, ME, Node("a", 1), 1), 0)) == ["Fetched", "Fetch"]
    assert kinds(c.handle(on.Trained(0, ME), 0)) == ["Upload", "Started", "Train"]
    assert ([x.id for x in c.downloads], [x.id for x in c.ready], [x.id for x in c.uploads]) == (
        [2],
        [1],
        [0],
    )


def test_a_held_model_is_not_fetched_again_and_an_offer_is_fetched_once():
    c = device()
    assert kinds(c.handle(on.Offered(ME, Node("a", 1)), 0)) == ["Fetch"]
    assert c.handle(on.Offered(ME, Node("a", 2)), 0) == []
    assert c.handle(on.Assigned(lease_of(0, Node("a", 1))), 0) == []
    assert kinds(c.handle(on.Fetched(-1, ME, Node("a", 1), 1), 0)) == ["Fetched", "Started", "Train", "Fetch"]
    assert c.handle(on.Offered(ME, Node("a", 1)), 0) == []


def test_a_lease_waits_for_the_offer_of_its_node():
    """Side by side with it, a second download of the same bytes would be wasted."""
    c = device(overlap=True)
    c.handle(on.Offered(ME, Node("a", 1)), 0)
    assert c.handle(on.Assigned(lease_of(0, Node("a", 1))), 0) == []
    assert kinds(c.handle(on.Assigned(lease_of(1, Node("a", 2))), 0)) == ["Fetch"]
    assert kinds(c.handle(on.Cancelled(-1, ME), 0)) == ["Abort", "Fetch"]
    c.handle(on.Fetched(0, ME, Node("a", 1), 1), 0)
    assert [x.id for x in c.ready] == [0]


def test_an_upload_that_has_not_begun_cannot_be_over():
    c = device()
    for i in range(2):
        c.handle(on.Assigned(lease_of(i, Node("a", 0))), 0)
    c.handle(on.Fetched(0, ME, Node("a", 0), 1), 0)
    c.handle(on.Trained(0, ME), 0)
    c.handle(on.Trained(1, ME), 0)
    assert c.handle(on.Uploaded(1, ME, 7, 5), 0) == []


def test_an_offer_waits_behind_leases_on_a_link_of_one():
    c = device()
    c.handle(on.Assigned(lease_of(0, Node("a", 1))), 0)
    assert c.handle(on.Offered(ME, Node("a", 2)), 0) == []
    assert kinds(device(overlap=True).handle(on.Offered(ME, Node("a", 2)), 0)) == ["Fetch"]


def test_thousands_of_leases_may_queue_for_one_model():
    """in_flight 10,000 over four clients: all but the first of each wait for the same download."""
    c = device()
    for i in range(2500):
        c.handle(on.Assigned(lease_of(i, Node("a", 0))), 0)
    c.handle(on.Fetched(0, ME, Node("a", 0), 1), 0)
    assert len(c.ready) == 2500


def test_an_offer_is_fetched_when_the_download_before_it_is_cancelled():
    c = device()
    c.handle(on.Assigned(lease_of(0, Node("a", 1))), 0)
    assert c.handle(on.Offered(ME, Node("a", 2)), 0) == []
    assert kinds(c.handle(on.Cancelled(0, ME), 0)) == ["Abort", "Fetch"]


def test_a_late_offer_does_not_start_a_download_twice():
    c = device()
    c.handle(on.Offered(ME, Node("a", 1)), 0)
    c.handle(on.Lost(ME, "off"), 0)
    assert kinds(c.handle(on.Assigned(lease_of(0, Node("a", 2))), 0)) == ["Fetch"]
    assert kinds(c.handle(on.Fetched(-1, ME, Node("a", 1), 1), 0)) == ["Fetched"]
