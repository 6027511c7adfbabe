"""The data of all clients as one array, client after client, and two held-out splits."""

from collections.abc import Sequence
from typing import Self, TypeVar

import numpy as np
from msgspec import Struct
from msgspec.structs import force_setattr
from numpy.typing import ArrayLike, NDArray

from hocket.errors import InvalidInput

T = TypeVar("T", bound=np.generic)


class Examples(Struct, frozen=True, eq=False):
    """Inputs and their classes: ``features`` float32[n, d], ``labels`` int64[n]; both become read-only.

    Raises:
        InvalidInput: wrong shapes, a feature that is not finite (names the row), labels that are not whole.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    name: str = "examples"

    def __post_init__(self) -> None:
        with np.errstate(over="ignore"):
            features = _read_only(self.features, np.float32)
        given = np.asarray(self.labels)
        if features.ndim != 2:
            raise InvalidInput(f"{self.name}: features have shape {features.shape}; give [samples, features]")
        if given.shape != features.shape[:1]:
            raise InvalidInput(
                f"{self.name}: labels have shape {given.shape} for {len(features)} samples; give one per sample"
            )
        if given.dtype.kind not in "iu":
            raise InvalidInput(f"{self.name}: labels are {given.dtype}; give whole numbers from 0")
        if given.size and given.min() < 0:
            row = int(given.argmin())
            raise InvalidInput(f"{self.name}: label {given[row]} of row {row} is negative; classes count from 0")
        force_setattr(self, "features", features)
        force_setattr(self, "labels", _read_only(given, np.int64))

    def __len__(self) -> int:
        return len(self.labels)

    def check_finite(self) -> None:
        """Raise InvalidInput naming the first row with a feature that is not finite."""
        if (row := self.bad_row()) is not None:
            raise InvalidInput(f"{self.name}: row {row} has a feature that is not finite; repair or drop it")

    def bad_row(self) -> int | None:
        """The first row with a feature that is not finite, None if there is none."""
        if np.isfinite(self.features).all():
            return None
        return int(np.argmin(np.isfinite(self.features).all(axis=1)))


class ClientData(Struct, frozen=True, eq=False):
    """Training samples of every client, stacked, and the validation and test splits.

    Client i holds rows ``offsets[i]`` to ``offsets[i + 1]`` of ``train``; offsets are int64[clients + 1].

    Raises:
        InvalidInput: offsets that do not cover ``train``, a client without samples (named), features that are
            not finite (names client and row), splits that are empty or differ in their number of features.

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
                f"data: client {client}, its row {row - offsets[client]}: a feature is not finite; "
                "repair or drop the row"
            )
        for name, split in (("validation", self.validation), ("test", self.test)):
            if not len(split):
                raise InvalidInput(f"data: the {name} split is empty; hold some samples out")
            split.check_finite()
            if split.features.shape[1] != self.train.features.shape[1]:
                raise InvalidInput(
                    f"data: the {name} split has {split.features.shape[1]} features, training has "
                    f"{self.train.features.shape[1]}; they must agree"
                )

    @classmethod
    def partitioned(
        cls,
        train: Examples,
        parts: Sequence[NDArray[np.int64]],
        validation: Examples,
        test: Examples,
    ) -> Self:
        """Give client i the rows ``parts[i]`` of ``train``; rows in no part are left out."""
        offsets = np.concatenate([[0], np.cumsum([len(p) for p in parts], dtype=np.int64)])
        rows = np.concatenate([np.zeros(0, np.int64), *parts])
        stacked = Examples(train.features[rows], train.labels[rows], train.name)
        return cls(stacked, offsets, validation, test)

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


def _read_only(x: ArrayLike, dtype: type[T]) -> NDArray[T]:
    out = np.array(x, dtype, order="C", copy=None).view()
    out.flags.writeable = False
    return out
