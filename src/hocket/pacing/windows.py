"""Step at fixed times with whatever has arrived since the last one (FedFix).

Windows end at the multiples of ``window`` seconds of the run's clock; an empty one makes no step. With ``opened`` a
window begins with the first update that arrives in it (PR-FL). Who delivers waits for the end of the window and gets
the new version then, so a client counts at most once per window. An opened window of no length is a step per update:
nobody waits, and every update is published on its own.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from msgspec import Struct

from hocket.actions import Request
from hocket.errors import InvalidInput
from hocket.events import Event
from hocket.pacing.in_flight import check_timeout
from hocket.policies import Due, Slots
from hocket.strategy import policy
from hocket.until import LONGEST, SECOND
from hocket.view import View


class WindowsState(Struct):
    """Number of the newest window in which each task stepped (or began); when the window of a task opened, ns."""

    closed: dict[str, int] = {}
    opened: dict[str, int] = {}


@policy("pacing")
class Windows(Struct, frozen=True, tag="windows", tag_field="kind", forbid_unknown_fields=True):
    """A step every ``window`` seconds, new work for every free slot after it.

    Args:
        window: seconds; 0 with ``opened``: a step for every update.
        in_flight: leases open at once per task; None keeps every client at work.
        timeout: seconds after which a lease expires.
        opened: a window begins with its first update.
    """

    window: float = 10.0
    in_flight: int | None = None
    timeout: float | None = None
    opened: bool = False
    observes: ClassVar[tuple[type[Event], ...]] = ()

    def __post_init__(self) -> None:
        if not (1e-9 <= self.window <= LONGEST or (self.opened and self.window == 0)):
            raise InvalidInput(
                f"window = {self.window}: must be from 1e-9 to {LONGEST:.0e} seconds, or 0 if updates open windows"
            )
        if self.in_flight is not None and self.in_flight < 1:
            raise InvalidInput(f"in_flight = {self.in_flight}: must be 1 or more, or left out for every client")
        check_timeout(self.timeout)

    @property
    def refill_first(self) -> bool:
        return False

    def init(self, view: View) -> WindowsState:
        return WindowsState(dict.fromkeys(view.tasks, 0))

    def room(self, state: WindowsState, view: View, now: int) -> Slots:
        slots: dict[str, int] = {}
        for t in view.tasks.values():
            if t.status == "active" and not t.stepping and not t.buffer:
                free = len(view.idle) if self.in_flight is None else self.in_flight - t.open
                if free > 0:
                    slots[t.name] = free
        return slots

    def due(self, state: WindowsState, view: View, now: int) -> Due | None:
        length = round(self.window * SECOND)
        if self.opened:
            return self._opened(state, view, now, length)
        window = now // length
        waiting = False
        for t in view.tasks.values():
            if t.stepping or t.status == "ended":
                continue
            if window > state.closed[t.name]:
                state.closed[t.name] = window
                if t.buffer:
                    return Due(t.name)
            waiting = waiting or bool(t.buffer)
        return Due(look_again_at=(window + 1) * length) if waiting else None

    def _opened(self, state: WindowsState, view: View, now: int, length: int) -> Due | None:
        ends = []
        for t in view.tasks.values():
            if not t.buffer or t.stepping or t.status == "ended":
                continue
            end = state.opened.setdefault(t.name, now) + length
            if end <= now:
                del state.opened[t.name]
                return Due(t.name)
            ends.append(end)
        return Due(look_again_at=min(ends)) if ends else None

    def observe(self, state: WindowsState, fact: Event, view: View, now: int) -> Sequence[Request]:
        return ()

    def largest(self, tasks: Mapping[str, object]) -> int | None:
        """Leases open at once over these tasks; None: as many as there are clients."""
        return None if self.in_flight is None else self.in_flight * len(tasks)
