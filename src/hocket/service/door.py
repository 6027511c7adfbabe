"""A listening socket that lets one address have so many connections, counted before a byte of them is read.

A connection counts from the moment it is accepted, in its handshake too, to the moment its socket is closed. One too
many is closed at once; nothing is said on it. All together may have three quarters of the files that the process may
open; the journal, and updates on their way, have the others. Were there none left, asyncio would look again and again
for the connection that it cannot accept, so one file is kept open to be closed for it.
"""

import errno
import os
import resource
import socket
from collections import Counter
from typing import Any, Self

OWN = 64  # files of our own, at least
AT_ONCE = 256  # turned away, before others have their turn


class Held(socket.socket):
    """An accepted connection, which is counted until it is closed."""

    door: "Door"
    address: str

    def close(self) -> None:
        if self.fileno() >= 0:
            self.door.left(self.address)
        super().close()


class Door(socket.socket):
    """Listens; ``most`` connections per address, ``room`` for all, ``turned_away`` of them were too many."""

    most: int
    room: int
    turned_away: int
    all: int
    spare: int
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
        door.most, door.room, door.turned_away, door.inside = most, room(), 0, Counter()
        door.all, door.spare = 0, os.open(os.devnull, os.O_RDONLY)
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
        for _ in range(AT_ONCE):
            try:
                connection, address = super().accept()
            except OSError as e:
                if e.errno not in (errno.EMFILE, errno.ENFILE):
                    raise
                self._make_room()
                continue
            name = str(address[0])
            if self.inside[name] < self.most and self.all < self.room:
                self.inside[name] += 1
                self.all += 1
                held = Held(self.family, self.type, self.proto, fileno=connection.detach())
                held.door, held.address = self, name
                return held, address
            self.turned_away += 1
            connection.close()
        raise BlockingIOError(errno.EAGAIN, "others wait for the loop, too")

    def _make_room(self) -> None:
        """Accept a connection that there is no file for, in place of the spare one, and close it."""
        os.close(self.spare)
        try:
            super().accept()[0].close()
            self.turned_away += 1
        finally:
            self.spare = os.open(os.devnull, os.O_RDONLY)

    def close(self) -> None:
        if self.fileno() >= 0:
            os.close(self.spare)
        super().close()

    def left(self, address: str) -> None:
        """A connection of an address is closed."""
        self.all -= 1
        self.inside[address] -= 1
        if not self.inside[address]:
            del self.inside[address]


def room() -> int:
    """Connections that there are files for."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1 << 30 if files == resource.RLIM_INFINITY else max(1, files - max(OWN, files // 4))
