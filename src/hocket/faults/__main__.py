"""``python -m hocket.faults SEED[;fault;fault]``: one small run in the world of a seed; exit code 9 if it is wrong.

A run that fails is shrunk, and the command that shows what is left is printed.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hocket import __version__
from hocket.errors import HocketError
from hocket.faults.outcome import Outcome
from hocket.faults.shrink import Case, shrink
from hocket.faults.stub import workload
from hocket.faults.swarm import plan
from hocket.faults.world import run


def one(case: Case, updates: int = 80) -> Outcome:
    """The small run of a case."""
    setup, fleet = workload(case.seed, updates)
    return run(setup, fleet, plan(case.seed), case.only)


def smallest(case: Case, outcome: Outcome) -> Case:
    """The case with the fewest faults that still fails."""
    left = shrink(outcome.happened, lambda only: bool(one(Case(case.seed, only)).violated))
    return Case(case.seed, frozenset(left))


def source() -> str:
    """The version that runs, with its commit where that is known: a seed shows the same failure there only."""
    here, name = Path(__file__).parent, Path(__file__).name
    said = []
    for question in (["ls-files", "--error-unmatch", name], ["describe", "--always", "--dirty"]):
        try:
            answer = subprocess.run(["git", "-C", here, *question], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return __version__
        if answer.returncode:  # not in a checkout, or in one of something else
            return __version__
        said.append(answer.stdout.strip())
    return f"{__version__} ({said[1]})"


def main(arguments: Sequence[str]) -> int:
    """Run the command; its exit code."""
    from hocket.cli.faults import show_outcome

    try:
        case = Case.parse(arguments[0] if arguments else "", "seed")
    except HocketError as e:
        print(f"error: {e}", file=sys.stderr)
        return e.exit_code
    outcome = one(case)
    show_outcome(outcome)
    if not outcome.violated:
        return 0
    print(f"shrunk, with hocket {source()}: python -m hocket.faults '{smallest(case, outcome).text()}'")
    return 9


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
