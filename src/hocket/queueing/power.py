"""Watts of devices, and the joules of a task (2603.26231, section 6): E_i = P_c/mu_c + P_d/mu_d + P_u/mu_u."""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike

from hocket.errors import InvalidInput
from hocket.queueing.network import Floats

Watts = float | dict[str, float]


class Power(Struct, frozen=True, forbid_unknown_fields=True):
    """Watts while the processor works, while a download runs, while an upload runs: one number, or one per kind.

    Raises:
        InvalidInput: a number that is negative or not finite, or nothing but zeros.

    >>> Power(compute={"phone": 4.0, "laptop": 30.0}, upload=1.0).joules(("phone", "laptop"), [0, 1, 1], 2.0, 0.0, 3.0)
    array([11., 63., 63.])
    """

    compute: Watts = 0.0
    download: Watts = 0.0
    upload: Watts = 0.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            watts = getattr(self, name)
            for at, value in watts.items() if isinstance(watts, dict) else [("all devices", watts)]:
                if not 0.0 <= value < np.inf:
                    raise InvalidInput(f"power: {name} of {at} is {value}; give watts, 0 or more and finite")

    def joules(
        self, kinds: Sequence[str], kind: ArrayLike, compute: ArrayLike, download: ArrayLike, upload: ArrayLike
    ) -> Floats:
        """``float64[clients]``, E_i, from seconds at each station; ``kind`` are indices into ``kinds``.

        Raises:
            InvalidInput: a kind of device has no watts, or all of it comes to nothing.
        """
        total = np.zeros(np.shape(kind))
        for name, seconds in (("compute", compute), ("download", download), ("upload", upload)):
            total += self._watts(name, kinds)[np.asarray(kind)] * np.asarray(seconds)
        if not (total > 0).all():
            at = kinds[int(np.asarray(kind)[np.argmin(total)])]
            raise InvalidInput(f"power: a job of a {at} takes no energy; give watts for what it does")
        return total

    def _watts(self, name: str, kinds: Sequence[str]) -> Floats:
        watts = getattr(self, name)
        if not isinstance(watts, dict):
            return np.full(len(kinds), float(watts))
        if missing := [k for k in kinds if k not in watts]:
            raise InvalidInput(f"power: {name} has no watts for {missing[0]}; it has {', '.join(watts)}")
        return np.array([watts[k] for k in kinds], np.float64)
