"""Every client is equally likely: among the idle ones, or among all with a queue at the client."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from msgspec import Struct

from hocket.actions import Request
from hocket.errors import InvalidInput
from hocket.events import Event
from hocket.index_set import IndexSet
from hocket.keyed import below, mix
from hocket.policies import ANY, Pick, Slots
from hocket.strategy import policy
from hocket.view import View


@policy("matching")
class Uniform(Struct, frozen=True, tag="uniform", tag_field="kind", forbid_unknown_fields=True):
    """Uniform choice.

    ``busy`` "skip": without replacement among online clients that have no open lease (FedAvg, FedBuff).
    "queue": with replacement among all online clients; a busy one queues the job (AsyncSGD, FedAST).
    ``once``: clients that were already given this version of the task come last, so a cohort that replaces
    lost members does not ask the fast ones twice; with "queue", nobody is drawn twice at a time.
    ``distinct``: with "queue", so many clients may have work at once; who is drawn beyond that and has none is passed
    over until somebody is done. Slots for any task are dealt to the active tasks in turn.
    """

    busy: Literal["skip", "queue"] = "skip"
    once: bool = False
    distinct: int | None = None
    observes: ClassVar[tuple[type[Event], ...]] = ()

    def __post_init__(self) -> None:
        if self.distinct is not None and (self.busy != "queue" or self.once or self.distinct < 1):
            raise InvalidInput(
                f'uniform: distinct = {self.distinct}, busy = "{self.busy}", once = {self.once}; '
                'distinct is 1 or more, with busy = "queue" and without once'
            )

    def init(self, view: View) -> None:
        return None

    def match(self, state: None, slots: Slots, view: View, key: int) -> list[Pick]:
        # key is uniform on 64 bits
        members = (view.online if self.busy == "queue" else view.idle).items
        n = len(members)
        if not n:
            return []
        if self.distinct is not None:
            return self._few(deal(slots, view), view, key)
        if len(slots) == 1 and not self.once:
            ((task, count),) = slots.items()
            if count == 1 and task != ANY:
                return [Pick(task, members[(key >> 32) * n >> 32], 1.0 / n)]
        wanted = deal(slots, view)
        if self.busy == "queue" and not self.once:
            return [Pick(t, members[below(key ^ i, n)], 1.0 / n) for i, t in enumerate(wanted)]
        order = draw(view.online if self.busy == "queue" else view.idle, len(wanted) if not self.once else n, key)
        if self.once:
            return _fresh_first(wanted, order, n, view)
        return [Pick(t, c, 1.0 / n) for t, c in zip(wanted, order, strict=False)]

    def _few(self, wanted: list[str], view: View, key: int) -> list[Pick]:
        """With replacement, and nobody new beyond the clients that may have work at once."""
        members, n, new = view.online.items, len(view.online), set[int]()
        room = (self.distinct or n) - (n - len(view.idle))
        picks = []
        for i, task in enumerate(wanted):
            c = members[below(key ^ i, n)]
            if c in view.idle and c not in new:
                if room <= 0:
                    continue
                new.add(c)
                room -= 1
            picks.append(Pick(task, c, 1.0 / n))
        return picks

    def ahead(self, state: None, slots: Slots, view: View, key: int) -> list[Pick]:
        return []

    def observe(self, state: None, fact: Event, view: View, now: int) -> Sequence[Request]:
        return ()


def _fresh_first(wanted: list[str], order: Iterator[int], n: int, view: View) -> list[Pick]:
    """Deal clients in a random order, those that already had the newest version of a task last."""
    picks: list[Pick] = []
    passed: list[int] = []
    for task in wanted:
        t = view.tasks[task]
        c = next((c for c in passed if t.given[c] != t.node.version), None)
        if c is not None:
            passed.remove(c)
        while c is None and (drawn := next(order, None)) is not None:
            if t.given[drawn] != t.node.version:
                c = drawn
            else:
                passed.append(drawn)
        if c is None and passed:
            c = passed.pop(0)
        if c is None:
            break
        picks.append(Pick(task, c, 1.0 / n))
    return picks


def draw(members: IndexSet, count: int, key: int) -> Iterator[int]:
    """``count`` distinct members, or all of them if there are fewer, in random order.

    A Fisher-Yates shuffle that touches only the places it draws from: O(1) per member drawn.
    """
    items, n = members.items, len(members)
    moved: dict[int, int] = {}
    for i in range(min(count, n)):
        key = mix(key)
        at = i + below(key, n - i)
        yield items[moved.get(at, at)]
        moved[at] = moved.get(i, i)


def deal(slots: Slots, view: View) -> list[str]:
    """One task name per slot, evenly interleaved; slots for any task go to the active tasks in turn."""
    if len(slots) == 1 and ANY not in slots:
        ((task, count),) = slots.items()
        return [task] * count
    spread = [((i + 0.5) / count, t) for t, count in slots.items() if t != ANY for i in range(count)]
    out = [t for _, t in sorted(spread)]
    active = [t.name for t in view.tasks.values() if t.status == "active"]
    return out + [active[i % len(active)] for i in range(slots.get(ANY, 0))] if active else out
