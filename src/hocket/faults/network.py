"""The network between server and devices: it delays, loses, repeats, reorders, partitions and cuts in the middle.

Every message has a name of its own (direction, client, its number on that way), so a fault that is left out does
not change which others happen. A partition cuts one direction of one client for a window of time; a clog holds
everything back until its window ends and lets it go in any order.
"""

from typing import Literal

from msgspec.structs import replace

from hocket.faults.dice import Dice
from hocket.keyed import below, exponential, mix, uniform
from hocket.service.messages import Message, Update

Way = Literal["up", "down"]
KINDS = ("message lost", "message repeated", "message delayed", "message cut", "partition", "clog")


class Network:
    """When each message arrives, and how often.

    Args:
        dice: decides about faults.
        delay: what a message takes, ns.
        window: how long a partition or a clog lasts, ns.
    """

    def __init__(self, dice: Dice, delay: int, window: int) -> None:
        self._dice, self._delay, self._window = dice, delay, window
        self._sent: dict[tuple[Way, int], int] = {}
        self.lost = 0

    def carry(self, way: Way, message: Message, now: int, transfer: int = 0) -> list[tuple[int, Message]]:
        """Times (ns) and messages that arrive for one that is sent now and takes ``transfer`` ns to send."""
        dice, c = self._dice, message.client
        n = self._sent[way, c] = self._sent.get((way, c), -1) + 1
        who = (0 if way == "up" else 1, c, n)
        side, window = who[:2], now // self._window
        if dice.strikes("partition", *side, window) or dice.strikes("message lost", *who):
            self.lost += 1
            return []
        k = dice.key("delay", *who)
        at = now + transfer + self._delay
        if dice.strikes("message cut", *who):
            if not isinstance(message, Update):  # the rest fits in one packet: cut is lost
                self.lost += 1
                return []
            message = replace(message, body=message.body[: below(mix(k ^ 1), len(message.body))])
        if dice.strikes("message delayed", *who):
            at += int(self._window * exponential(k ^ 2))
        if dice.strikes("clog", *side, window):
            at = max(at, (window + 1) * self._window + int(self._delay * uniform(k ^ 3)))
        out = [(at, message)]
        while len(out) < 4 and dice.strikes("message repeated", *who, len(out)):
            out.append((at + int(self._window * exponential(mix(k ^ 4) ^ len(out))), message))
        return out
