"""Bytes, counted where they are sent, by what they were good for.

``down`` = critical (for updates that went into a step) + prefetched (the same, but ahead of their leases) +
overcommitted (for leases cancelled because the round was over) + wasted (for anything else that came to nothing) +
what open leases hold. What was fetched ahead counts as prefetched until the client's next lease of the task ends, and
then as what became of that lease; it is wasted if the client leaves before (until it comes back and goes on).
``refused`` is the part of ``up`` that never went into a step. ``published`` counts each edge once, as if it were
fetched through a cache; ``broadcast``, which the server counts, is what one channel to everybody carries: each step's
message once. Parts of interrupted transfers count.
"""

from msgspec import Struct

from hocket.lease import WHOLE, Edge, Lease

REMEMBERED = 1024  # target versions whose edges are told apart; an older one counts as published anew


class Ledger(Struct):
    """Running totals in bytes, and how many accepted updates had which staleness.

    ``ahead``: bytes fetched ahead of a lease that is not over yet, by task and client.
    """

    up: int = 0
    down: int = 0
    published: int = 0
    critical: int = 0
    prefetched: int = 0
    overcommitted: int = 0
    wasted: int = 0
    refused: int = 0
    opened: dict[str, dict[int, list[tuple[int, int, int]]]] = {}
    staleness: dict[int, int] = {}
    ahead: dict[str, dict[int, int]] = {}

    def open_edge(self, edge: Edge) -> None:
        """An edge starts to be sent to somebody; the first time it is published."""
        versions = self.opened.setdefault(edge.target.task, {})
        edges = versions.setdefault(edge.target.version, [])
        cover = edge.target.cover
        epoch = WHOLE if cover.length == WHOLE else cover.epoch
        name = (-1 if edge.source is None else edge.source.version, edge.band, epoch)
        if name not in edges:
            edges.append(name)
            self.published += edge.size
        if len(versions) > REMEMBERED:
            del versions[next(iter(versions))]

    def early(self, task: str, client: int, size: int) -> None:
        """A client was sent bytes ahead of a lease."""
        self.down += size
        each = self.ahead.setdefault(task, {})
        each[client] = each.get(client, 0) + size

    def saved(self, task: str, client: int, size: int) -> None:
        """Bytes that were lost when their device left are of use after all: it is back and goes on from there."""
        self.wasted -= size
        each = self.ahead.setdefault(task, {})
        each[client] = each.get(client, 0) + size

    def left(self, client: int) -> None:
        """A client is gone; what it fetched ahead is lost."""
        for each in self.ahead.values():
            self.wasted += each.pop(client, 0)

    def _early(self, lease: Lease) -> int:
        """What was fetched ahead of a lease that is over."""
        each = self.ahead.get(lease.task)
        return each.pop(lease.client, 0) if each else 0

    def accepted(self, lease: Lease, down: int, staleness: int) -> None:
        """The update of a lease will go into a step; ``down`` bytes were fetched for it."""
        self.critical += down
        if self.ahead:
            self.prefetched += self._early(lease)
        self.staleness[staleness] = self.staleness.get(staleness, 0) + 1

    def released(self, lease: Lease, down: int, up: int, reason: str) -> None:
        """A lease came to nothing after ``down`` and ``up`` bytes."""
        down += self._early(lease)
        if reason == "overcommitted":
            self.overcommitted += down
        else:
            self.wasted += down
        self.refused += up

    def totals(self, open_down: int = 0, part_down: int = 0, part_up: int = 0) -> dict[str, int]:
        """Bytes by kind for a summary.

        ``open_down``: fetched whole for leases still open; ``part_*``: parts of transfers in progress. What
        was fetched for work that may still count is critical.
        """
        return {
            "up": self.up + part_up,
            "down": self.down + part_down,
            "published": self.published,
            "critical": self.critical + open_down + part_down,
            "prefetched": self.prefetched + sum(sum(each.values()) for each in self.ahead.values()),
            "overcommitted": self.overcommitted,
            "wasted": self.wasted,
            "refused": self.refused,
        }

    def staleness_summary(self) -> dict[str, float]:
        """Mean, 95th percentile (nearest rank) and maximum of the staleness of accepted updates."""
        total = sum(self.staleness.values())
        if not total:
            return {"mean": 0.0, "p95": 0, "max": 0}
        mean = sum(s * n for s, n in self.staleness.items()) / total
        rank, seen, p95 = -(-95 * total // 100), 0, 0
        for s in sorted(self.staleness):
            seen += self.staleness[s]
            if seen >= rank:
                p95 = s
                break
        return {"mean": mean, "p95": p95, "max": max(self.staleness)}
