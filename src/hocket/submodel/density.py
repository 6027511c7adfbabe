"""Densities that let all clients take the same time: multiplicative steps with a dead band.

    gap_i = (t_i - t) / t_i          t_i mean round time of client i, t the time to be reached
    rho_i <- rho_i - gain (t_i - t) / slope_i          where |gap_i| > dead, kept within [floor_i, 1]

t is the least time in which any client could train the whole model. slope_i, the seconds that density costs client i,
is fitted to the times measured at different densities; until there are two, time is taken to be proportional to
density, slope_i = t_i / rho_i, which gives the released code's rho_i <- rho_i (1 - gain gap_i). Where density does not
change the time (masks do not make computing faster), the fit says so and the density stays. The formula printed in the
paper, rho_i = max(t / t_i, rho_min), takes times measured under the current densities for those of the full model:
once times are equal it returns to the full model, and so on for ever.

Ma, "Federated learning based on pruning and recovery", 2024 (arXiv 2403.15439), and the released code of April 2024.
"""

from collections.abc import Sequence

from msgspec import Struct

from hocket.errors import InvalidInput

FLAT = 0.05
"""A slope below this share of t/rho counts as none: density is not what takes the time."""


class Controller(Struct, frozen=True, forbid_unknown_fields=True):
    """Gain, dead band (a share of a client's time) and the number of digits that densities are rounded to."""

    gain: float = 0.9
    dead: float = 0.05
    digits: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.gain <= 1 or not 0 <= self.dead < 1 or not 1 <= self.digits <= 6:
            raise InvalidInput(
                f"controller: gain = {self.gain}, dead = {self.dead}, digits = {self.digits}; the gain is in (0, 1], "
                "the dead band in [0, 1), digits are 1 to 6"
            )

    def adjust(
        self,
        densities: Sequence[float],
        times: Sequence[float],
        floors: Sequence[float],
        seen: Sequence[Sequence[tuple[float, float]]],
    ) -> list[float]:
        """Densities after one step.

        Args:
            densities: now, in (0, 1].
            times: mean round times under them, seconds; 0 for a client that was not heard of.
            floors: least densities.
            seen: per client, (density, mean time) of the intervals before this one.

        >>> c = Controller()
        >>> c.adjust([1.0, 1.0], [10.0, 40.0], [0.05, 0.05], [[], []])
        [1.0, 0.32]
        """
        now = [(*s, (rho, t)) for s, rho, t in zip(seen, densities, times, strict=True)]
        slopes = [slope(points) if t > 0 else 0.0 for points, t in zip(now, times, strict=True)]
        whole = [t + s * (1 - rho) for rho, t, s in zip(densities, times, slopes, strict=True) if t > 0]
        if not whole:
            return list(densities)
        target = min(whole)
        out = []
        for rho, t, s, floor in zip(densities, times, slopes, floors, strict=True):
            if t <= 0 or abs(t - target) <= self.dead * t or s <= FLAT * t / rho:
                out.append(max(rho, floor))
                continue
            moved = round(rho - self.gain * (t - target) / s, self.digits)
            out.append(min(1.0, max(moved, floor)))
        return out


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Seconds per unit of density: least squares through (density, time), or time over density of a single density.

    >>> slope([(0.5, 6.0)]), slope([(1.0, 11.0), (0.5, 6.0)])
    (12.0, 10.0)
    """
    rho = [p[0] for p in points]
    mean = sum(rho) / len(rho)
    spread = sum((r - mean) ** 2 for r in rho)
    last, time = points[-1]
    if max(rho) - min(rho) < 0.02:
        return time / last
    middle = sum(p[1] for p in points) / len(points)
    return max(0.0, sum((r - mean) * (t - middle) for r, t in points) / spread)
