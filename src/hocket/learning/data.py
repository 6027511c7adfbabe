"""The data of all clients as one array, client after client, and two held-out splits."""

from collections.abc import Sequence
from typing import Any, Self, TypeVar

import numpy as np
from msgspec import Struct
from msgspec.structs import force_setattr
from numpy.typing import ArrayLike, NDArray

from hocket.errors import InvalidInput

T = TypeVar("T", bound=np.generic)
Rows = NDArray[np.int64]


class Examples(Struct, frozen=True, eq=False):
    """Inputs and what belongs to them; both arrays become read-only and are shared, not copied.

    Args:
        features: [n, ...] in float32, uint8 (pixels, a byte each until they are used) or int64 (characters).
            Other numbers are converted: whole ones to int64, the rest to float32.
        labels: int64[n] classes, float32[n] values to predict, or int64[n, T] a class per position.
        name: what messages call it.

    Raises:
        InvalidInput: wrong shapes, something that is not a number, a negative class (names the row).

    >>> import numpy as np
    >>> images = Examples(np.zeros((3, 8, 8), np.uint8), [0, 2, 1])
    >>> images.features.dtype.name, images.labels.dtype.name, len(images)
    ('uint8', 'int64', 3)
    """

    features: NDArray[Any]
    labels: NDArray[Any]
    name: str = "examples"

    def __post_init__(self) -> None:
        features: NDArray[Any] = np.asarray(self.features)
        labels: NDArray[Any] = np.asarray(self.labels)
        for what, given in (("features", features), ("labels", labels)):
            if given.dtype.kind not in "iuf":
                raise InvalidInput(f"{self.name}: {what} are {given.dtype}; give numbers")
        if features.ndim < 2:
            raise InvalidInput(f"{self.name}: features have shape {features.shape}; give [samples, ...]")
        whole = labels.dtype.kind in "iu"
        if labels.shape != features.shape[:1] and not (whole and labels.shape[:1] == features.shape[:1]):
            raise InvalidInput(
                f"{self.name}: labels have shape {labels.shape} for {len(features)} samples; give one per sample"
            )
        if labels.ndim > 2:
            raise InvalidInput(f"{self.name}: labels have shape {labels.shape}; give [samples] or [samples, positions]")
        if whole and labels.size and labels.min() < 0:
            row = int(np.argwhere(labels < 0)[0][0])
            bad = labels[row].min()
            raise InvalidInput(f"{self.name}: label {bad} of row {row} is negative; classes count from 0")
        kept = features.dtype == np.uint8
        force_setattr(self, "features", _read_only(features, np.uint8) if kept else _plain(features))
        force_setattr(self, "labels", _plain(labels))

    def __repr__(self) -> str:
        return (
            f"<Examples {self.name}: features {_kind(self.features)}, labels {_kind(self.labels)}, n = {len(self):,}>"
        )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64] | slice, name: str | None = None) -> "Examples":
        """These rows as examples of their own: a view for a slice, a copy for an array of indices."""
        return Examples(self.features[rows], self.labels[rows], name or self.name)

    def check_finite(self) -> None:
        """Raise InvalidInput naming the first row with a value that is not finite."""
        if (row := self.bad_row()) is not None:
            raise InvalidInput(f"{self.name}: row {row} has a value that is not finite; repair or drop it")

    def bad_row(self) -> int | None:
        """The first row with a value that is not finite, None if there is none."""
        rows = [_not_finite(a) for a in (self.features, self.labels) if a.dtype.kind == "f"]
        return min((r for r in rows if r is not None), default=None)


class ClientData(Struct, frozen=True, eq=False):
    """Training samples of every client, stacked, and the validation and test splits.

    Client i holds rows ``offsets[i]`` to ``offsets[i + 1]`` of ``train``; offsets are int64[clients + 1].

    Raises:
        InvalidInput: offsets that do not cover ``train``, a client without samples (named), values that are
            not finite (names client and row), splits that are empty or of another shape or type than ``train``.

    >>> import numpy as np
    >>> rows = Examples(np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1]))
    >>> ClientData(rows, np.array([0, 3, 4]), validation=rows, test=rows).samples.tolist()
    [3, 1]
    """

    train: Examples
    offsets: NDArray[np.int64]
    validation: Examples
    test: Examples

    def __post_init__(self) -> None:
        offsets = _read_only(self.offsets, np.int64)
        force_setattr(self, "offsets", offsets)
        total = len(self.train)
        if offsets.ndim != 1 or len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != total:
            raise InvalidInput(f"data: offsets must be [clients + 1] numbers from 0 to {total}, the training samples")
        sizes = np.diff(offsets)
        if (empty := np.flatnonzero(sizes < 1)).size:
            raise InvalidInput(
                f"data: client {empty[0]} has {sizes[empty[0]]} samples; every client needs one; leave it "
                "out or partition with a minimum"
            )
        if (row := self.train.bad_row()) is not None:
            client = int(np.searchsorted(offsets, row, side="right")) - 1
            raise InvalidInput(
                f"data: client {client}, its row {row - offsets[client]}: a value is not finite; repair or drop the row"
            )
        for name, split in (("validation", self.validation), ("test", self.test)):
            if not len(split):
                raise InvalidInput(f"data: the {name} split is empty; hold some samples out")
            split.check_finite()
            for what, own, trained in (
                ("features", split.features, self.train.features),
                ("labels", split.labels, self.train.labels),
            ):
                if own.shape[1:] != trained.shape[1:] or own.dtype != trained.dtype:
                    raise InvalidInput(
                        f"data: the {name} split has {what} {_kind(own)}, training has {_kind(trained)}; "
                        "they must agree"
                    )

    def __repr__(self) -> str:
        n = self.samples
        held = f"validation {len(self.validation):,}, test {len(self.test):,}"
        return f"<ClientData of {len(n):,} clients with {n.min():,} to {n.max():,} samples; {held}>"

    @classmethod
    def partitioned(
        cls,
        train: Examples,
        parts: Sequence[Rows],
        validation: Examples,
        test: Examples,
    ) -> Self:
        """Give client i the rows ``parts[i]`` of ``train``; rows in no part are left out.

        Raises:
            InvalidInput: no parts, or a row that ``train`` does not have; and what the class refuses.
        """
        if not len(parts):
            raise InvalidInput("data: there are no clients; give the rows of each")
        for client, part in enumerate(parts):
            _check_rows(part, len(train), f"client {client}")
        offsets = np.concatenate([[0], np.cumsum([len(p) for p in parts], dtype=np.int64)])
        rows = np.concatenate([np.zeros(0, np.int64), *parts])
        return cls(train.take(rows), offsets, validation, test)

    @classmethod
    def divided(cls, known: Examples, parts: Sequence[Rows], validation: Rows, test: Rows) -> Self:
        """Give client i the rows ``parts[i]`` of ``known``, and hold out other rows of it for both splits.

        Raises:
            InvalidInput: a row that ``known`` does not have, or that is held out and trained on (names both).
        """
        name, trained = known.name, np.zeros(len(known), bool)
        for client, part in enumerate(parts):
            _check_rows(part, len(known), f"client {client}")
            trained[part] = True
        for split, held_out in (("validation", validation), ("test", test)):
            _check_rows(held_out, len(known), f"the {split} split")
            if (both := np.flatnonzero(trained[held_out])).size:
                raise InvalidInput(
                    f"data: row {held_out[both[0]]} is in the {split} split and in a client's training samples; hold "
                    "out others"
                )
        held = (known.take(rows, f"{name} {split}") for rows, split in ((validation, "validation"), (test, "test")))
        return cls.partitioned(Examples(known.features, known.labels, f"{name} train"), parts, *held)

    @property
    def samples(self) -> NDArray[np.int64]:
        """Samples of each client, int64[clients]."""
        return np.diff(self.offsets)

    def split(self, name: str) -> Examples:
        """The ``"validation"`` or the ``"test"`` split.

        Raises:
            InvalidInput: another name.
        """
        if name == "validation":
            return self.validation
        if name == "test":
            return self.test
        raise InvalidInput(f"split {name!r} does not exist; ask for 'validation' or 'test'")


def _check_rows(rows: Rows, n: int, whose: str) -> None:
    given = np.asarray(rows)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise InvalidInput(f"data: {whose} has rows {given.dtype}{list(given.shape)}; give the numbers of its rows")
    if (bad := given[(given < 0) | (given >= n)]).size:
        raise InvalidInput(f"data: {whose} has row {bad[0]}; there are rows 0 to {n - 1}")


def _plain(x: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        return _read_only(x, np.float32) if x.dtype.kind == "f" else _read_only(x, np.int64)


def _not_finite(x: NDArray[Any]) -> int | None:
    finite = np.isfinite(x)
    return None if finite.all() else int(np.argmin(finite.reshape(len(x), -1).all(axis=1)))


def _kind(x: NDArray[Any]) -> str:
    return f"{x.dtype}[{', '.join(['n', *map(str, x.shape[1:])])}]"


def _read_only(x: ArrayLike, dtype: type[T]) -> NDArray[T]:
    out = np.array(x, dtype, order="C", copy=None).view()
    out.flags.writeable = False
    return out
