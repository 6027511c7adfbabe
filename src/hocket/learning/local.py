"""What a client does with a model before it sends it back: minibatch SGD on its own data.

One step on a batch B from weights w, started from w0:

    g = (1/|B|) sum of gradients + weight_decay * w + proximal * (w - w0)
    v = momentum * v + g            (v starts at 0 in every job)
    w = w - rate * v

| symbol | field | source |
|---|---|---|
| E, B, eta | ``epochs``, ``batch_size``, ``lr`` | FedAvg: McMahan et al., AISTATS 2017 |
| mu | ``proximal`` | FedProx: Li et al., MLSys 2020 |
"""

from math import isfinite

from msgspec import Struct
from msgspec.structs import force_setattr

from hocket.errors import InvalidInput


class LocalSGD(Struct, frozen=True, forbid_unknown_fields=True):
    """Local work of one job: how many samples in which batches, at which rate.

    Exactly one of ``epochs`` (passes over the client's data; the last, short batch of a pass is kept) and
    ``steps`` (batches of ``min(batch_size, n)`` samples from one shuffled pass after the other) is set; with
    neither, one epoch. The rate of a job that starts from version v is ``lr * decay ** (v // decay_every)``.

    Raises:
        InvalidInput: a value outside its range, or both ``epochs`` and ``steps``.

    >>> LocalSGD(lr=0.05, batch_size=10).samples(14), LocalSGD(lr=0.05, batch_size=10, steps=3).samples(14)
    (14, 30)
    """

    lr: float
    batch_size: int
    epochs: int | None = None
    steps: int | None = None
    momentum: float = 0.0
    weight_decay: float = 0.0
    proximal: float = 0.0
    decay: float = 1.0
    decay_every: int = 1

    def __post_init__(self) -> None:
        if self.epochs is not None and self.steps is not None:
            raise InvalidInput(f"local: epochs {self.epochs} and steps {self.steps} are both set; give one of them")
        if self.epochs is None and self.steps is None:
            force_setattr(self, "epochs", 1)
        for name in ("batch_size", "epochs", "steps", "decay_every"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InvalidInput(f"local: {name} is {value!r}; it must be a whole number, 1 or more")
        for name, allowed in _RANGES.items():
            value = getattr(self, name)
            if not isinstance(value, int | float) or not isfinite(value) or not _inside(value, allowed):
                raise InvalidInput(f"local: {name} is {value!r}; it must be in {allowed}")

    def samples(self, n: int) -> int:
        """Samples processed in one job by a client that holds ``n``."""
        return self.epochs * n if self.epochs is not None else self._steps * min(self.batch_size, n)

    def updates(self, n: int) -> int:
        """Gradient steps in one job by a client that holds ``n`` samples."""
        return self.epochs * -(-n // self.batch_size) if self.epochs is not None else self._steps

    def rate(self, version: int) -> float:
        """Learning rate of a job that starts from ``version``.

        >>> LocalSGD(lr=1.0, batch_size=1, decay=0.5, decay_every=10).rate(25)
        0.25
        """
        return self.lr * self.decay ** (version // self.decay_every)

    @property
    def _steps(self) -> int:
        assert self.steps is not None
        return self.steps


_RANGES = {
    "lr": "(0, inf)",
    "momentum": "[0, 1)",
    "weight_decay": "[0, inf)",
    "proximal": "[0, inf)",
    "decay": "(0, 1]",
}


def _inside(value: float, allowed: str) -> bool:
    low, high = (float(end) for end in allowed[1:-1].split(", "))
    above = value >= low if allowed[0] == "[" else value > low
    return above and (value <= high if allowed[-1] == "]" else value < high)
