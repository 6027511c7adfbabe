"""Two small simulations of the network that share nothing with the closed forms.

:func:`replicas` steps many exponential networks at once as Markov chains of single tasks; :func:`events` runs one
network with any service law on an event heap. Both serve first come, first served, start with clients drawn
uniformly, and count staleness as versions between dispatch and application.
"""

import heapq
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from hocket import keyed
from hocket.queueing import Network
from tests.queueing.reference import Floats

DOWN, QUEUE, UP, SERVER, DONE = range(5)


class Seen(NamedTuple):
    throughput: float
    delay: Floats  # share of updates x mean staleness, per client
    share: Floats
    held: Floats  # mean tasks of each client just before a dispatch (replicas only)
    spent: Floats  # seconds per update at each client's link down, processor, link up (events only)


def replicas(network: Network, p: Floats, m: int, *, copies: int, steps: int, burn: int, seed: int = 0) -> Seen:
    """Distinct clients, exponential times; ``steps`` transitions of each copy after ``burn``."""
    draw = keyed.generator(keyed.key(seed, "replicas"))
    n, row = len(p), np.arange(copies)
    mean = np.stack([network.download, network.compute, network.upload, np.full(n, network.server)])
    with np.errstate(divide="ignore"):
        rate = np.where(mean > 0, 1.0 / mean, 0.0)
    after = np.full((4, n), DONE)
    for station in (UP, QUEUE, DOWN):
        after[station] = np.where(mean[station + 1] > 0, station + 1, after[station + 1])
    entry = np.where(mean[DOWN] > 0, DOWN, QUEUE)
    chances = np.cumsum(p)
    client = draw.integers(n, size=(copies, m))
    station = entry[client]
    born = np.zeros((copies, m), dtype=np.int64)
    line = np.where(station == SERVER, n, np.where(station == QUEUE, client, n + 1))
    place = np.stack([(line[:, :j] == line[:, [j]]).sum(axis=1) for j in range(m)], axis=1)
    version = np.zeros(copies, dtype=np.int64)
    stale, count, held, clock = np.zeros(n), np.zeros(n), np.zeros(n), 0.0
    for step in range(burn + steps):
        speed = rate[station, client]
        speed[(place > 0) & (line <= n)] = 0.0
        edges = np.cumsum(speed, axis=1)
        j = (edges < (draw.random(copies) * edges[:, -1])[:, None]).sum(axis=1)
        left = line[row, j]
        place -= (line == left[:, None]) & (left <= n)[:, None]
        to = after[station[row, j], client[row, j]]
        done = np.flatnonzero(to == DONE)
        j_done = j[done]
        if step >= burn:
            clock += float((1.0 / edges[:, -1]).sum())
            who = client[done, j_done]
            count += np.bincount(who, minlength=n)
            stale += np.bincount(who, weights=version[done] - born[done, j_done], minlength=n)
            held += np.bincount(client[done].ravel(), minlength=n) - np.bincount(who, minlength=n)
        version[done] += 1
        born[done, j_done] = version[done]
        new = np.minimum(np.searchsorted(chances, draw.random(len(done))), n - 1)
        client[done, j_done] = new
        to[done] = entry[new]
        station[row, j] = to
        line[row, j] = n + 1
        joined = np.where(to == SERVER, n, np.where(to == QUEUE, client[row, j], n + 1))
        place[row, j] = np.where(joined <= n, (line == joined[:, None]).sum(axis=1), 0)
        line[row, j] = joined
    updates = count.sum()
    return Seen(float(updates / clock), stale / updates, count / updates, held / updates, np.full((3, n), np.nan))


def events(
    network: Network,
    p: Floats,
    m: int,
    *,
    updates: int,
    law: Callable[[int], float],
    burn: int = 0,
    seed: int = 0,
    apply: Callable[[int, int], None] = lambda client, born: None,
) -> Seen:
    """Distinct clients; ``law`` turns a key into a factor of mean one that multiplies the station's mean seconds.

    ``apply`` is told the client of each update and the version it was computed from.
    """
    n = len(p)
    mean = [list(map(float, c)) for c in (network.download, network.compute, network.upload)]
    mean.append([network.server] * n)
    chances = np.cumsum(p)
    routes = np.minimum(np.searchsorted(chances, keyed.generator(keyed.key(seed, "route")).random(updates)), n - 1)
    lines: list[deque[tuple[int, int]]] = [deque() for _ in range(n + 1)]
    heap: list[tuple[float, int, int, int, int]] = []
    version = serial = 0
    spent = [[0.0] * n for _ in range(4)]
    stale, count, began = np.zeros(n), np.zeros(n), 0.0

    def begin(now: float, station: int, client: int, born: int) -> None:
        nonlocal serial
        serial += 1
        length = mean[station][client] * law(keyed.key(seed, serial)) if mean[station][client] else 0.0
        spent[station][client] += length
        heapq.heappush(heap, (now + length, serial, station, client, born))

    def enter(now: float, station: int, client: int, born: int) -> None:
        if station in (QUEUE, SERVER):
            line = lines[client if station == QUEUE else n]
            line.append((client, born))
            if len(line) > 1:
                return
        begin(now, station, client, born)

    for i in range(m):
        enter(0.0, DOWN, keyed.below(keyed.key(seed, "start", i), n), 0)
    now = 0.0
    while version < updates:
        now, _, station, client, born = heapq.heappop(heap)
        if station in (QUEUE, SERVER):
            line = lines[client if station == QUEUE else n]
            line.popleft()
            if line:
                begin(now, station, *line[0])
        if station != SERVER:
            enter(now, station + 1, client, born)
            continue
        if version >= burn:
            count[client] += 1
            stale[client] += version - born
        else:
            began = now
        apply(client, born)
        version += 1
        enter(now, DOWN, int(routes[version - 1]), version)
    seen = count.sum()
    return Seen(float(seen / (now - began)), stale / seen, count / seen, np.full(n, np.nan), np.array(spent[:3]) / seen)
