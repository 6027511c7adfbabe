"""``[fleet]``: synthetic devices, equal ones, ten classes of links, or rows of a Parquet file.

Units are seconds, bytes and bytes per second. A column is one number for all devices, or a list of one for each.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from msgspec import Struct, structs

from hocket.errors import InvalidInput
from hocket.experiment.call import plain
from hocket.experiment.strict import blaming, convert
from hocket.fleet import Always, Availability, Deterministic, Fleet, Law, Trace, ten_links

Column = float | tuple[float, ...]
COLUMNS = ("compute", "down", "up", "latency")
DEVICES = "devices.parquet"
"""What the file of a Parquet fleet is called in a run directory."""


class Rates(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A :class:`hocket.fleet.Trace`: ``rates`` written out, or those of an ``.npz`` archive at ``path``.

    ``path`` is relative to the experiment file; ``only``: the arrays whose names contain this.
    """

    rates: tuple[tuple[float, ...], ...] | None = None
    path: str | None = None
    only: str = ""
    step: float = 1.0

    def make(self, folder: Path) -> Trace:
        """The trace."""
        if (self.rates is None) == (self.path is None):
            raise InvalidInput("trace: give either rates or the path of an archive")
        if self.rates is not None:
            return Trace(self.rates, self.step)
        return Trace.read(folder / str(self.path), self.only, self.step)


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every kind of fleet may say; the names are those of :class:`hocket.Fleet`."""

    compute_law: Law = Deterministic()
    down_law: Law = Deterministic()
    up_law: Law = Deterministic()
    down_trace: Rates | None = None
    up_trace: Rates | None = None
    availability: Availability = Always()
    failure: float = 0.0
    dropout: float = 0.0
    links: Literal["fifo", "parallel"] = "fifo"
    egress: float | None = None
    undefined_is_free: bool = False


class Synthetic(Options, frozen=True, kw_only=True, tag_field="kind", tag="synthetic", forbid_unknown_fields=True):
    """:meth:`hocket.Fleet.synthetic`; ``seed`` is the experiment's if left out."""

    clients: int | None = None
    seed: int | None = None
    augmentation: float = 3.0
    latency: Column = 0.0
    compute: Column | None = None
    down: Column | None = None
    up: Column | None = None


class Equal(Options, frozen=True, kw_only=True, tag_field="kind", tag="equal", forbid_unknown_fields=True):
    """:meth:`hocket.Fleet.equal`: devices alike."""

    clients: int | None = None
    compute: float
    down: float
    up: float
    latency: Column = 0.0


class Parquet(Options, frozen=True, kw_only=True, tag_field="kind", tag="parquet", forbid_unknown_fields=True):
    """:meth:`hocket.Fleet.from_parquet`; ``path`` is relative to the experiment file."""

    path: str
    augmentation: float = 3.0
    latency: Column | None = None
    compute: Column | None = None
    down: Column | None = None
    up: Column | None = None


class Links(Struct, frozen=True, kw_only=True, tag_field="kind", tag="links", forbid_unknown_fields=True):
    """:func:`hocket.fleet.ten_links`: ten classes of links, thirteen-fold apart."""

    clients: int | None = None
    compute: float = 0.005
    server: float | None = 10e6
    scale: float = 1.0
    jitter: bool = True


Table = Synthetic | Equal | Parquet | Links


def read(value: object) -> Table:
    """The typed table."""
    parsed: Table = convert(value, Table, "fleet")
    return parsed


def make(parsed: Table, clients: int, seed: int, folder: Path) -> tuple[Fleet, dict[str, Any], dict[str, Path]]:
    """The fleet, its table with every value written out, and the files it was read from by their new names.

    Raises:
        InvalidInput: what the fleet itself refuses, with the key of the file.
    """
    arguments = {f: v for f, v in structs.asdict(parsed).items() if v is not None}
    files: dict[str, Path] = {}
    traces: dict[str, Any] = {}
    with blaming(arguments, "fleet"):
        for name in ("down_trace", "up_trace"):
            if (table := arguments.pop(name, None)) is not None:
                arguments[name], traces[name] = table.make(folder), table
                if table.path is not None:
                    files[f"{name}.npz"] = folder / table.path
                    traces[name] = structs.replace(table, path=f"{name}.npz")
        match parsed:
            case Synthetic():
                arguments = {"clients": clients, "seed": seed, **arguments}
                fleet = Fleet.synthetic(**arguments)
            case Equal():
                arguments = {"clients": clients, **arguments}
                fleet = Fleet.equal(**arguments)
            case Links():
                arguments = {"clients": clients, **arguments}
                fleet = ten_links(**arguments)
            case Parquet():
                files[DEVICES] = folder / parsed.path
                fleet = Fleet.from_parquet(**{**arguments, "path": files[DEVICES]})
                arguments["path"] = DEVICES
    return fleet, {"kind": str(parsed.__struct_config__.tag), **plain({**arguments, **traces})}, files


def own(table: Mapping[str, Any], fleet: Fleet, client: int) -> dict[str, Any]:
    """The table of a fleet, without files, whose device ``client`` is as it is in this one."""
    out = {name: table[name] for name in Options.__struct_fields__ if name in table}
    for name in ("down_trace", "up_trace"):
        if (trace := getattr(fleet, name)) is not None:
            out[name] = {"rates": [list(trace.rates[client % len(trace.rates)])], "step": trace.step}
    columns = {name: float(np.broadcast_to(getattr(fleet, name), len(fleet))[client]) for name in COLUMNS}
    return {"kind": "equal", "clients": len(fleet), **columns, **out}
