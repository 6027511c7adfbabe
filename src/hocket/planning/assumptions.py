"""What the formulas take for granted, and where an experiment has it otherwise.

Exact are: training times exponential; transfers that wait for nobody, of any law; every client there; each update
applied when it arrives; clients drawn busy or not; nobody fails. Whatever else holds, mean staleness over all updates
is (m - 1)/K with a buffer of K; how it is shared out, and throughput, are then approximations, and a simulation of the
experiment itself is the answer to trust (``benchmarks/planning.py`` measures by how much they are off).
"""

from collections.abc import Iterator

from hocket.fleet import Always, Exponential, Fleet
from hocket.setup import Setup
from hocket.submodel import Whole


def broken(setup: Setup, fleet: Fleet) -> tuple[str, ...]:
    """A sentence for each assumption that does not hold.

    >>> import hocket as hk
    >>> task = hk.Task.sized(parameters=10, clients=3)
    >>> setup = Setup.of(task, hk.strategies.fedbuff(buffer=2, in_flight=2), hk.Until(updates=9))
    >>> for sentence in broken(setup, hk.Fleet.equal(3, 1.0, 1.0, 1.0, links="parallel")):
    ...     print(sentence)
    training times are deterministic; the formulas take them for exponential
    updates wait for a buffer of 2; the formulas apply each at once
    clients that are busy are passed over; the formulas let them queue jobs
    a job is more than one gradient; time and energy to the target are for one
    """
    return tuple(_broken(setup, fleet))


def _broken(setup: Setup, fleet: Fleet) -> Iterator[str]:
    law = fleet.compute_law.__struct_config__.tag
    if not isinstance(fleet.compute_law, Exponential):
        yield f"training times are {law}; the formulas take them for exponential"
    if fleet.links == "fifo":
        yield "a client's transfers wait for each other; the formulas let them overlap"
    if fleet.egress is not None:
        yield f"downloads share {fleet.egress:g} B/s of the server; the formulas let them overlap"
    if not isinstance(fleet.availability, Always):
        yield "clients come and go; the formulas take all for present"
    if fleet.failure + fleet.dropout > 0:
        yield f"{fleet.failure + fleet.dropout:.1%} of the jobs are lost; the formulas lose none"
    strategy = setup.strategy
    buffer = getattr(strategy.pacing, "buffer", 1)
    if buffer != 1:
        yield f"updates wait for a buffer of {buffer}; the formulas apply each at once"
    if getattr(strategy.matching, "busy", "skip") == "skip":
        yield "clients that are busy are passed over; the formulas let them queue jobs"
    for task in setup.tasks.values():
        if strategy.tasks[task.name].submodel != Whole():
            yield "clients train sub-models; the formulas take them for whole"
        if (task.local.steps, task.local.epochs) != (1, None):
            yield "a job is more than one gradient; time and energy to the target are for one"
