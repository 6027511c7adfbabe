"""Everything that happened to one client or one lease, read from the event log of a run directory."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from hocket.errors import Damaged, InvalidInput
from hocket.record.log import read_log

NAME = re.compile(r"(client|lease):([0-9]{1,18})")


def story(run: Path, name: str) -> pa.Table:
    """Rows of the event log that concern ``client:N`` or ``lease:N``, in the order in which they happened.

    A client that joined together with others has no ``joined`` row of its own. Columns as in
    :mod:`hocket.record.log`.

    Raises:
        InvalidInput: the name is neither, nothing happened to it, or there is no event log.
        Damaged: the event log cannot be read.
    """
    match = NAME.fullmatch(name)
    if match is None:
        raise InvalidInput(f"{name!r}: no client or lease; write client:12 or lease:345")
    column, number = match[1], int(match[2])
    if not any((run / "events").glob("*.parquet")):
        raise InvalidInput(f"{run}: no event log in it (events/*.parquet); give a run directory")
    try:
        log = read_log(run)
    except (pa.ArrowInvalid, OSError) as error:
        raise Damaged(f"{run / 'events'}: {str(error).splitlines()[0]}; run the experiment again") from None
    rows = log.filter(pc.equal(log[column], pa.scalar(number, pa.int64())))
    if not rows.num_rows:
        last = pc.max(log[column]).as_py()
        known = f"the largest number is {column}:{last}" if last is not None and last >= 0 else f"no {column} is"
        raise InvalidInput(f"{name}: nothing in the event log of {run}; {known} there")
    return rows
