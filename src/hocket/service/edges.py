"""Bytes of edges by their digest: read from the book once, sent to many, and whole or not at all."""

from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256

from hocket.lease import Edge

LIMIT = 1 << 30  # bytes kept at most, the newest one always


class Edges:
    """The newest edges that somebody asked for; ``read`` by one thread, ``find`` by any.

    >>> from hocket.lease import Node
    >>> edges = Edges(lambda edge: b"model")
    >>> edges.read(Edge(Node("a", 1), None, 5))
    b'model'
    >>> edges.find(edges.digest(b"model"))
    b'model'
    """

    def __init__(self, read: Callable[[Edge], bytes], limit: int = LIMIT) -> None:
        self._read, self._limit = read, limit
        self._names: OrderedDict[Edge, str] = OrderedDict()
        self._data: dict[str, bytes] = {}
        self._size = 0

    def read(self, edge: Edge) -> bytes:
        """The bytes of an edge."""
        name = self._names.get(edge)
        if name is not None:
            self._names.move_to_end(edge)
            return self._data[name]
        data = self._read(edge)
        name = self.digest(data)
        if name not in self._data:
            self._size += len(data)
            self._data[name] = data
        self._names[edge] = name
        while self._size > self._limit and len(self._names) > 1:
            self._drop(self._names.popitem(last=False)[1])
        return data

    def _drop(self, name: str) -> None:
        if name not in self._names.values():
            self._size -= len(self._data.pop(name))

    def find(self, name: str) -> bytes | None:
        """The bytes of a digest, if they are kept."""
        return self._data.get(name)

    @staticmethod
    def digest(data: bytes) -> str:
        """64 hex digits of SHA-256."""
        return sha256(data).hexdigest()
