"""What a routing p and m tasks cost until the model is good enough: rounds, seconds, joules, or a mixture.

Generalized AsyncSGD with n clients of equal weight, update eta/(n p_i) times the gradient (2603.26231). With
S1 = sum 1/p_i, S2 = sum E0[D_i]/p_i^2, B = 6(sigma^2 + 2 M^2), C = 6(sigma^2 + G^2):

| objective | value | source |
|---|---|---|
| :class:`Rounds` | K = (24 L Delta/(n eps)) ((4 + B/eps) S1/n + sqrt(C (m-1) S2/eps)) | Theorem 3 |
| :class:`Seconds` | K/lambda | section 5 |
| :class:`FixedRate` | 4 Delta/(eta lambda T) + (2/3) (eta L B S1 + eta^2 L^2 (m-1) C S2)/n^2 | appendix F |
| :class:`Joules` | K (sum p_i E_i + E_server) | section 6 |
| :class:`Interval` | 1/lambda | maximal throughput |
| :class:`Weighted` | sum of weight x value / scale | section 6 |

Each is a function of p, E0[D] and lambda; :func:`slope` adds the three partial derivatives up through the network.
"""

from math import sqrt
from typing import NamedTuple, Protocol

import numpy as np
from msgspec import Struct

from hocket.errors import InvalidInput
from hocket.queueing.network import Floats, spread
from hocket.queueing.solution import Solution


class Partial(NamedTuple):
    """A value and its partial derivatives in p and E0[D] (``float64[c]``, whole classes moved) and in lambda."""

    value: float
    routing: Floats
    delay: Floats
    throughput: float


class Objective(Protocol):
    """Something to make small: positive, a function of routing, delays and throughput."""

    def at(self, solution: Solution) -> Partial:
        """Value and partial derivatives at ``solution``."""
        ...


def _positive(name: str, value: float) -> None:
    if not 0.0 < value < np.inf:
        raise InvalidInput(f"{name} = {value}; give a number above 0 and finite")


class Learning(Struct, frozen=True, forbid_unknown_fields=True):
    """The constants of the learning problem (assumptions A1 to A5 of 2603.26231), and the accuracy asked for.

    Attributes:
        gap: Delta, loss at the start minus the least loss.
        smoothness: L of every client's loss.
        noise: sigma, standard deviation of a stochastic gradient.
        dissimilarity: M, largest distance of a client's gradient from the mean one.
        gradient: G, largest norm of a client's gradient.
        epsilon: mean squared gradient norm to reach.

    Raises:
        InvalidInput: a constant that is negative or not finite; gap, smoothness and epsilon must be above 0.
    """

    gap: float = 1.0
    smoothness: float = 1.0
    noise: float = 1.0
    dissimilarity: float = 5.0
    gradient: float = 14.0
    epsilon: float = 1.0

    def __post_init__(self) -> None:
        for name in ("gap", "smoothness", "epsilon"):
            _positive(f"learning: {name}", getattr(self, name))
        for name in ("noise", "dissimilarity", "gradient"):
            if not 0.0 <= getattr(self, name) < np.inf:
                raise InvalidInput(f"learning: {name} = {getattr(self, name)}; give a number, 0 or more and finite")

    @property
    def sampling(self) -> float:
        """B = 6(sigma^2 + 2 M^2), what unequal routing costs."""
        return 6.0 * (self.noise**2 + 2.0 * self.dissimilarity**2)

    @property
    def aging(self) -> float:
        """C = 6(sigma^2 + G^2), what staleness costs."""
        return 6.0 * (self.noise**2 + self.gradient**2)


class Rounds(Struct, frozen=True):
    """Updates until the mean squared gradient norm is ``learning.epsilon``: K_eps, Theorem 3.

    >>> from hocket.queueing import Network, solve
    >>> s = solve(Network(compute=[1.0, 0.5, 0.25]), [0.2, 0.3, 0.5], in_flight=4)
    >>> round(Rounds().at(s).value, 6), round(Rounds().learning_rate(s), 8)
    (11839.303929, 0.00142315)
    """

    learning: Learning = Learning()

    def at(self, solution: Solution) -> Partial:
        k, n, eps = self.learning, solution.network.size, self.learning.epsilon
        unequal, aged = _sums(solution)
        front = 24.0 * k.smoothness * k.gap / (n * eps)
        sampling = front * (4.0 + k.sampling / eps) / n
        aging = front * sqrt(k.aging * (solution.in_flight - 1) / eps)
        root = sqrt(aged.value)
        half = aging / (2.0 * root) if root else 0.0
        return Partial(
            sampling * unequal.value + aging * root,
            sampling * unequal.routing + half * aged.routing,
            half * aged.delay,
            0.0,
        )

    def learning_rate(self, solution: Solution) -> float:
        """The largest step eta for which the bound holds, eta_max(p, m) of Theorem 3."""
        k, n, eps = self.learning, solution.network.size, self.learning.epsilon
        unequal, aged = (part.value for part in _sums(solution))
        limits = [n**2 / (8.0 * k.smoothness * unequal)]
        if k.sampling:
            limits.append(n**2 * eps / (2.0 * k.smoothness * k.sampling * unequal))
        stale = k.aging * (solution.in_flight - 1) * aged
        if stale:
            limits.append(n / (2.0 * k.smoothness) * sqrt(eps / stale))
        return min(limits)


class Interval(Struct, frozen=True):
    """Seconds per update, 1/lambda: its least value is the largest throughput, at the edge where slow clients' p is
    as small as the floor allows."""

    def at(self, solution: Solution) -> Partial:
        rate, none = solution.throughput, np.zeros(len(solution.routing))
        return Partial(1.0 / rate, none, none, -1.0 / rate**2)


class Seconds(Struct, frozen=True):
    """Wall-clock seconds until ``learning.epsilon``, E0[tau_eps] = K_eps/lambda.

    >>> from hocket.queueing import Network, solve
    >>> s = solve(Network(compute=[1.0, 0.5, 0.25]), [0.2, 0.3, 0.5], in_flight=4)
    >>> round(Seconds().at(s).value, 6)
    2894.291021
    """

    learning: Learning = Learning()

    def at(self, solution: Solution) -> Partial:
        return _product(Rounds(self.learning).at(solution), Interval().at(solution))


class FixedRate(Struct, frozen=True):
    """Bound on the mean squared gradient norm after ``horizon`` seconds at the constant step ``learning_rate``.

    H(p, m) = G(p, m; eta, K = lambda T) without the transient of the first m tasks; ``learning.epsilon`` is not used.

    Raises:
        InvalidInput: a learning rate or horizon that is not above 0 and finite.
    """

    learning_rate: float
    horizon: float
    learning: Learning = Learning()

    def __post_init__(self) -> None:
        _positive("fixed rate: learning_rate", self.learning_rate)
        _positive("fixed rate: horizon", self.horizon)

    def at(self, solution: Solution) -> Partial:
        k, n, step = self.learning, solution.network.size, self.learning_rate
        unequal, aged = _sums(solution)
        start = 4.0 * k.gap / (step * self.horizon * solution.throughput)
        sampling = 4.0 * step * k.smoothness * k.sampling / 6.0 / n**2
        aging = 4.0 * (step * k.smoothness) ** 2 * (solution.in_flight - 1) * k.aging / 6.0 / n**2
        return Partial(
            start + sampling * unequal.value + aging * aged.value,
            sampling * unequal.routing + aging * aged.routing,
            aging * aged.delay,
            -start / solution.throughput,
        )


class Joules(Struct, frozen=True):
    """Energy until ``learning.epsilon``: K_eps times what one update costs, whatever m is.

    ``task`` is E_i, joules of one task at a client of each class (:meth:`Network.joules`), ``server`` the server's
    joules for one update.
    """

    task: tuple[float, ...]
    server: float = 0.0
    learning: Learning = Learning()

    def __post_init__(self) -> None:
        if min((*self.task, self.server), default=0.0) < 0 or not sum((*self.task, self.server)) > 0:
            raise InvalidInput(f"joules: task = {self.task}, server = {self.server}; give 0 or more, not all 0")

    def at(self, solution: Solution) -> Partial:
        by_routing = solution.network.counts * spread("joules", self.task, len(solution.routing))
        update = float((solution.routing * by_routing).sum()) + self.server
        cost = Partial(update, by_routing, np.zeros(len(by_routing)), 0.0)
        return _product(Rounds(self.learning).at(solution), cost)


class Weighted(Struct, frozen=True):
    """Sum of weight x value / scale over ``terms`` of (objective, weight, scale).

    With scales the least values of each objective and weights rho and 1 - rho, the trade of energy against time.
    """

    terms: tuple[tuple[Objective, float, float], ...]

    def __post_init__(self) -> None:
        for _, weight, scale in self.terms:
            _positive("weighted: scale", scale)
            if not 0.0 <= weight < np.inf:
                raise InvalidInput(f"weighted: weight = {weight}; give a number, 0 or more and finite")
        if not any(weight for _, weight, _ in self.terms):
            raise InvalidInput("weighted: no term has a weight above 0; give at least one")

    def at(self, solution: Solution) -> Partial:
        parts = [(objective.at(solution), weight / scale) for objective, weight, scale in self.terms if weight]
        return Partial(
            sum(part.value * factor for part, factor in parts),
            np.sum([part.routing * factor for part, factor in parts], axis=0),
            np.sum([part.delay * factor for part, factor in parts], axis=0),
            sum(part.throughput * factor for part, factor in parts),
        )


def slope(objective: Objective, solution: Solution) -> tuple[float, Floats]:
    """Value of ``objective`` and its gradient in p, ``float64[c]``: p free, a class moves as a whole."""
    part = objective.at(solution)
    gradient = part.routing.copy()
    if part.delay.any():
        gradient += solution.delay_gradient(part.delay)
    if part.throughput:
        gradient += part.throughput * solution.throughput_gradient()
    return part.value, gradient


def _sums(solution: Solution) -> tuple[Partial, Partial]:
    """S1 and S2."""
    counts, p, delay = solution.network.counts, solution.routing, solution.delay
    first = Partial(float((counts / p).sum()), -counts / p**2, np.zeros(len(p)), 0.0)
    each = counts / p**2
    return first, Partial(float((each * delay).sum()), -2.0 * each * delay / p, each, 0.0)


def _product(a: Partial, b: Partial) -> Partial:
    return Partial(
        a.value * b.value,
        a.routing * b.value + a.value * b.routing,
        a.delay * b.value + a.value * b.delay,
        a.throughput * b.value + a.value * b.throughput,
    )
