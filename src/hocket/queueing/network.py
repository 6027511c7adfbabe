"""The closed network: a client's queue, its down and up links, the server, and tasks that go round for ever.

A task (a lease elsewhere in hocket: one gradient at one version of the model) is sent to a client drawn from the
routing probabilities p, travels down, waits for the client's processor (first come, first served), travels up, waits
for the server if applying an update takes time, and is then drawn anew. Transfers do not wait for each other. All
times are exponential; the links may have any law (delay stations are insensitive to it).

Source: Alahyane, Comte, Jonckheere, "Optimization trade-offs in asynchronous federated learning" (2603.26231),
sections 2 and 7; Leconte et al. (2405.00017). Rates of the papers are one over the mean times used here:
``compute`` is 1/mu_c, ``download`` 1/mu_d, ``upload`` 1/mu_u, ``server`` 1/mu_cs.
"""

from operator import index

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from hocket.errors import InvalidInput

Floats = NDArray[np.float64]


def _zero() -> Floats:
    return np.zeros(())


class Network(Struct, frozen=True, eq=False, forbid_unknown_fields=True):
    """Clients in classes of identical ones; class c has ``clients[c]`` of them. Arrays are read-only copies.

    Attributes:
        compute: ``float64[c]``, mean seconds of one task at the client's processor, above 0.
        download, upload: ``float64[c]``, mean seconds of a transfer; 0 is instantaneous.
        server: mean seconds the server takes to apply one update; 0 is at once.
        clients: ``float64[c]``, whole numbers, how many clients are in the class.

    One number in place of ``download``, ``upload`` or ``clients`` holds for all classes.

    Raises:
        InvalidInput: names the column, the class, its value and what is allowed.

    >>> net = Network(compute=[1.0, 0.25], clients=[3, 2])
    >>> net.size, net.uniform()
    (5, array([0.2, 0.2]))
    """

    compute: ArrayLike
    download: ArrayLike = msgspec.field(default_factory=_zero)
    upload: ArrayLike = msgspec.field(default_factory=_zero)
    server: float = 0.0
    clients: ArrayLike = msgspec.field(default_factory=lambda: np.ones(()))

    def __post_init__(self) -> None:
        compute = floats("compute", self.compute)
        if compute.ndim != 1 or not compute.size:
            raise InvalidInput(f"network: compute has shape {compute.shape}; give one number for each class of clients")
        columns = {"compute": compute, "download": self.download, "upload": self.upload, "clients": self.clients}
        for name, given in columns.items():
            column = spread(name, given, len(compute))
            if name == "clients":
                _each(name, column, (column >= 1) & (column == np.floor(column)), "a whole number, 1 or more")
            elif name == "compute":
                _each(name, column, column > 0, "seconds, above 0 and finite")
            else:
                _each(name, column, column >= 0, "seconds, 0 or more and finite")
            msgspec.structs.force_setattr(self, name, column)
        server = float(self.server)
        if not 0.0 <= server < np.inf:
            raise InvalidInput(f"network: server = {server}; give seconds, 0 or more and finite")
        msgspec.structs.force_setattr(self, "server", server)

    @property
    def counts(self) -> Floats:
        """``float64[c]``, clients in each class."""
        return np.asarray(self.clients)

    @property
    def size(self) -> int:
        """Number of clients, n."""
        return int(self.counts.sum())

    @property
    def processing(self) -> Floats:
        """``float64[c]``, mean seconds at the processor, 1/mu_c."""
        return np.asarray(self.compute)

    @property
    def travel(self) -> Floats:
        """``float64[c]``, mean seconds on the links, 1/mu_d + 1/mu_u."""
        seconds: Floats = np.add(self.download, self.upload)
        return seconds

    def uniform(self) -> Floats:
        """``float64[c]``, the routing in which every client has the same chance, 1/n."""
        return np.full(len(self.counts), 1.0 / self.size)

    def joules(self, compute: ArrayLike, download: ArrayLike = 0.0, upload: ArrayLike = 0.0) -> Floats:
        """``float64[c]``, joules of one task at a client of each class (E_i, 2603.26231 section 6).

        Arguments are watts while the processor works, while a download runs, while an upload runs.

        >>> Network(compute=[2.0], upload=[0.5]).joules(compute=10.0, upload=4.0)
        array([22.])
        """
        watts = [
            spread(f"{name} watts", given, len(self.counts))
            for name, given in (("compute", compute), ("download", download), ("upload", upload))
        ]
        times = (self.compute, self.download, self.upload)
        joules: Floats = np.sum([np.multiply(*pair) for pair in zip(watts, times, strict=True)], axis=0)
        return joules


def floats(name: str, given: ArrayLike) -> Floats:
    """A read-only copy as float64, every number finite."""
    try:
        array = np.array(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"network: {name} is not an array of numbers: {error}") from None
    if not np.isfinite(array).all():
        raise InvalidInput(f"network: {name} holds a number that is not finite; leave that class out")
    array.flags.writeable = False
    return array


def spread(name: str, given: ArrayLike, classes: int) -> Floats:
    """One number for each class; a single one holds for all."""
    array = floats(name, given)
    if array.ndim and array.shape != (classes,):
        raise InvalidInput(
            f"network: {name} has shape {array.shape}; give one number, or {classes}, one for each class"
        )
    return np.broadcast_to(array, (classes,))


def tasks(given: int) -> int:
    """A number of tasks in flight, 1 or more; numpy's integers will do."""
    try:
        whole = index(given)
    except TypeError:
        whole = 0
    if whole < 1:
        raise InvalidInput(f"in_flight = {given}: a whole number of tasks, 1 or more")
    return whole


def _each(name: str, column: Floats, good: NDArray[np.bool_], allowed: str) -> None:
    if not good.all():
        at = int(np.argmin(good))
        raise InvalidInput(f"network: {name}[{at}] = {column[at]:g}; give {allowed}")
