"""Scripted, a loopback run is the simulated run; in real time it learns, survives failures and Ctrl-C."""

import itertools
import signal
import threading
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest
from msgspec import Struct
from pyarrow import Table

from hocket import Evaluation, Fleet, InvalidInput, Task, Until, compose, strategies
from hocket.actions import Offer
from hocket.codec.float32 import Float32
from hocket.core import Tasks
from hocket.errors import Stalled
from hocket.events import Event, Failed, Stepped
from hocket.fleet import Exponential
from hocket.guard import Staleness
from hocket.lease import Cover
from hocket.matching import RouteAhead, Uniform
from hocket.pacing import InFlight
from hocket.policies import Slots
from hocket.prefetch import NextRoutes
from hocket.record.log import KINDS
from hocket.schema import Schema, Vector
from hocket.service.clock import ScriptedClock
from hocket.service.loopback import LoopbackResult, run_loopback
from hocket.setup import Setup
from hocket.simulation.run import prepare, simulate
from hocket.strategy import Strategy, TaskPart
from hocket.uplink import ErrorFeedback
from hocket.view import View
from tests.service.conftest import CLIENTS, METHODS, entries, gaussian


def scripted(
    task: Tasks, fleet: Fleet, method: Strategy, until: Until, seed: int = 0, **options: Any
) -> LoopbackResult:
    return run_loopback(task, fleet, method, until, seed=seed, clock=ScriptedClock(fleet, seed), workers=3, **options)


def kinds(result: LoopbackResult) -> list[str]:
    return [KINDS[k] for k in result.log.table().column("kind").to_pylist()]


def check_same(task: Tasks, fleet: Fleet, method: Strategy, until: Until, seed: int = 0, **options: Any) -> None:
    simulated = simulate(task, fleet, method, until, seed=seed, log=True, **options)
    real = scripted(task, fleet, method, until, seed, **options)
    assert simulated.log is not None
    assert real.log.table().equals(simulated.log.table())
    for name, x in simulated.models.items():
        assert x is not None and np.array_equal(x, real.models[name])
    assert real.summary == simulated.summary
    assert real.curve == simulated.curve
    again = prepare(Setup.of(task, method, until, seed=seed, **options), fleet)
    again.engine.run()
    assert real.snapshot == again.engine.server.snapshot()


@pytest.mark.parametrize("name", METHODS)
def test_scripted_run_is_the_simulated_run(name: str, task: Task, fleet: Fleet, until: Until) -> None:
    check_same(task, fleet, METHODS[name], until, seed=1)


def test_overcommitted_rounds_cancel_work_under_way(task: Task, fleet: Fleet, until: Until) -> None:
    assert "cancelled" in kinds(scripted(task, fleet, METHODS["fedavg"], until))
    assert "refused" in kinds(scripted(task, fleet, METHODS["fedbuff-limit"], until))


def test_equal_devices_tie_all_the_time_and_still_agree(task: Task, until: Until) -> None:
    fleet = Fleet.equal(CLIENTS, compute=0.1, down=1e6, up=1e6)
    for name in ("fedavg", "asyncsgd"):
        check_same(task, fleet, METHODS[name], until)


def test_free_devices_take_no_time_and_still_agree(task: Task, until: Until) -> None:
    fleet = Fleet.equal(CLIENTS, compute=0.0, down=np.inf, up=np.inf, undefined_is_free=True)
    check_same(task, fleet, METHODS["fedbuff"], until)


def test_parallel_links_agree(task: Task, fleet: Fleet, until: Until) -> None:
    check_same(task, msgspec.structs.replace(fleet, links="parallel"), METHODS["asyncsgd"], until)


def test_late_attachment_agrees(task: Task, fleet: Fleet, until: Until) -> None:
    check_same(task, fleet, compose(strategies.asyncsgd(12), Strategy("late", attach="start")), until)


def test_two_tasks_targets_and_times_agree(fleet: Fleet) -> None:
    both = [gaussian("one"), gaussian("two", seed=5)]
    check_same(both, fleet, strategies.fedbuff(3, 5), Until(accuracy=0.6, confirm=2, updates=200))
    check_same(both, fleet, strategies.fedavg(4), Until(time=200.0), evaluation=Evaluation(every=3))


def test_a_journal_changes_neither_log_nor_model(task: Task, fleet: Fleet, until: Until, tmp_path: Path) -> None:
    plain = scripted(task, fleet, METHODS["fedbuff"], until)
    written = scripted(task, fleet, METHODS["fedbuff"], until, journal=tmp_path / "journal")
    assert written.log.table().equals(plain.log.table())
    assert np.array_equal(written.models["gaussian"], plain.models["gaussian"])  # type: ignore[arg-type]


def test_bytes_are_the_lengths_of_buffers(task: Task, until: Until) -> None:
    result = run_loopback(task, CLIENTS, strategies.fedavg(4), until)
    size = 28 + task.schema.nbytes
    table = result.log.table().to_pylist()
    assert {r["value"] for r in table if KINDS[r["kind"]] in ("fetched", "arrived")} == {size}
    assert result.summary["bytes"]["up"] == 60 * size


def test_real_time_learns(task: Task) -> None:
    result = run_loopback(task, CLIENTS, strategies.fedbuff(4, 8), Until(accuracy=0.6, updates=2000), workers=4)
    assert result.summary["finished"] == "target"
    times = result.log.table().column("time_ns").to_pylist()
    assert times == sorted(times) and times[-1] > 0


def test_real_time_limit_is_kept(task: Task) -> None:
    result = run_loopback(task, CLIENTS, strategies.fedasync(4), Until(time=0.3))
    assert result.summary["finished"] == "time"
    assert result.summary["virtual_time_s"] == 0.3


class Unwell:
    """A learner whose client 3 fails every job with a text of two lines."""

    def __init__(self, inner: Any, everybody: bool = False) -> None:
        self.inner, self.everybody = inner, everybody
        self.schema, self.samples = inner.schema, inner.samples
        self.initial, self.evaluate = inner.initial, inner.evaluate

    def train(self, jobs: Any) -> Any:
        if self.everybody or any(j.client == 3 for j in jobs):
            raise RuntimeError("out of memory\n  while training")
        return self.inner.train(jobs)


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("name", ["fedavg", "fedasync", "asyncsgd"])
def test_a_failing_client_fails_its_leases_only(
    name: str, real: bool, task: Task, fleet: Fleet, until: Until, tmp_path: Path
) -> None:
    unwell = msgspec.structs.replace(task, learner=Unwell(task.learner))
    clock = None if real else ScriptedClock(fleet)
    journal = tmp_path / "journal"
    result = run_loopback(unwell, fleet, METHODS[name], until, clock=clock, journal=journal, workers=4)
    failed = [r for r in result.log.table().to_pylist() if KINDS[r["kind"]] == "failed"]
    assert result.summary["updates"] == 60
    assert failed and {r["client"] for r in failed} == {3}
    reasons = {e.reason for _, e in entries(journal) if isinstance(e, Failed)}
    assert reasons == {"RuntimeError: out of memory while training"}


def test_bytes_that_cannot_be_decoded_fail_their_lease(
    task: Task, fleet: Fleet, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = Float32.decode, itertools.count()

    def torn(self: Float32, data: bytes, schema: Schema) -> Vector:
        return whole(self, data[:-1] if next(calls) % 7 == 0 else data, schema)

    monkeypatch.setattr(Float32, "decode", torn)
    result = scripted(task, fleet, METHODS["fedbuff"], until)
    assert result.summary["updates"] == 60
    assert kinds(result).count("failed") == result.summary["lost"] > 5


def test_a_learner_that_always_fails_ends_the_run(task: Task, until: Until) -> None:
    broken = msgspec.structs.replace(task, learner=Unwell(task.learner, everybody=True))
    with pytest.raises(Stalled, match=r"leases failed one after the other, .* RuntimeError: out of memory while"):
        run_loopback(broken, CLIENTS, METHODS["fedavg"], until)


class Eager(Struct, frozen=True, tag="eager", tag_field="kind"):
    """A submodel policy that offers every new node to everybody."""

    observes: ClassVar[tuple[type, ...]] = (Stepped,)

    def init(self, view: View, task: str) -> None: ...

    def cover(self, state: None, client: int) -> Cover:
        return Cover()

    def observe(self, state: None, fact: Stepped, view: View, now: int) -> list[Offer]:
        return [Offer(c, fact.node) for c in range(view.clients)]


@pytest.mark.parametrize("links", ["fifo", "parallel"])
@pytest.mark.parametrize("name", ["fedbuff", "asyncsgd", "fedavg"])
def test_offers_agree(name: str, links: str, task: Task, fleet: Fleet, until: Until) -> None:
    fleet = msgspec.structs.replace(fleet, links=links)
    check_same(task, fleet, compose(METHODS[name], Strategy("eager", task=TaskPart(Eager()))), until)


PREFETCHED = {
    "stc": strategies.stc(cohort=4, prefetch_window=2),
    "qsgd": strategies.qsgd(cohort=4, prefetch_window=2),
    "docofl": strategies.docofl(cohort=4, prefetch_window=2, every=3),
    "docofl on schedule": strategies.docofl(cohort=4, prefetch_window=2, every=3, scheduled=True),
    "ahead of routes": msgspec.structs.replace(
        strategies.qafel(3, 6), matching=RouteAhead(routes=4), prefetch=NextRoutes()
    ),
}


@pytest.mark.parametrize("links", ["fifo", "parallel"])
@pytest.mark.parametrize("name", PREFETCHED)
def test_prefetch_agrees(name: str, links: str, task: Task, fleet: Fleet, until: Until) -> None:
    """Devices decode combined updates themselves and refuse what does not lead to the published bits."""
    fleet = msgspec.structs.replace(fleet, links=links, down=fleet.down / 50)
    check_same(task, fleet, PREFETCHED[name], until)
    assert scripted(task, fleet, PREFETCHED[name], until).summary["bytes"]["prefetched"] > 0


HOLDS = msgspec.structs.replace(
    strategies.qafel(3, 6), matching=RouteAhead(routes=40), prefetch=NextRoutes(rates="known", hold=30)
)


def bases(table: Table) -> int:
    """Leases that started from an older version than the newest."""
    version = older = 0
    for row in table.to_pylist():
        version = row["value"] if KINDS[row["kind"]] == "stepped" else version
        older += KINDS[row["kind"]] == "assigned" and row["value"] < version
    return older


EARLY = strategies.fedfetch(4, 1.3, 3, naive=True, warm_up=0)


@pytest.mark.parametrize("method", [HOLDS, EARLY], ids=["held", "given up"])
def test_slow_links_agree(method: Strategy, task: Task, fleet: Fleet) -> None:
    """Some links are too slow to follow: what is fetched ahead is held, or given up for the shorter way."""
    down = np.where(np.arange(CLIENTS) % 8, fleet.down / 50, 5.0)  # bytes per second
    fleet, until = msgspec.structs.replace(fleet, down=down), Until(updates=150)
    check_same(task, fleet, method, until)
    if method is HOLDS:
        assert bases(scripted(task, fleet, method, until).log.table()) > 1


class Rare(Eager, frozen=True, tag="rare", tag_field="kind"):
    """Offers a node that may be gone when a device gets round to it."""

    def observe(self, state: None, fact: Stepped, view: View, now: int) -> list[Offer]:
        return super().observe(state, fact, view, now) if fact.node.version % 4 == 0 else []


def test_an_offer_of_a_node_that_is_gone_ends_no_run(task: Task, fleet: Fleet, until: Until) -> None:
    method = compose(strategies.fedasync(3), Strategy("rare", task=TaskPart(Rare())))
    down = np.where(np.arange(CLIENTS) % 2, fleet.down / 1e5, fleet.down)
    result = scripted(task, msgspec.structs.replace(fleet, down=down, compute=fleet.compute / 100), method, until)
    assert result.summary["updates"] == 60
    assert kinds(result).count("failed") == result.summary["lost"] == 0


class Never(Struct, frozen=True, tag="never", tag_field="kind"):
    """A pacing that lets no work start."""

    timeout: None = None
    refill_first: bool = False
    observes: ClassVar[tuple[type, ...]] = ()

    def init(self, view: View) -> None: ...

    def room(self, state: None, view: View, now: int) -> Slots:
        return {}

    def due(self, state: None, view: View, now: int) -> None: ...

    def observe(self, state: None, fact: Event, view: View, now: int) -> tuple[()]:
        return ()


def test_a_run_in_which_nothing_can_happen_says_so(task: Task, until: Until) -> None:
    with pytest.raises(Stalled, match=r"nothing can happen any more at 0 s: 16 of 16 clients online, 16 idle"):
        run_loopback(task, CLIENTS, Strategy("never", pacing=Never()), until)


def test_ctrl_c_ends_the_run_with_a_whole_result(task: Task, tmp_path: Path) -> None:
    main = threading.main_thread().ident
    assert main is not None
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals go to the main thread")
    timer = threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    before = signal.getsignal(signal.SIGINT)
    try:
        result = run_loopback(task, CLIENTS, strategies.fedbuff(4, 8), Until(time=60.0), journal=tmp_path / "journal")
    finally:
        timer.cancel()
        timer.join()
    assert result.summary["finished"] == "interrupted"
    assert 0 < result.summary["virtual_time_s"] < 30  # on a busy machine it has hardly begun
    assert signal.getsignal(signal.SIGINT) == before


def test_what_cannot_be_run_for_real_is_refused(task: Task, fleet: Fleet, until: Until) -> None:
    bare = Task.sized(parameters=10, clients=CLIENTS)
    with pytest.raises(InvalidInput, match="size-only"):
        run_loopback(bare, fleet, METHODS["fedbuff"], until)
    with pytest.raises(InvalidInput, match="16 clients and the fleet 3 devices"):
        run_loopback(task, 3, METHODS["fedbuff"], until)
    with pytest.raises(InvalidInput, match=r"fleet.failure = 0.1"):
        ScriptedClock(msgspec.structs.replace(fleet, failure=0.1))


def test_devices_and_simulation_keep_the_same_residuals(task: Task, until: Until) -> None:
    """Error feedback under refusals, a queue at every client and transfers side by side: the same rows and bits."""
    fleet = Fleet.synthetic(CLIENTS, seed=1, compute_law=Exponential(), links="parallel")
    method = Strategy(
        "feedback",
        InFlight(3 * CLIENTS // 2, 3),
        Uniform("queue"),
        task=TaskPart(uplink=ErrorFeedback(Halved()), guard=Staleness(limit=2)),
    )
    check_same(task, fleet, method, until)
    assert "refused" in kinds(scripted(task, fleet, method, until))


class Halved(Struct, frozen=True, tag="test_halved", tag_field="kind"):
    """Sends half of what it is given."""

    id: ClassVar[int] = 200
    lossless: ClassVar[bool] = False
    unbiased: ClassVar[bool] = False
    merges: ClassVar[bool] = False

    def size(self, schema: Schema) -> tuple[int, bool]:
        return Float32().size(schema)

    def distortion(self, schema: Schema) -> float:
        return 1.0

    def encode(self, x: Vector, schema: Schema, key: int) -> bytes:
        return Float32().encode(x * np.float32(0.5), schema, key)

    def decode(self, data: bytes, schema: Schema) -> Vector:
        return Float32().decode(data, schema)
