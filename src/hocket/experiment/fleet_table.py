"""``[fleet]``: synthetic devices, equal ones, ten classes of links, or rows of a Parquet file.

Units are seconds, bytes and bytes per second. A column is one number for all devices, or a list of one for each.
"""

from pathlib import Path
from typing import Any, Literal

from msgspec import Struct, structs

from hocket.experiment.call import plain
from hocket.experiment.strict import blaming, convert
from hocket.fleet import Always, Availability, Deterministic, Fleet, Law, ten_links

Column = float | tuple[float, ...]
DEVICES = "devices.parquet"
"""What the file of a Parquet fleet is called in a run directory."""


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every kind of fleet may say; the names are those of :class:`hocket.Fleet`."""

    compute_law: Law = Deterministic()
    down_law: Law = Deterministic()
    up_law: Law = Deterministic()
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
    with blaming(arguments, "fleet"):
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
    return fleet, {"kind": str(parsed.__struct_config__.tag), **plain(arguments)}, files
