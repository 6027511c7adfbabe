"""A listening socket that lets one address have so many connections, counted before a byte of them is read.

A connection counts from the moment it is accepted, in its handshake too, to the moment its socket is closed. One too
many is closed at once; nothing is said on it.
"""

import socket
from collections import Counter
from typing import Any, Self


class Held(socket.socket):
    """An accepted connection, which is counted until it is closed."""

    door: "Door"
    address: str

    def close(self) -> None:
        if self.fileno() >= 0:
            self.door.left(self.address)
        super().close()


class Door(socket.socket):
    """Listens; ``most`` connections per address, ``turned_away`` of them were too many."""

    most: int
    turned_away: int
    inside: Counter[str]

    @classmethod
    def open(cls, host: str, port: int, most: int, backlog: int) -> Self:
        """Listen at the first address that a host has.

        Raises:
            OSError: the address cannot be used.
        """
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        door = cls(family, kind, protocol)
        door.most, door.turned_away, door.inside = most, 0, Counter()
        try:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            door.bind(address)
            door.listen(backlog)
            door.setblocking(False)
        except OSError:
            door.close()
            raise
        return door

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection that is not one too many.

        Raises:
            BlockingIOError: there is none.
        """
        while True:
            connection, address = super().accept()
            name = str(address[0])
            if self.inside[name] < self.most:
                break
            self.turned_away += 1
            connection.close()
        self.inside[name] += 1
        held = Held(self.family, self.type, self.proto, fileno=connection.detach())
        held.door, held.address = self, name
        return held, address

    def left(self, address: str) -> None:
        """A connection of an address is closed."""
        self.inside[address] -= 1
        if not self.inside[address]:
            del self.inside[address]
