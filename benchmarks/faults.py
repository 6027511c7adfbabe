"""Do the oracles see? ``python -m benchmarks.faults`` plants each bug of tests/faults/bugs.py and looks for a seed.

Writes docs/faults.md (``--quick``: 40 seeds per bug at most, nothing written).
"""

import argparse
from pathlib import Path

from msgspec import Struct

from hocket.faults.stub import workload
from hocket.faults.swarm import plan
from hocket.faults.world import run
from tests.faults.bugs import BUGS, planted

PAGE = Path(__file__).parent.parent / "docs" / "faults.md"
SEEDS = 400
HEAD = """# A world that misbehaves

`hocket simulate EXPERIMENT.toml --faults SEED` runs an experiment where messages are lost, repeated, delayed, cut and
partitioned; the disk loses what was not synced, tears, fills and flips bits; the server is killed before every kind of
step; devices crash, come back with old state, clone themselves and lie. Each seed draws which of these are on. After
sixty times what a lease usually takes, faults stop and the run must go on to its end. It writes nothing, prints what
happened, and leaves with exit code 9 if an invariant did not hold; the message then has the command with the fewest
faults that break it. `python -m hocket.faults SEED` is the same for a small built-in run.

Checked after every event: an acknowledged update is in exactly one step (I1), nothing else is (I2), nothing leaves
before its record is durable (I3), a recovered state is the one that was live after the same event, and the journal of
the whole run replays to the state it ended in (I4), bounds (I6), tasks leave one another alone (I8), and steps come
within a bounded time once faults stop (I9). A reference that knows nothing of the server recomputes every step from
what devices sent. I5 belongs to the hidden state's own tests; I7 waits for a privacy ledger.

| test | where |
|---|---|
| T01, T06, T07 | `tests/faults/test_everywhere.py` |
| T03, T04, T05 | `tests/faults/test_disk.py` for the model disk, `tests/store/test_faults.py` for files |
| T08, T09, T10, T11, T12, T14, T15, T20 | `tests/faults/test_numbered.py` |
| T40, M1 | `tests/faults/test_swarm.py` |
| M2 | `tests/faults/test_bugs.py` |

`make soak` runs the long tiers; `HOCKET_FAULTS=10` makes them ten times longer, which is what a release runs.

## Bugs on purpose

The oracles of `src/hocket/faults/` are worth what they find. Each line is a bug that is planted in server, client,
book, journal or store (`tests/faults/bugs.py`), the first seed whose world shows it, and what the oracles say.
Made by `python -m benchmarks.faults`.

"""


class Found(Struct, frozen=True):
    """The first seed that shows a bug, None if none did, and what was said."""

    name: str
    seed: int | None
    said: str


def hunt(name: str, seeds: int) -> Found:
    """Look for a bug, seed after seed."""
    for seed in range(seeds):
        with planted(name):
            setup, fleet = workload(seed)
            if said := run(setup, fleet, plan(seed)).violated:
                return Found(name, seed, said)
    return Found(name, None, "")


def page(found: list[Found]) -> str:
    """The page that lists them."""
    caught = [f for f in found if f.seed is not None]
    rows = "".join(f"| {f.name} | {'none' if f.seed is None else f.seed} | {_short(f.said)} |\n" for f in found)
    verdict = f"{len(caught)} of {len(found)} bugs are caught ({100 * len(caught) / len(found):.0f} %), "
    worst = max((f.seed for f in caught if f.seed is not None), default=0)
    tried = f"the last one by seed {worst}; up to {SEEDS} seeds are tried."
    return f"{HEAD}{verdict}{tried}\n\n| bug | seed | seen as |\n|---|---|---|\n{rows}"


def _short(said: str) -> str:
    text = said.partition(" (/")[0].replace("|", "/").replace("\n", " ")
    return text if len(text) <= 110 else text[:107] + "..."


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("names", nargs="*", help="bugs to look for (all if none is named)")
    arguments = parser.parse_args()
    found = []
    for name in arguments.names or BUGS:
        found.append(hunt(name, 40 if arguments.quick else SEEDS))
        print(f"{found[-1].seed!s:>5}  {name}: {_short(found[-1].said)}", flush=True)
    text = page(found)
    if not arguments.quick and not arguments.names:
        PAGE.write_text(text)
        print(PAGE)


if __name__ == "__main__":
    main()
