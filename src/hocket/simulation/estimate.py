"""What a run will take, from a short probe of it: updates, memory, wall time. An estimate, never a refusal."""

import os
import resource
import time as wall

from msgspec import Struct

from hocket.fleet import Fleet
from hocket.report.units import human_bytes, human_seconds
from hocket.setup import Setup
from hocket.simulation.engine import Engine
from hocket.simulation.run import prepare
from hocket.until import SECOND, Until

PROBE_S = 1.0
EVENTS = 64
"""Events between two looks at the clock."""


class Estimate(Struct, frozen=True):
    """Updates and wall seconds to the nearest limit (None: only a target stops the run) and bytes of memory.

    ``memory`` is what the process holds before the probe, plus ``versions`` (a model per version that open leases
    start from), ``chunk`` (start and update of every lease that may train in one batch) and ``clients`` (a
    model's size for every client where the uplink was seen to remember clients).
    """

    updates: int | None
    wall_s: float | None
    versions: int
    chunk: int
    clients: int
    memory: int
    machine: int

    @property
    def fits(self) -> bool:
        """Whether the machine has that much memory."""
        return self.memory <= self.machine

    def line(self) -> str:
        """All of it in one line."""
        far = "until a target is met" if self.updates is None else f"about {self.updates:,} updates at most"
        time = "" if self.wall_s is None else f", {human_seconds(self.wall_s)} of wall time"
        return (
            f"{far}{time}; memory {human_bytes(self.memory)} of {human_bytes(self.machine)} (live versions "
            f"{human_bytes(self.versions)}, chunk {human_bytes(self.chunk)}, clients {human_bytes(self.clients)})"
            f"{'' if self.fits else ': more than this machine has'}"
        )


def estimate(setup: Setup, fleet: Fleet, probe_s: float = PROBE_S) -> Estimate:
    """Run for ``probe_s`` wall seconds, throw the run away, and extrapolate."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    engine = prepare(setup, fleet).engine
    began, versions, chunk = wall.perf_counter(), 0, 0
    over = False
    while not over and wall.perf_counter() - began < probe_s:
        over = engine.run(EVENTS)
        versions, chunk = max(versions, _versions(setup, engine)), max(chunk, _chunk(setup, engine))
    spent = wall.perf_counter() - began
    updates = _updates(setup.until, engine, over)
    done = engine.server.state.updates
    time = None if updates is None or not done else spent * updates / done
    remembering = [t for n, t in setup.tasks.items() if engine.training.remembers(n)]
    clients = sum(t.schema.nbytes * len(fleet) for t in remembering)
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Estimate(updates, time, versions, chunk, clients, before + versions + chunk + clients, pages)


def _versions(setup: Setup, engine: Engine) -> int:
    leases = engine.server.view.leases.values()
    return sum(setup.tasks[n].schema.nbytes for n, _ in {(x.task, x.version) for x in leases})


def _chunk(setup: Setup, engine: Engine) -> int:
    return sum(2 * setup.tasks[x.task].schema.nbytes for x in engine.server.view.leases.values())


def _updates(until: Until, engine: Engine, over: bool) -> int | None:
    """Updates at the nearest limit if the run goes on as the probe did; those made if it is over already."""
    state, ledger = engine.server.state, engine.ledger
    if over:
        return state.updates
    version = max(t.version for t in state.tasks.values())
    so_far = {"time": engine.now / SECOND, "updates": state.updates, "steps": version, "bytes": ledger.up + ledger.down}
    left = [state.updates * limit / so_far[name] for name, limit in until.limits.items() if so_far[name] > 0]
    return round(min(left)) if left else None
