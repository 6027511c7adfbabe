"""Plans while a run is served: made beside the core, from what devices measured, told as an event when they are ready.

A question is put together in the core's thread (what the matching tracked, how old its leases are), and answered in a
thread of its own, which may take seconds. The answer is journaled like anything the server is told; one that was lost
with the server is asked for again by the policy (:mod:`hocket.matching.planned`).

The first plan is made from the fleet of the file; if there is none for it, the experiment cannot be served as it is.
Later ones are made from what devices say of themselves, which may be anything: one that cannot be made leaves the plan
in force where it is.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from msgspec.structs import replace

from hocket.errors import HocketError
from hocket.events import Planned
from hocket.fleet import Fleet
from hocket.planner import Planner
from hocket.service.front import LOG
from hocket.service.host import Host
from hocket.service.measured import Rates
from hocket.setup import Setup

UNPLANNABLE = (HocketError, ValueError, ArithmeticError)
"""What formulas say to numbers that they are not for; anything else is an error of ours."""


def seen(fleet: Fleet, rates: Mapping[int, Rates]) -> Fleet:
    """A fleet with the rates of those devices that have measured theirs; latency is in what they measured.

    >>> fleet = Fleet.equal(2, compute=0.01, down=1e6, up=1e6, latency=0.5)
    >>> found = seen(fleet, {1: Rates(0.5, 2e3, 1e3), 0: Rates(0.5)})
    >>> found.compute.tolist(), found.up.tolist(), found.latency.tolist()
    ([0.01, 0.5], [1000000.0, 1000.0], [0.5, 0.0])
    """
    columns = {name: getattr(fleet, name).copy() for name in ("compute", "down", "up")}
    latency = np.broadcast_to(fleet.latency, len(fleet)).copy()
    for client, rate in rates.items():
        if rate.known and 0 <= client < len(fleet):
            for name, column in columns.items():
                column[client] = getattr(rate, name)
            latency[client] = 0.0
    return replace(fleet, **columns, latency=latency)


class Plans:
    """Has plans made.

    Args:
        setup: what is run.
        fleet: what its file says of the devices.
        rates: what devices have measured by now.
        tell: takes an answer.
        failed: takes the error of a first question that has no answer.

    ``trouble`` says why the last plan could not be made; "" if it could.
    """

    def __init__(
        self,
        setup: Setup,
        fleet: Fleet,
        rates: Mapping[int, Rates],
        tell: Callable[[Planned], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._setup, self._fleet, self._rates, self._tell, self._failed = setup, fleet, rates, tell, failed
        self._pool = ThreadPoolExecutor(1, "planner")
        self.trouble = ""

    def ask(self, task: str, host: Host) -> None:
        """Have a plan made; called in the core's thread."""
        first = not getattr(host.server.state.memories["matching"], "plans", 0)
        fleet = self._fleet if first else seen(self._fleet, dict(self._rates))
        try:
            question = Planner(self._setup, fleet, host.book).question(task, host.server)
        except UNPLANNABLE as e:
            self._none(e, first)
        else:
            self._pool.submit(question).add_done_callback(lambda future: self._answered(future, first))

    def close(self) -> None:
        """Forget what is being worked on."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _answered(self, future: "Future[Planned]", first: bool) -> None:
        if future.cancelled():
            return
        if (error := future.exception()) is None:
            self.trouble = ""
            self._tell(future.result())
        elif isinstance(error, UNPLANNABLE):
            self._none(error, first)
        else:
            self._failed(error)

    def _none(self, error: Exception, first: bool) -> None:
        if first:
            self._failed(error)
            return
        if not self.trouble:
            LOG.warning("no new plan can be made, the one in force stays: %s", error)
        self.trouble = str(error)
