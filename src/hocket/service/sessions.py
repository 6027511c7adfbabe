"""Sessions: one device at a time speaks for a client, and every request counts once.

A session belongs to one life of the server. It is opened over a challenge of the server's, so an opening cannot be
replayed. While the newest session of a client is alive, another one is only opened by who shows its name, which is a
device that was started again: of two devices with one key, the second is refused. Numbers of requests are looked up
in a sliding window (as RFC 4303, section 3.4.3): each counts once, those far behind the newest are refused.
"""

import hmac
import secrets
from collections.abc import Callable
from hashlib import sha256

from msgspec import Struct

WINDOW = 1024
CHALLENGE_S = 60.0


class Session(Struct, eq=False):
    """An open session; ``seen``: a bit per number, the newest is bit 0; ``last``: when it was heard from, s."""

    name: str
    key: str
    client: int
    last: float
    newest: int = 0
    seen: int = 0

    def takes(self, number: int) -> bool:
        """Whether a number is new; it is not a second time.

        >>> s = Session("", "", 0, 0.0)
        >>> [s.takes(n) for n in (1, 3, 2, 3, 2000, 3)]
        [True, True, True, False, True, False]
        """
        if number > self.newest:
            self.seen = (self.seen << min(number - self.newest, WINDOW) | 1) & ((1 << WINDOW) - 1)
            self.newest = number
            return True
        bit = self.newest - number
        if number < 1 or bit >= WINDOW or self.seen >> bit & 1:
            return False
        self.seen |= 1 << bit
        return True


class Sessions:
    """All sessions of one life of the server.

    Args:
        clock: seconds, monotonic.
        alive: seconds of silence after which a session may be taken over by whoever has the key.
    """

    def __init__(self, clock: Callable[[], float], alive: float) -> None:
        self._clock, self._alive = clock, alive
        self._secret = secrets.token_bytes(32)
        self._sessions: dict[str, Session] = {}
        self._newest: dict[int, Session] = {}
        self._used: dict[str, float] = {}
        self.shared = 0  # openings refused because the client has a live session

    def challenge(self) -> str:
        """Something to sign, good for a minute; nothing is kept for it."""
        text = f"{int(self._clock() * 1000):x}.{secrets.token_hex(8)}"
        return f"{text}.{self._mac(text)}"

    def _mac(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), sha256).hexdigest()[:32]

    def fresh(self, challenge: str) -> bool:
        """Whether a challenge is ours, young and not used."""
        text, _, mac = challenge.rpartition(".")
        if not hmac.compare_digest(mac.encode(), self._mac(text).encode()):
            return False
        return self._clock() - int(text.partition(".")[0], 16) / 1000 <= CHALLENGE_S and challenge not in self._used

    def open(self, client: int, key: str, challenge: str, previous: str) -> Session | None:
        """A new session for a proven key; None: the client has a live one that is not ``previous``."""
        now = self._clock()
        self._used = {c: at for c, at in self._used.items() if now - at <= CHALLENGE_S}
        self._used[challenge] = now
        before = self._newest.get(client)
        if before is not None:
            known = hmac.compare_digest(before.name.encode(), previous.encode())
            if before.key == key and not known and now - before.last <= self._alive:
                self.shared += 1
                return None
            del self._sessions[before.name]
        session = Session(secrets.token_hex(16), key, client, now)
        self._sessions[session.name] = self._newest[client] = session
        return session

    def find(self, name: str) -> Session | None:
        """The session of a name."""
        return self._sessions.get(name)

    def heard(self, session: Session) -> None:
        """A device has proven that it is there."""
        session.last = self._clock()

    def end(self, client: int) -> None:
        """No session of a client is open any more."""
        if (session := self._newest.pop(client, None)) is not None:
            self._sessions.pop(session.name, None)

    def __len__(self) -> int:
        return len(self._sessions)
