"""What a plan is to be best at, in words that an experiment file can say, and the best that there is.

| ``minimise`` | objective | in flight, unless it is given |
|---|---|---|
| time | K_eps/lambda, or rho E/E* + (1 - rho) tau/tau* with ``energy`` = rho above 0 | searched for |
| rounds | K_eps | searched for (it is 1) |
| throughput | 1/lambda | as many as clients |
| energy | K_eps sum p_i E_i | 1, where its least value is |

E* and tau* are the least energy and the least time (2603.26231, section 6).
"""

from typing import Literal

from msgspec import Struct

from hocket.errors import InvalidInput
from hocket.queueing.network import Floats, Network
from hocket.queueing.objective import Interval, Joules, Learning, Objective, Rounds, Seconds, Weighted
from hocket.queueing.optimize import Optimum, optimize
from hocket.queueing.power import Power

Minimise = Literal["time", "rounds", "throughput", "energy"]
LEAST_SEARCH, MOST_SEARCH = 200, 2000


class Goal(Struct, frozen=True, forbid_unknown_fields=True):
    """What to minimise, over how many tasks in flight.

    Attributes:
        minimise: see the table above.
        energy: rho, 0 to 1: the weight of energy beside time.
        in_flight: m, ``"clients"`` for as many as there are clients, None to search.
        most: the largest m of a search; None: twice the clients, from 200 to 2,000.
        learning: constants of the learning problem; only their ratios move the optimum.
        power: watts of the devices; needed for energy.
        floor: least p in units of 1/n.

    Raises:
        InvalidInput: a value outside its range, or energy without watts.

    >>> from hocket.queueing import Network
    >>> Goal().best(Network(compute=[1.0, 0.5, 0.25])).solution.in_flight
    3
    """

    minimise: Minimise = "time"
    energy: float = 0.0
    in_flight: int | Literal["clients"] | None = None
    most: int | None = None
    learning: Learning = Learning()
    power: Power | None = None
    floor: float = 1e-3

    def __post_init__(self) -> None:
        if not 0.0 <= self.energy <= 1.0:
            raise InvalidInput(f"plan: energy = {self.energy}; its weight beside time is from 0 to 1")
        if self.energy and self.minimise != "time":
            raise InvalidInput(f"plan: energy = {self.energy}, minimise = {self.minimise}; it is weighed with time")
        for name in ("in_flight", "most"):
            value = getattr(self, name)
            if isinstance(value, int) and value < 1:
                raise InvalidInput(f"plan: {name} = {value}; give 1 or more jobs in flight")
        if not 0.0 <= self.floor < 1.0:
            raise InvalidInput(f"plan: floor = {self.floor}; the least p in units of 1/n is from 0 to below 1")
        if self.needs_joules and self.power is None:
            raise InvalidInput("plan: energy is to be minimised and no watts are given; set power")

    @property
    def needs_joules(self) -> bool:
        """Whether the energy of a task matters."""
        return self.minimise == "energy" or self.energy > 0

    def range(self, network: Network) -> int | tuple[int, int]:
        """The m to look at."""
        if self.in_flight is not None:
            return network.size if self.in_flight == "clients" else self.in_flight
        if self.minimise == "throughput":
            return self.most or network.size
        return (
            1 if self.minimise == "energy" else (1, self.most or min(max(2 * network.size, LEAST_SEARCH), MOST_SEARCH))
        )

    def objective(self, network: Network, joules: Floats | None = None) -> Objective:
        """What is minimised; ``joules`` is ``float64[c]``, E_i of one client of each class.

        Raises:
            InvalidInput: energy matters and there are no joules.
        """
        time = Seconds(self.learning)
        if self.needs_joules:
            if joules is None:
                raise InvalidInput("plan: energy is to be minimised and a task's joules are not known; set power")
            energy = Joules(tuple(joules.tolist()), learning=self.learning)
            if self.minimise == "energy" or self.energy == 1.0:
                return energy
            least = optimize(network, energy, 1, floor=self.floor).value
            soonest = optimize(network, time, self.range(network), floor=self.floor).value
            return Weighted(((energy, self.energy, least), (time, 1.0 - self.energy, soonest)))
        if self.minimise == "throughput":
            return Interval()
        return time if self.minimise == "time" else Rounds(self.learning)

    def best(self, network: Network, joules: Floats | None = None) -> Optimum:
        """The routing and the m at which the objective is least."""
        return optimize(network, self.objective(network, joules), self.range(network), floor=self.floor)
