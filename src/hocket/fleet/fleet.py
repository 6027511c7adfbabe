"""The devices of a federation as arrays: how fast each one is, how it is linked, when it is there."""

from os import PathLike
from typing import Any, Literal, TypedDict, Unpack, cast

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from hocket.errors import InvalidInput
from hocket.fleet.availability import Always, Availability
from hocket.fleet.diurnal import Diurnal
from hocket.fleet.intervals import Intervals
from hocket.fleet.law import (
    Deterministic,
    Empirical,
    Exponential,
    HalfNormal,
    Law,
    LogNormal,
    ShiftedExponential,
)
from hocket.fleet.renewal import Renewal
from hocket.fleet.timing import Timing
from hocket.fleet.trace import Trace

Floats = NDArray[np.float64]
Links = Literal["fifo", "parallel"]

_LAWS = (Deterministic, Exponential, ShiftedExponential, HalfNormal, LogNormal, Empirical)
_AVAILABILITY = (Always, Intervals, Renewal, Diurnal)


SLOWEST = 1e9
"""Seconds, about 32 years: no sample, byte or transfer may take longer."""


class Options(TypedDict, total=False):
    """The fields of :class:`Fleet` that the constructors pass on; columns may be one number for all."""

    latency: ArrayLike
    compute_law: Law
    down_law: Law
    up_law: Law
    down_trace: Trace | None
    up_trace: Trace | None
    availability: Availability
    failure: float
    dropout: float
    links: Links
    egress: float | None
    kind: ArrayLike
    kinds: tuple[str, ...]
    undefined_is_free: bool


class Overrides(Options, total=False):
    """:class:`Options`, and the columns a generator or a file would otherwise give."""

    compute: ArrayLike
    down: ArrayLike
    up: ArrayLike


class Fleet(Struct, frozen=True, eq=False, forbid_unknown_fields=True):
    """One row per client; client i is row i. All arrays are read-only copies.

    Attributes:
        compute: ``float64[n]``, seconds per sample of a model of cost 1.
        down, up: ``float64[n]``, bytes per second; ``inf`` is an instantaneous link.
        latency: ``float64[n]``, seconds added to each transfer; default 0.
        compute_law, down_law, up_law: how durations vary around these means.
        down_trace, up_trace: how the rate of a link changes with time around its mean; None: not at all.
        availability: when devices are there.
        failure: chance that a lease fails mid-work and the server is told at once.
        dropout: chance that a device goes silent mid-work and the server learns by a deadline only.
        links: whether one client's transfers queue ("fifo") or overlap ("parallel").
        egress: what the server can upload, bytes per second, shared by its transfers; None is no limit.
        kind: ``int8[n]``, the class of each device for reports, an index into ``kinds``.
        kinds: names of the classes.
        undefined_is_free: whether a ``compute`` of 0 is allowed. An unknown cost is an error, not a zero.

    A single number in place of ``down``, ``up``, ``latency`` or ``kind`` holds for all clients.

    Raises:
        InvalidInput: names the client, the column, its value and what is allowed.

    >>> import numpy as np
    >>> fleet = Fleet(compute=np.array([0.01, 0.2]), down=np.array([1e6, 1e5]), up=np.array([5e5, 2e4]))
    >>> len(fleet), fleet.timing(seed=0).upload(1, 20_000, k=7)
    (2, 1000000000)
    """

    compute: Floats
    down: Floats
    up: Floats
    latency: Floats = msgspec.field(default_factory=lambda: np.zeros(()))
    compute_law: Law = Deterministic()
    down_law: Law = Deterministic()
    up_law: Law = Deterministic()
    down_trace: Trace | None = None
    up_trace: Trace | None = None
    availability: Availability = Always()
    failure: float = 0.0
    dropout: float = 0.0
    links: Links = "fifo"
    egress: float | None = None
    kind: NDArray[np.int8] = msgspec.field(default_factory=lambda: np.zeros((), np.int8))
    kinds: tuple[str, ...] = ("device",)
    undefined_is_free: bool = False

    def __post_init__(self) -> None:
        compute = _floats("compute", self.compute)
        if compute.ndim != 1 or not compute.size:
            raise InvalidInput(f"fleet: compute has shape {compute.shape}; give one number for each client")
        lowest = "0 or more" if self.undefined_is_free else "above 0 (or set undefined_is_free=True)"
        bad = (compute < 0.0) | ~(compute <= SLOWEST)
        _refuse(bad if self.undefined_is_free else bad | (compute == 0.0), "compute", compute, " s/sample", lowest)
        self._fix("compute", compute)
        for name in ("down", "up"):
            rate = self._column(name)
            _refuse(~(rate >= 1 / SLOWEST), name, rate, " B/s", "above 0, at least 1e-9 (inf = instantaneous)")
            self._fix(name, rate)
        latency = self._column("latency")
        _refuse(~((latency >= 0.0) & (latency <= SLOWEST)), "latency", latency, " s", "from 0 to 1e9")
        self._fix("latency", latency)
        self._check_kinds()
        self._check_scalars()

    def __repr__(self) -> str:
        each = ", ".join(f"{int((self.kind == i).sum())} {name}" for i, name in enumerate(self.kinds))
        rates = ", ".join(f"{w} {np.median(getattr(self, w)):.3g} B/s" for w in ("down", "up"))
        return f"<Fleet of {len(self)}: {each}; medians: compute {np.median(self.compute):.3g} s/sample, {rates}>"

    def __len__(self) -> int:
        return len(self.compute)

    @classmethod
    def equal(cls, clients: int, compute: float, down: float, up: float, **options: Unpack[Options]) -> "Fleet":
        """``clients`` devices alike: ``compute`` in s per sample, ``down`` and ``up`` in bytes per second.

        >>> Fleet.equal(3, compute=0.01, down=1e6, up=float("inf")).down.tolist()
        [1000000.0, 1000000.0, 1000000.0]
        """
        return cls._of(_count(clients), {"compute": compute, "down": down, "up": up, **options})

    @classmethod
    def synthetic(
        cls, clients: int, seed: int = 0, augmentation: float = 3.0, **overrides: Unpack[Overrides]
    ) -> "Fleet":
        """Devices drawn from the quantiles of FedFetch's 9,242 (:mod:`hocket.fleet.synthetic`).

        Client i's device depends on (seed, i) only. ``augmentation`` is training time over the measured
        inference time: 3.0 in FedScale, 0.4 in FedFetch. The classes are the
        terciles of compute: fast, mid, slow.

        >>> Fleet.synthetic(10, seed=1).up[3] == Fleet.synthetic(1000, seed=1).up[3]
        np.True_
        """
        from hocket.fleet import synthetic  # loads scipy, which is slower to import than all of hocket

        return cls._of(_count(clients), {**synthetic.columns(_count(clients), seed, augmentation), **overrides})

    @classmethod
    def from_parquet(
        cls, path: str | PathLike[str], augmentation: float = 3.0, **overrides: Unpack[Overrides]
    ) -> "Fleet":
        """Devices from a file, one row each: hocket's columns or FedFetch's (:mod:`hocket.fleet.parquet`).

        Raises:
            InvalidInput: no such file, not Parquet, or a column that is missing or has gaps.
        """
        from hocket.fleet import parquet  # loads pyarrow

        columns = parquet.read(path, augmentation)
        return cls._of(len(columns["compute"]), {**columns, **overrides})

    def to_parquet(self, path: str | PathLike[str]) -> None:
        """Write the columns (not the laws, availability and chances) for :meth:`from_parquet`."""
        from hocket.fleet import parquet

        names = np.array(self.kinds)[self.kind]
        parquet.write(path, self.compute, self.down, self.up, self.latency, names)

    def timing(self, seed: int) -> Timing:
        """Scalar access for the hot path; the draws of its laws are keyed by ``seed``."""
        return Timing(self, seed)

    @classmethod
    def _of(cls, clients: int, fields: dict[str, Any]) -> "Fleet":
        compute = _floats("compute", fields["compute"])
        if compute.ndim == 0:
            compute = np.full(clients, compute)
        if compute.shape != (clients,):
            raise InvalidInput(f"fleet: compute has shape {compute.shape} for {clients} clients; give one for each")
        fields["compute"] = compute
        return cls(**fields)

    def _column(self, name: str) -> Floats:
        values = _floats(name, getattr(self, name))
        if values.ndim == 0:
            return np.full(len(self), values)
        if values.shape != (len(self),):
            raise InvalidInput(
                f"fleet: {name} has shape {values.shape} and compute ({len(self)},); "
                "give one number for each client, or one for all"
            )
        return values

    def _fix(self, name: str, values: NDArray[Any]) -> None:
        values.setflags(write=False)
        msgspec.structs.force_setattr(self, name, values)

    def _check_kinds(self) -> None:
        kind, kinds = self._column("kind"), self.kinds
        if not 0 < len(kinds) <= 127 or len(set(kinds)) != len(kinds):
            raise InvalidInput(f"fleet: kinds={kinds!r}; give 1 to 127 different names")
        allowed = f"0 to {len(kinds) - 1}, an index into {', '.join(kinds)}"
        _refuse(~np.isin(kind, np.arange(len(kinds))), "kind", kind, "", allowed)
        self._fix("kind", kind.astype(np.int8))

    def _check_scalars(self) -> None:
        for name in ("failure", "dropout"):
            if not 0.0 <= (chance := getattr(self, name)) <= 1.0:
                raise InvalidInput(f"fleet: {name}={chance}; give a chance from 0 to 1")
        if self.failure + self.dropout > 1.0:
            raise InvalidInput(
                f"fleet: failure={self.failure} and dropout={self.dropout} add up to more than 1; lower one"
            )
        if self.links not in ("fifo", "parallel"):
            raise InvalidInput(f"fleet: links={self.links!r}; give 'fifo' or 'parallel'")
        if self.egress is not None and not 0.0 < self.egress < float("inf"):
            raise InvalidInput(f"fleet: egress={self.egress} B/s; give a rate above 0, or None for no limit")
        if self.egress is not None and self.down_trace is not None:
            raise InvalidInput("fleet: egress and down_trace; a shared link has no trace of each client, leave one out")
        for name in ("down_trace", "up_trace"):
            if not isinstance(trace := getattr(self, name), Trace | None):
                raise InvalidInput(f"fleet: {name}={trace!r}; give a Trace")
        laws = ((name, _LAWS) for name in ("compute_law", "down_law", "up_law"))
        for name, allowed in (*laws, ("availability", _AVAILABILITY)):
            if not isinstance(value := getattr(self, name), allowed):
                names = ", ".join(t.__name__ for t in allowed)
                raise InvalidInput(f"fleet: {name}={value!r}; give one of {names}")


def _floats(name: str, values: object) -> Floats:
    try:
        return np.array(cast("ArrayLike", values), np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"fleet: {name} is not numbers ({error}); give one for each client") from None


def _refuse(bad: NDArray[np.bool_], name: str, values: Floats, unit: str, allowed: str) -> None:
    if bad.any():
        client = int(np.flatnonzero(bad)[0])
        rest = f" ({int(bad.sum()) - 1} more like it)" if bad.sum() > 1 else ""
        raise InvalidInput(f"client {client} has {name}={values[client]:g}{unit}{rest}; it must be {allowed}")


def _count(clients: int) -> int:
    if clients < 1:
        raise InvalidInput(f"fleet: clients={clients}; give at least 1")
    return clients
