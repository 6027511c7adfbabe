"""What a run has spent, by Google's dp-accounting (extra ``dp``).

T steps with noise z are one Gaussian mechanism with noise z / sqrt(T); tasks of the same clients add up as
1/z^2 = sum_t T_t / z_t^2. epsilon(delta) of that is exact (Balle and Wang, "Improving the Gaussian mechanism for
differential privacy", ICML 2018), as dp-accounting computes it.
"""

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any

from msgspec.structs import replace

from hocket.errors import InvalidInput, MissingExtra
from hocket.privacy.gaussian import Gaussian, Spent
from hocket.server import Server
from hocket.strategy import FullStrategy
from hocket.until import Until

MOST = 1 << 31  # steps; more than any run makes


def epsilon(spent: Iterable[tuple[Gaussian, int]], delta: float) -> float:
    """What a client has lost after so many releases of each mechanism.

    >>> round(epsilon([(Gaussian(noise=1.0), 1)], 1e-6), 3), epsilon([(Gaussian(), 0)], 1e-6)
    (4.887, 0.0)
    >>> round(epsilon([(Gaussian(noise=10.0), 100)], 1e-6), 3)
    4.887
    """
    total = sum(min(n, p.participations or n) / p.noise**2 for p, n in spent)
    return float(_library().get_epsilon_gaussian(total**-0.5, delta)) if total else 0.0


def most(private: Gaussian) -> int | None:
    """Steps until the budget is spent; None: it never is.

    >>> most(Gaussian(noise=10.0, epsilon=4.887)), most(Gaussian())
    (100, None)

    Raises:
        InvalidInput: the budget is not enough for one step.
    """
    if private.epsilon is None:
        return None
    least = float(_library().get_sigma_gaussian(private.epsilon, private.delta))
    steps = min(MOST, int((private.noise / least) ** 2 * (1 + 1e-9)))
    if steps < 1:
        raise InvalidInput(
            f"strategy.privacy: epsilon = {private.epsilon} at delta = {private.delta} is spent by less than a step "
            f"with noise = {private.noise}; it takes a noise of {least:.4g} for one, {10 * least:.4g} for a hundred"
        )
    return None if private.participations is not None and private.participations <= steps else steps


def within(until: Until | None, strategy: FullStrategy) -> Until | None:
    """The stop conditions with the steps that budgets allow.

    Raises:
        InvalidInput: a budget is not enough for one step.
        MissingExtra: a task is private, and dp-accounting is not installed.
    """
    private = [p for part in strategy.tasks.values() if isinstance(p := part.privacy, Gaussian)]
    if private and find_spec("dp_accounting") is None:
        raise MissingExtra("strategy.privacy: dp-accounting is not installed; pip install 'hocket[dp]'")
    allowed = [n for p in private if (n := most(p)) is not None]
    if not allowed:
        return until
    return Until(steps=min(allowed)) if until is None else replace(until, steps=min(until.steps or MOST, *allowed))


Ledgers = Mapping[str, tuple[Gaussian, int]]
"""Task to its mechanism and how many noisy steps it made."""


def ledgers(server: Server) -> Ledgers:
    """What a server's memory says was released."""
    found: dict[str, tuple[Gaussian, int]] = {}
    for name, part in server.strategy.tasks.items():
        memory = server.state.memories.get(f"privacy.{name}")
        if isinstance(part.privacy, Gaussian) and isinstance(memory, Spent):
            found[name] = part.privacy, memory.releases
    return found


def statement(ledgers: Ledgers) -> dict[str, Any] | None:
    """What a summary says of privacy; None if no task is private."""
    if not ledgers:
        return None
    delta = min(p.delta for p, _ in ledgers.values())
    return {
        "epsilon": epsilon(ledgers.values(), delta),
        "delta": delta,
        "tasks": {
            n: {
                "epsilon": epsilon([(p, k)], p.delta),
                "releases": k,
                "counted": min(k, p.participations or k),
                "noise": p.noise,
                "clip": p.clip,
            }
            for n, (p, k) in ledgers.items()
        },
    }


def _library() -> Any:
    try:
        import dp_accounting
    except ImportError as e:
        raise MissingExtra("strategy.privacy: dp-accounting is not installed; pip install 'hocket[dp]'") from e
    return dp_accounting
