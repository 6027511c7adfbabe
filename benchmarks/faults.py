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
HEAD = """# Bugs on purpose

The oracles of `src/hocket/faults/` are worth what they find. Each line is a bug that is planted in server, client,
book, journal or store (`tests/faults/bugs.py`), the first seed whose world shows it, and what the oracles say.
Made by `python -m benchmarks.faults`; a seed is run alone with `python -m hocket.faults SEED`.

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
