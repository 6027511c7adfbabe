"""What a world with faults takes for granted: which runs it can make, how long work takes, when a step is overdue."""

from typing import Any

from hocket.errors import InvalidInput
from hocket.fleet import Fleet
from hocket.fleet.availability import Always
from hocket.setup import Setup


def check(setup: Setup, fleet: Fleet) -> None:
    """Refuse what a world with faults does not have.

    Raises:
        InvalidInput: a size-only task, prefetch, availability, a schedule, too many clients.
    """
    setup.check_clients(len(fleet))
    if bare := [n for n, t in setup.tasks.items() if t.learner is None]:
        raise InvalidInput(f"task {bare[0]!r} is size-only; a world with faults sends real updates, give it a learner")
    kind = setup.strategy.prefetch.__struct_config__.tag  # type: ignore[attr-defined]
    if kind != "none":
        raise InvalidInput(f"prefetch {kind!r}: a world with faults has no offers; leave prefetch out")
    if not isinstance(fleet.availability, Always):
        raise InvalidInput(
            f"fleet.availability = {fleet.availability!r}: in a world with faults devices come and go by its faults; "
            "leave it out"
        )
    if setup.schedule:
        raise InvalidInput("schedule: a world with faults keeps its tasks from start to end; leave it out")
    if len(fleet) > 10_000:
        raise InvalidInput(f"{len(fleet)} clients: a world with faults checks every one of them; give 10000 or fewer")


def durations(setup: Setup, fleet: Fleet) -> tuple[int, int]:
    """What a lease usually takes, and what the slowest of a few on every device takes, ns."""
    timing, each, draws = fleet.timing(setup.seed), [], range(max(2, min(32, 4000 // len(fleet))))
    for task in setup.tasks.values():
        size = task.schema.nbytes
        for c in range(len(fleet)):
            cost = task.local.samples(int(task.samples[c])) * task.cost
            each += [timing.download(c, size, k) + timing.train(c, cost, k) + timing.upload(c, size, k) for k in draws]
    each.sort()
    return max(each[len(each) // 2], 1000), max(each[-1], 1000)


def bound(setup: Setup, clients: int, slowest: int, patience: int) -> int:
    """How long a step may take once nothing goes wrong, ns: ten times what the slowest lease and policy need."""
    pacing: Any = setup.strategy.pacing
    named = [getattr(pacing, f, None) or 0.0 for f in ("window", "length", "deadline", "timeout")]
    waits = int(1e9 * sum(x for x in named if isinstance(x, float | int)))
    in_flight = getattr(pacing, "in_flight", 1)
    depth = 1 + (sum(in_flight.values()) if isinstance(in_flight, dict) else in_flight or 1) // clients
    return 10 * (patience + slowest * depth + waits)
