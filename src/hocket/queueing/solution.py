"""What a network does under a routing with m tasks in it: throughput, relative delays, staleness, and their gradients.

Symbols of 2603.26231, all for one client i of a class: rho_i = p_i/mu_c the load of its queue, gamma_i the load of its
links, X_i the tasks it has anywhere in its cycle, those of its own that wait at the server included.

| quantity | formula | where |
|---|---|---|
| throughput | lambda(p, m) = Z_(m-1)/Z_m | Proposition on throughput |
| relative delay | E0[D_i] = E[X_i] with m-1 tasks | discrete Little law; sums to m-1 |
| staleness | E0[D_i]/p_i | mean age, in versions, of an update from i |
| gradient of delays | dE0[D_i]/dp_j = Cov(X_i, X_j)/p_j with m-1 tasks | exponential family in log p |
| gradient of throughput | dlambda/dp_j = (lambda/p_j)(E[X_j] with m-1 - E[X_j] with m) | the same |

Gradients treat p as free positive numbers. With classes, p_c is the probability of *one* client, and a derivative
moves all clients of the class.
"""

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike

from hocket.errors import InvalidInput
from hocket.queueing.network import Floats, Network, spread, tasks
from hocket.queueing.sweep import sweep

_NEGLIGIBLE = 1e-60  # of the first term of a sum of positive, decreasing ones


class Solution(Struct, frozen=True, eq=False):
    """Stationary behaviour of ``network`` under ``routing``; made by :func:`solve`.

    Attributes:
        network: what was solved.
        routing: ``float64[c]``, p, the chance of one client of each class.
        in_flight: m, tasks in the network.
        rates: ``float64[m+1]``, throughput with 0..m tasks.
        lengths: ``float64[3, c+1]``, mean tasks in all queues of a class, the server's last, with m, m-1, m-2 tasks.
    """

    network: Network
    routing: Floats
    in_flight: int
    rates: Floats
    lengths: Floats

    @property
    def throughput(self) -> float:
        """Updates per second, lambda(p, m)."""
        return float(self.rates[-1])

    @property
    def delay(self) -> Floats:
        """``float64[c]``, relative delay E0[D_i] of one client of each class, in versions; sums to m-1 over clients."""
        return self._held(1)

    @property
    def staleness(self) -> Floats:
        """``float64[c]``, mean staleness in versions of an update from one client of each class, E0[D_i]/p_i."""
        return self.delay / self.routing

    @property
    def held(self) -> Floats:
        """``float64[c]``, mean tasks that one client of each class has at any time; sums to m over clients."""
        return self._held(0)

    def throughput_gradient(self) -> Floats:
        """``float64[c]``, dlambda/dp; sum_c p_c dlambda/dp_c = -lambda."""
        fewer = self._rate(1) - self._rate(0)
        change = self.lengths[1] - self.lengths[0]
        return self.throughput * self._by_routing(change[:-1], fewer, change[-1])

    def delay_gradient(self, weights: ArrayLike) -> Floats:
        """``float64[..., c]``, the gradient in p of sum_c weights_c E0[D_c], for ``weights`` ``float64[..., c]``.

        One backward pass for each row of weights, O(classes x m). With t_s(l) = sum_(k>=1) a_s^k Z_(M-k-l)/Z_M, M = m-1
        and a_s the load of station s, E[N_s] = t_s(0) and E[N_s N_u] = sum_(l>=1) a_u^l t_s(l) for s != u (2603.26231,
        second moments); both sums are evaluated by Horner's rule together, and scaled by the largest load.
        """
        weight = np.atleast_2d(np.asarray(weights, dtype=np.float64))
        copies, loads, links, thinned = stations(self.network, self.routing)
        on_links, on_server = weight @ links, weight @ thinned
        station = np.column_stack([weight, on_server])
        own, pair = self._moments(loads, station)
        mean, fewer = self.lengths[1], self.lengths[2] - self.lengths[1]
        rate, slower = self._rate(1), self._rate(2) - self._rate(1)
        each = station / copies
        queues = copies * pair + station * own - (each @ mean)[:, None] * mean + (on_links * rate)[:, None] * fewer
        delays = rate * (each @ fewer + on_links * slower)
        server = queues[:, -1] - on_server * mean[-1]
        gradient = self._by_routing(queues[:, :-1], delays[:, None], server[:, None])
        gradient += weight * (links * rate + thinned * mean[-1]) / self.routing
        return np.reshape(gradient, np.shape(weights))

    def covariance(self) -> Floats:
        """``float64[c, c]``, covariance of the tasks that whole classes have, with m-1 tasks; rows sum to 0.

        O(classes^2 x m) time.
        """
        counts = self.network.counts
        jacobian = self.delay_gradient(np.eye(len(counts)))
        return counts[:, None] * jacobian * self.routing

    def _rate(self, fewer: int) -> float:
        return float(self.rates[max(self.in_flight - fewer, 0)])

    def _held(self, fewer: int) -> Floats:
        copies, _, links, thinned = stations(self.network, self.routing)
        lengths = self.lengths[fewer]
        held: Floats = lengths[:-1] / copies[:-1] + links * self._rate(fewer) + thinned * lengths[-1]
        return held

    def _by_routing(self, queues: Floats, links: Floats | float, server: Floats | float) -> Floats:
        """From derivatives in the logarithms of loads to derivatives in p: p moves queue, links and server."""
        copies, _, delay, thinned = stations(self.network, self.routing)
        return (queues + copies[:-1] * (delay * links + thinned * server)) / self.routing

    def _moments(self, loads: Floats, weight: Floats) -> tuple[Floats, Floats]:
        """``own[s]`` = sum_k k a_s^k z_k and ``pair[r, u]`` = sum_(l>=1) a_u^l sum_s weight[r, s] t_s(l)."""
        scale = float(loads.max())
        loads = loads / scale
        z = np.cumprod(self.rates[-2:0:-1] * scale)
        one, own, pair = np.zeros(len(loads)), np.zeros(len(loads)), np.zeros(weight.shape)
        for lag in range(np.count_nonzero(z > _NEGLIGIBLE) - 1, -1, -1):
            one += z[lag]
            one *= loads
            own *= loads
            own += one
            if lag:
                pair += np.add.reduce(weight * one, axis=1, keepdims=True)
                pair *= loads
        return own, pair


def stations(network: Network, routing: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Queues per class and the server's, ``float64[c+1]``: copies and loads; then ``float64[c]``: the load gamma_i of a
    client's links, and the chance p_i / sum p that a task at the server is that client's."""
    total = float((network.counts * routing).sum())
    copies = np.append(network.counts, 1.0)
    loads = np.append(routing * network.processing, total * network.server)
    return copies, loads, routing * network.travel, routing / total


def solve(network: Network, routing: ArrayLike, in_flight: int) -> Solution:
    """Solve ``network`` exactly: O(classes x m) time, O(classes + m) memory.

    ``routing`` is ``float64[c]``, p, the chance that the next task goes to one given client of the class; summed over
    all clients it is 1. ``in_flight`` is m, 1 or more.

    Raises:
        InvalidInput: a routing that is not above 0 or does not sum to 1, or fewer than one task.

    >>> net = Network(compute=[1.0, 0.5, 0.25])
    >>> s = solve(net, [0.2, 0.3, 0.5], in_flight=4)
    >>> s.delay.round(6), round(s.throughput, 6)
    (array([1.404207, 0.901721, 0.694073]), 4.090571)
    """
    given = spread("routing", routing, len(network.counts))
    if not (given > 0).all():
        at = int(np.argmin(given))
        raise InvalidInput(f"routing[{at}] = {given[at]:g}: each client needs a chance above 0")
    total = float((network.counts * given).sum())
    if abs(total - 1.0) > 1e-9:
        raise InvalidInput(f"routing sums to {total:.12g} over {network.size} clients; divide it by that")
    return evaluate(network, given, tasks(in_flight))


def evaluate(network: Network, routing: Floats, in_flight: int) -> Solution:
    """:func:`solve` without its checks; ``routing`` need not sum to 1."""
    copies, loads, links, _ = stations(network, routing)
    rates, lengths = sweep(loads, copies, float((network.counts * links).sum()), in_flight)
    return Solution(network, routing, in_flight, rates, lengths)
