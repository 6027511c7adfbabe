"""The secret that a served run's noise is drawn from: 32 random bytes beside its journal, for its owner's eyes only.

It is on disk before the first event is, and stays: a run that goes on, or is replayed, must draw the same noise for
the same step, or what was released before would be released again with other noise. Who has the secret and the
models can take the noise away; so it is not in checkpoints, event logs or results. A simulation draws from its seed.
"""

import os
import secrets
from pathlib import Path

from hocket.errors import InvalidInput
from hocket.files import replace
from hocket.store.sqlite import JOURNAL

FILE = "noise.key"
LENGTH = 32


def take(journal: Path) -> bytes:
    """The secret of a journal; a new journal gets a new one.

    Raises:
        InvalidInput: the journal has records and its secret is gone or is none.
    """
    if (found := kept(journal)) is not None:
        return found
    path = journal / FILE
    if (journal / JOURNAL).exists():
        raise InvalidInput(
            f"{path}: gone, and the run beside it cannot go on with other noise; put the file back, or serve a new run"
        )
    fresh = secrets.token_bytes(LENGTH)
    replace(path, lambda p: _write(p, fresh))
    return fresh


def kept(journal: Path) -> bytes | None:
    """The secret of a journal; None if it has none.

    Raises:
        InvalidInput: the file is not one.
    """
    path = journal / FILE
    if not path.exists():
        return None
    data = path.read_bytes()
    if len(data) != LENGTH:
        raise InvalidInput(f"{path}: {len(data)} bytes, a secret has {LENGTH}; put the run's own file back")
    return data


def _write(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as f:
        f.write(data)
