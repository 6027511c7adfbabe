"""``hocket.plan``: the best routing and jobs in flight for a fleet and a task, and what they will do."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket import wire
from hocket.codec import QSGD
from hocket.errors import InvalidInput
from hocket.fleet import Fleet
from hocket.learning.task import Task
from hocket.planner import Calibration, Times, averaged, calibrate, gathered
from hocket.planning.assumptions import broken
from hocket.planning.foretell import Foretold, observe, observe_itself, settles
from hocket.planning.history import recalibrate_from
from hocket.queueing import Goal, Rounds, Seconds, Solution, optimize, solve
from hocket.setup import Setup
from hocket.simulation.run import prepare
from hocket.strategies import generalized_asyncsgd
from hocket.strategy import Strategy, TaskPart, compose
from hocket.until import Until

Floats = NDArray[np.float64]
FASTEST = Goal()
CURVE_CLASSES = 150
"""Classes beyond which devices are put together for the curves against m, and for what-if questions."""


FEWEST, MOST = 20_000, 300_000
"""Updates of a simulation whose length is not given."""


class Point(Struct, frozen=True, eq=False):
    """A plan at one m: seconds and joules to the target (``joules`` NaN without watts), ``shares`` by kind."""

    in_flight: int
    value: float
    throughput: float
    seconds: float
    joules: float
    shares: Floats
    staleness: Floats


class WhatIf(Struct, frozen=True):
    """The best plan if something were otherwise; ``seconds`` to the target by those of the best plan now."""

    change: str
    in_flight: int
    throughput: float
    seconds: float


class Plan(Struct, frozen=True, eq=False):
    """What was planned, for whom, and what it will do.

    Attributes:
        goal: what it is best at.
        fleet: for whom.
        calibration: the network.
        links: uplink and downlink of the method it was made for.
        uniform, best: foretold: all clients alike, and the plan.
        curve: plans for other m, by m; the devices put together there into at most about 150 classes.
        what_if: the same with other codecs, links and processors.
        broken: assumptions of the formulas that do not hold here, a sentence each.
        seen: simulated, under ``"uniform"`` and ``"best"``, and where an assumption does not hold the experiment's own
            strategy under ``"itself"``; empty if it was not asked for.
        simulated: updates of each simulation.
    """

    goal: Goal
    fleet: Fleet
    calibration: Calibration
    links: Strategy
    uniform: Foretold
    best: Foretold
    seconds: tuple[float, float]
    curve: tuple[Point, ...]
    what_if: tuple[WhatIf, ...]
    broken: tuple[str, ...]
    seen: Mapping[str, Foretold]
    simulated: int

    @property
    def unsettled(self) -> str | None:
        """What to do if the simulation is too short for the slowest device; None if it is long enough."""
        need = max(settles(said, self.calibration) for said in (self.uniform, self.best))
        if not 0 < self.simulated < need:
            return None
        return (
            f"the slowest device takes {self.calibration.times.longest:,.0f} s for a job, and the simulation is "
            f"too short to tell its staleness, and that of its class; it takes {need:,} updates (--simulate {need})"
        )

    @property
    def aim(self) -> str:
        """What the plan is best for, in words."""
        return "energy and time" if self.goal.energy else self.goal.minimise

    @property
    def routing(self) -> Floats:
        """p, ``float64[clients]``."""
        return self.best.routing

    @property
    def in_flight(self) -> int:
        """m."""
        return self.best.in_flight

    @property
    def throughput(self) -> float:
        """Updates per second, foretold."""
        return self.best.throughput

    @property
    def staleness(self) -> dict[str, float]:
        """Mean staleness in versions of the updates of each kind of device, foretold."""
        return dict(zip(self.fleet.kinds, self.best.by_kind.tolist(), strict=True))

    def strategy(self, lr: float | None = None) -> Strategy:
        """The plan as a strategy that :func:`hocket.simulate` takes, with the codecs it was made for."""
        return compose(generalized_asyncsgd(self.routing.tolist(), self.in_flight, lr), self.links)


def plan(
    fleet: Fleet,
    task: Task,
    method: Strategy | None = None,
    goal: Goal = FASTEST,
    *,
    today: int | None = None,
    history: str | Path | None = None,
    simulate: int | None = 0,
    details: bool = True,
    seed: int = 0,
) -> Plan:
    """Find the best routing and number of jobs in flight by formula.

    Args:
        fleet: the devices.
        task: what they train; a size-only one will do.
        method: whose codecs are used; plain messages if left out.
        goal: what is to be least; see :class:`hocket.queueing.Goal`.
        today: jobs in flight of the uniform routing to compare with; the clients' number if left out.
        history: a run directory whose event log says how fast the devices really are.
        simulate: updates of a simulation of both, without learning, to check the formulas by; 0 for none, None for 100
            per job and as many as it takes to hear of every device, from 20,000 to 300,000.
        details: whether to draw up the curve against m and the what-if questions as well.
        seed: of the simulation.

    Raises:
        InvalidInput: several tasks, devices that take no time, energy to be minimised without watts.

    >>> import hocket as hk
    >>> fleet = hk.Fleet.synthetic(clients=20, seed=0)
    >>> plan = hk.plan(fleet, hk.Task.sized(parameters=1000, clients=20), details=False)
    >>> plan.throughput > plan.uniform.throughput, round(float(sum(plan.routing)), 9)
    (True, 1.0)
    >>> plan.strategy().pacing.in_flight == plan.in_flight
    True
    """
    setup = Setup.of(task, method or generalized_asyncsgd(in_flight=today or len(fleet)), Until(updates=1))
    return plan_for(setup, fleet, goal, today=today, history=history, simulate=simulate, details=details, seed=seed)


def plan_for(
    setup: Setup,
    fleet: Fleet,
    goal: Goal,
    *,
    today: int | None = None,
    history: str | Path | None = None,
    simulate: int | None = 0,
    details: bool = True,
    seed: int = 0,
) -> Plan:
    """:func:`plan` for an experiment."""
    if simulate is not None and 0 < simulate < 100:
        raise InvalidInput(f"--simulate {simulate}: must be 100 or more updates, or 0 for none")
    book = prepare(setup, fleet).engine.book
    known = calibrate(setup, fleet, book)
    if history is not None:
        known = recalibrate_from(known, Path(history), fleet)
    before = solve(known.network, known.network.uniform(), today or len(fleet))
    best = goal.best(known.network, known.joules(goal.power, fleet)).solution
    time = Seconds(goal.learning)
    part = next(iter(setup.strategy.tasks.values()))
    uniform, found = (Foretold.of(s, known, fleet) for s in (before, best))
    seen = {}
    wrong = broken(setup, fleet)
    if simulate is None:
        need = max(max(settles(said, known), 100 * said.in_flight) for said in (uniform, found))
        simulate = min(max(need, FEWEST), MOST)
    if simulate:
        seen = {n: observe(f, setup, fleet, simulate, seed) for n, f in (("uniform", uniform), ("best", found))}
    if simulate and wrong and today is not None:
        seen["itself"] = observe_itself(uniform, setup, fleet, simulate, seed)
    return Plan(
        goal, fleet, known,
        Strategy("links", task=TaskPart(uplink=part.uplink, downlink=part.downlink)),
        uniform, found,
        (time.at(before).value, time.at(best).value),
        curve(known, fleet, goal, found.in_flight) if details else (),
        what_if(known, setup, fleet, goal) if details else (),
        wrong, seen, simulate,
    )  # fmt: skip


def curve(known: Calibration, fleet: Fleet, goal: Goal, best: int) -> tuple[Point, ...]:
    """The best routing for m around the best one, a dozen values."""
    rough = coarse(known, fleet)
    joules = rough.joules(goal.power, fleet)
    objective = goal.objective(rough.network, joules)
    most = max(2.5 * best, 8.0)
    grid = np.unique([*np.round(np.geomspace(max(1.0, best / 30), most, 13)).astype(int), best]).tolist()
    points = []
    for m in grid:
        s = optimize(rough.network, objective, m, floor=goal.floor, starts=(0.0,))
        points.append(_point(s.solution, s.value, rough, fleet, goal, joules))
    return tuple(points)


def _point(s: Solution, value: float, known: Calibration, fleet: Fleet, goal: Goal, joules: Floats | None) -> Point:
    said = Foretold.of(s, known, fleet)
    rounds = Rounds(goal.learning).at(s).value
    spent = float("nan") if joules is None else rounds * float((s.network.counts * s.routing) @ joules)
    return Point(s.in_flight, value, s.throughput, rounds / s.throughput, spent, said.shares, said.by_kind)


def coarse(known: Calibration, fleet: Fleet) -> Calibration:
    """The same with at most about :data:`CURVE_CLASSES` classes of devices."""
    within = 0.05
    network, classes = known.network, known.classes
    kind = np.broadcast_to(fleet.kind, len(fleet))
    while len(network.processing) > CURVE_CLASSES and within < 5:
        network, classes = gathered(known.times, CURVE_CLASSES, within, kind)
        within *= 1.5
    return Calibration(network, classes, known.times, known.up, known.down)


def what_if(known: Calibration, setup: Setup, fleet: Fleet, goal: Goal) -> tuple[WhatIf, ...]:
    """What other codecs, links twice as fast and processors twice as fast would buy."""
    task = next(iter(setup.tasks.values()))
    t = known.times
    changes: dict[str, Times] = {}
    for bits in (8, 4):
        size, _ = wire.size(QSGD(bits=bits), task.schema)
        if size < known.up:
            saved = (known.up - size) / fleet.up
            changes[f"updates at {bits} bits"] = t._replace(upload=np.maximum(t.upload - saved, 0.0))
        if size <= known.up and size < known.down:
            less = (known.down - size) / fleet.down
            both = changes.get(f"updates at {bits} bits", t)
            changes[f"{bits} bits both ways"] = both._replace(download=np.maximum(t.download - less, 0.0))
    changes["links twice as fast"] = t._replace(download=t.download / 2, upload=t.upload / 2)
    changes["processors twice as fast"] = t._replace(compute=t.compute / 2)
    rough = coarse(known, fleet)
    now, _ = _best(rough, goal, fleet)
    rows = []
    for change, times in changes.items():
        other = Calibration(averaged(times, rough.classes), rough.classes, times, known.up, known.down)
        seconds, s = _best(other, goal, fleet)
        rows.append(WhatIf(change, s.in_flight, s.throughput, seconds / now))
    return tuple(rows)


def _best(known: Calibration, goal: Goal, fleet: Fleet) -> tuple[float, Solution]:
    s = goal.best(known.network, known.joules(goal.power, fleet)).solution
    return Seconds(goal.learning).at(s).value, s
