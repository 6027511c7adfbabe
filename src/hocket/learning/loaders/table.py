"""Tables in CSV or Parquet, and columns as float32 features without holes.

What fills a hole and what scales a column is computed from training rows only and kept in :class:`Encoder`.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.errors import InvalidInput

Columns = Mapping[str, NDArray[Any]]
_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"


def decode(raw: bytes, name: str = "table") -> dict[str, NDArray[Any]]:
    """The columns of a CSV file (plain or gzipped) or a Parquet file, by name.

    Numbers become float64 with NaN where a cell is empty, anything else text with ``""``.

    Raises:
        InvalidInput: not such a file, damaged, or without rows.

    >>> decode(b"site,age\\nA,63\\nB,")["age"].tolist()
    [63.0, nan]
    """
    import pyarrow as pa
    from pyarrow import csv, parquet

    try:
        if raw.startswith(_PARQUET):
            read = parquet.read_table(io.BytesIO(raw))
        else:
            plain = pa.CompressedInputStream(io.BytesIO(raw), "gzip") if raw.startswith(_GZIP) else io.BytesIO(raw)
            read = csv.read_csv(plain, convert_options=csv.ConvertOptions(strings_can_be_null=True))
    except (pa.ArrowException, OSError) as error:
        reason = str(error).split("\n")[0]
        raise InvalidInput(f"{name}: cannot be read as a table ({reason})") from None
    if not read.num_rows:
        raise InvalidInput(f"{name}: has no rows")
    return {column: _column(read[column]) for column in read.column_names}


def column(columns: Columns, name: str, table: str = "table") -> NDArray[Any]:
    """One column.

    Raises:
        InvalidInput: there is none of that name.
    """
    if name not in columns:
        raise InvalidInput(f"{table}: has no column {name!r}; it has {', '.join(columns)}")
    return columns[name]


class Encoder(Struct, frozen=True, eq=False):
    """Columns as features: numbers standardised, categories one-hot.

    ``numeric`` holds (column, median, mean, deviation): an empty cell becomes the median, then the mean is taken
    off and the rest divided by the deviation. ``categorical`` holds (column, categories): a feature per category, 1
    where the row has it; an empty cell, or a category that training has not seen, has none.

    >>> import numpy as np
    >>> columns = {"age": np.array([30.0, 50.0, np.nan, 40.0]), "site": np.array(["a", "b", "a", "c"])}
    >>> encoder = Encoder.fit(columns, ["age"], ["site"], rows=np.array([0, 1]))
    >>> encoder.encode(columns).tolist()
    [[-1.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """

    numeric: tuple[tuple[str, float, float, float], ...]
    categorical: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    @classmethod
    def fit(cls, columns: Columns, numeric: Sequence[str], categorical: Sequence[str], rows: NDArray[np.int64]) -> Self:
        """Learn medians, means, deviations and categories from ``rows``, the training rows.

        A column that never varies there has deviation 1; one that is empty there has median 0.

        Raises:
            InvalidInput: a column that is missing, or text where numbers are needed.
        """
        measured = []
        for name in numeric:
            x = _numbers(columns, name)[rows]
            known = x[np.isfinite(x)]
            median = float(np.median(known)) if known.size else 0.0
            x = np.where(np.isfinite(x), x, median)
            measured.append((name, median, float(x.mean()), float(x.std()) or 1.0))
        found = tuple((name, tuple(_categories(column(columns, name)[rows]))) for name in categorical)
        return cls(tuple(measured), found)

    def encode(self, columns: Columns) -> NDArray[np.float32]:
        """float32[rows, features], every value finite.

        Raises:
            InvalidInput: a column that is missing, or text where numbers are needed.
        """
        numbers = []
        for name, median, mean, deviation in self.numeric:
            x = _numbers(columns, name)
            numbers.append((np.where(np.isfinite(x), x, median) - mean) / deviation)
        kinds = [column(columns, name) == c for name, known in self.categorical for c in known]
        return np.stack([*numbers, *kinds], axis=1).astype(np.float32)


def _numbers(columns: Columns, name: str) -> NDArray[np.float64]:
    x = column(columns, name)
    if x.dtype.kind != "f":
        raise InvalidInput(f"column {name!r} holds text; name it as categorical")
    return x


def _categories(x: NDArray[Any]) -> list[Any]:
    known = x[x != ""] if x.dtype.kind == "U" else x[np.isfinite(x)]
    found: list[Any] = np.unique(known).tolist()
    return found


def _column(x: Any) -> NDArray[Any]:
    import pyarrow as pa

    if pa.types.is_dictionary(x.type):
        x = x.cast(x.type.value_type)
    if pa.types.is_integer(x.type) or pa.types.is_floating(x.type) or pa.types.is_boolean(x.type):
        numbers: NDArray[np.float64] = x.cast(pa.float64()).to_numpy()
        return numbers
    return np.array(["" if v is None else str(v) for v in x.to_pylist()])
