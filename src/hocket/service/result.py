"""What a run in real time leaves."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from hocket.record.curve import Curve
from hocket.record.log import EventLog
from hocket.schema import Vector


class LoopbackResult(Struct, frozen=True):
    """``summary`` has the keys of a simulation's; ``models`` are the published ones, float32[size] by task.

    ``snapshot`` is the server's memory at the end, ``digest`` stands for it and the bits of the models.
    """

    summary: dict[str, Any]
    models: Mapping[str, Vector | None]
    log: EventLog
    curve: Curve
    snapshot: bytes
    digest: str
