"""Devices in Parquet files, one row for each client, in one of two sets of columns.

hocket's own: ``compute_s_per_sample``, ``down_bytes_per_s``, ``up_bytes_per_s`` and, if they are there,
``latency_s`` and ``kind`` (name of the device's class). FedFetch's and FedScale's: ``computation_ms``,
``dl_kbps``, ``ul_kbps`` with a kbit of 1,024 bits; classes are then the terciles of compute. Other columns
are left alone; the order of the rows is the order of the clients.
"""

from os import PathLike
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from hocket.errors import InvalidInput
from hocket.fleet.synthetic import KBIT, KINDS, seconds_per_ms

Floats = NDArray[np.float64]

pa: Any = pyarrow  # has no type stubs
pq: Any = pyarrow.parquet

OWN = ("compute_s_per_sample", "down_bytes_per_s", "up_bytes_per_s")
FEDFETCH = ("computation_ms", "dl_kbps", "ul_kbps")
_ALLOWED = f"{', '.join(OWN)} (latency_s and kind if known), or {', '.join(FEDFETCH)}"


def read(path: str | PathLike[str], augmentation: float) -> dict[str, Any]:
    """Columns of a fleet by the names of its fields, in its units.

    Raises:
        InvalidInput: no such file, not Parquet, or a column that is missing, not numbers, or has gaps.
    """
    table = _table(path)
    found = list(table.column_names)
    fedfetch = not set(OWN) & set(found) and bool(set(FEDFETCH) & set(found))
    needed = FEDFETCH if fedfetch else OWN
    if missing := [name for name in needed if name not in found]:
        raise InvalidInput(
            f"{path}: column {', '.join(missing)} is missing; found {', '.join(found) or 'none'}; allowed: {_ALLOWED}"
        )
    compute, down, up = (_floats(path, table, name) for name in needed)
    if fedfetch:
        return {
            "compute": compute * seconds_per_ms(augmentation),
            "down": down * KBIT,
            "up": up * KBIT,
            "kind": _terciles(compute),
            "kinds": KINDS,
        }
    out: dict[str, Any] = {"compute": compute, "down": down, "up": up}
    if "latency_s" in found:
        out["latency"] = _floats(path, table, "latency_s")
    if "kind" in found:
        out["kinds"], out["kind"] = _classes(path, table)
    return out


def write(
    path: str | PathLike[str],
    compute: Floats,
    down: Floats,
    up: Floats,
    latency: Floats,
    kind: NDArray[np.str_],
) -> None:
    """Write hocket's own columns."""
    arrays = (compute, down, up, latency, pa.array(kind).dictionary_encode())
    pq.write_table(pa.table(dict(zip((*OWN, "latency_s", "kind"), arrays, strict=True))), path)


def _table(path: str | PathLike[str]) -> Any:
    try:
        table = pq.read_table(path)
        table.column_names  # noqa: B018  (raises where they are no text)
        return table
    except FileNotFoundError:
        raise InvalidInput(f"{path}: no such file; give a Parquet file of devices") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: not a Parquet file ({str(error).splitlines()[0]})") from None


def _whole(path: str | PathLike[str], table: Any, name: str) -> Any:
    column = table[name]
    if column.null_count:
        raise InvalidInput(f"{path}: column {name} has {column.null_count} gaps; give a value in every row")
    return column


def _floats(path: str | PathLike[str], table: Any, name: str) -> Floats:
    column = _whole(path, table, name)
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise InvalidInput(f"{path}: column {name} is {kind}; give numbers")
    return np.asarray(column.to_numpy(), np.float64)


def _classes(path: str | PathLike[str], table: Any) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    try:
        names = np.array([str(name) for name in _whole(path, table, "kind").to_pylist()])
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: column kind is no text ({error}); give names of classes") from None
    kinds, kind = np.unique(names, return_inverse=True)
    return tuple(kinds.tolist()), kind


def _terciles(compute: Floats) -> NDArray[np.int8]:
    return np.searchsorted(np.quantile(compute, (1 / 3, 2 / 3)), compute, side="left").astype(np.int8)
