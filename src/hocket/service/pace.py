"""How long a device takes where it only plays a device: the times that the simulator draws for it."""

import asyncio
from time import monotonic_ns

from hocket.fleet import Fleet
from hocket.record.account import Station


class Pace:
    """Times of one device of a fleet."""

    def __init__(self, fleet: Fleet, seed: int, client: int) -> None:
        self._timing, self._client = fleet.timing(seed), client

    async def keep(self, station: Station, began: int, amount: float, k: int) -> None:
        """Wait until work that began at a time (monotonic, ns) would be over; ``amount`` as in a clock's ``finish``."""
        timing, c = self._timing, self._client
        if station == "train":
            took = timing.train(c, amount, k)
        else:
            took = (timing.download if station == "download" else timing.upload)(c, int(amount), k, began)
        left = began + took - monotonic_ns()
        if left > 0:
            await asyncio.sleep(left / 1e9)
