"""What became of a run in a world with faults."""

from msgspec import Struct


class Outcome(Struct, frozen=True):
    """What became of a run; ``violated`` is empty if every invariant held. Times in ns."""

    seed: int
    classes: tuple[str, ...]
    faults: dict[str, int]
    happened: tuple[str, ...]
    events: int
    time: int
    crashes: int
    recoveries: int
    damaged: int
    acknowledged: int
    uploads: int
    finished: str
    violated: str
    updates: int = 0
    refused: int = 0
    lost: int = 0
    versions: dict[str, int] = {}
    metrics: dict[str, dict[str, float]] = {}
    digest: str = ""
