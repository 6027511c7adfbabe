"""What the commands do, once their arguments are known."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from hocket.cli.comparison import show_rows
from hocket.cli.table import show, show_events, show_speed
from hocket.errors import InvalidInput
from hocket.experiment import batch, folder, load
from hocket.experiment import compare as comparison
from hocket.experiment.document import parse
from hocket.progress import Progress
from hocket.record.story import story as read_story

FEWER = 30  # runs that may be made to find out which faults broke an invariant


def simulate(
    file: Path,
    changes: Sequence[str],
    seeds: str | None,
    out: Path | None,
    resume: bool,
    jobs: int,
    sinks: Sequence[str] = (),
    data: Path | None = None,
) -> None:
    """Run an experiment file once, or once per seed.

    Raises:
        InvalidInput: anything wrong with the file or the arguments, before anything is written.
    """
    where = out or Path("runs") / file.stem
    runs = batch.pieces(file, where, changes, seeds, sinks, data)
    made = _run(runs, None if out else where, resume, jobs)
    views = folder.views(where)
    show(views, mean=seeds is not None)
    show_speed([view for view in views if view.folder in made])
    print(folder.write_report(where))


def simulate_with_faults(
    file: Path, changes: Sequence[str], faults: str, data: Path | None = None, beside: Sequence[str] = ()
) -> None:
    """Run an experiment file in a world that misbehaves, and say what happened.

    Raises:
        InvalidInput: no such world, or an option (``beside``) that a run which writes nothing does not have.
        Violated: an invariant did not hold.
    """
    from hocket.cli.faults import show_outcome
    from hocket.errors import Violated
    from hocket.faults.shrink import Case, shrink
    from hocket.faults.swarm import plan
    from hocket.faults.world import run

    case = Case.parse(faults, "--faults")
    if beside:
        raise InvalidInput(f"{beside[0]}: not with --faults, which makes one run and writes nothing; leave one out")
    e = load(file, changes, data)
    setup = e.setup(("finite",))
    outcome = run(setup, e.fleet, plan(case.seed), case.only)
    show_outcome(outcome)
    if outcome.violated:
        again = shlex.join(["hocket", "simulate", str(file), *(x for c in changes for x in ("--set", c)), "--faults"])
        left = shrink(outcome.happened, lambda only: bool(run(setup, e.fleet, plan(case.seed), only).violated), FEWER)
        smallest = Case(case.seed, frozenset(left)).text() if left else str(case.seed)
        raise Violated(f"{outcome.violated}; the same again: {again} {shlex.quote(smallest)}")


def estimate(file: Path, changes: Sequence[str], data: Path | None = None) -> None:
    """Say what a run of a file will take, without making it.

    Raises:
        InvalidInput: the file cannot be run.
    """
    from hocket.simulation.estimate import estimate

    e = load(file, changes, data)
    print(estimate(e.setup(), e.fleet).line())


def plan(
    file: Path,
    changes: Sequence[str],
    *,
    objective: str,
    energy: float,
    watts: str | None,
    in_flight: int | None,
    most: int | None,
    noise: bool,
    updates: int | None,
    history: Path | None,
    out: Path | None,
    data: Path | None,
) -> None:
    """Foretell a run of a file by formula, and look for better routing.

    Raises:
        InvalidInput: the file cannot be run, or the formulas do not cover it.
    """
    from typing import get_args

    from hocket.cli.plan import show_plan
    from hocket.planning.noise import learning
    from hocket.queueing import Goal, Learning, Minimise, Power

    if objective not in get_args(Minimise):
        raise InvalidInput(f"--objective {objective}: must be one of {', '.join(get_args(Minimise))}")
    if file.suffix == ".parquet":
        e = parse(_about(file), changes, name=file.stem, folder=file.parent, data=data)
    else:
        e = load(file, changes, data)
    power = None
    if watts is not None:
        try:
            compute, download, upload = map(float, watts.split(","))
        except ValueError:
            raise InvalidInput(f"--watts {watts}: give three numbers: computing, downloading, uploading") from None
        power = Power(compute, download, upload)
    known = learning(e.tasks[0], seed=e.seed) if noise else Learning()
    goal = Goal(cast(Minimise, objective), energy, in_flight, most, known, power)
    show_plan(e.setup(), e.fleet, goal, updates, history, out)


def _about(fleet: Path) -> dict[str, Any]:
    """An experiment with the devices of a file: a model of a megabyte, a job for every tenth device."""
    try:
        devices = pq.read_metadata(fleet).num_rows
    except (OSError, pa.ArrowInvalid) as error:
        raise InvalidInput(f"{fleet}: cannot be read as devices ({str(error).splitlines()[0]})") from None
    return {
        "task": {"kind": "sized", "parameters": 250_000},
        "fleet": {"kind": "parquet", "path": fleet.name, "compute_law": {"kind": "exponential"}, "links": "parallel"},
        "strategy": {"use": "asyncsgd", "in_flight": max(1, devices // 10)},
        "until": {"updates": 1},
    }


def compare(
    sources: Sequence[Path],
    changes: Sequence[str],
    seeds: str | None,
    out: Path,
    resume: bool,
    jobs: int,
    data: Path | None = None,
) -> None:
    """Run experiment files, or read run directories, and set their figures side by side.

    Raises:
        InvalidInput: anything wrong with a file or the arguments, before anything is written.
    """
    places = comparison.places(sources, out, changes, seeds, data)
    _run([piece for each in places.values() for piece in each], out, resume, jobs)
    runs = {n: folder.views(out / n if places[n] else s) for n, s in zip(places, sources, strict=True)}
    rows = comparison.rows(runs)
    show_rows(rows)
    print(comparison.write(out, rows, runs))


def report(places: Sequence[Path], out: Path | None = None, figures: Path | None = None, png: bool = False) -> None:
    """Write one page of the runs in directories, or inside them, and with ``figures`` its figures as files."""
    path = folder.write_report(*places, out=out, figures=figures, png=png)
    show([view for place in places for view in folder.views(place, unfinished=True)])
    print(path)


def replay(journal: Path, file: Path, changes: Sequence[str], measure: tuple[str, ...], carry_on: bool) -> None:
    """Replay a recorded run; print its state digest, and with ``carry_on`` how it goes on."""
    from hocket.simulation import replay

    e = load(file, changes)
    setup = e.setup(measure)
    done = replay.replay(journal, setup)
    print(done.digest)
    ended = done.server.finished or "not yet ended"
    print(f"{done.events:,} events, {done.server.state.updates:,} updates, {ended}", file=sys.stderr)
    if carry_on:
        print(json.dumps(replay.carry_on(done, e.fleet), indent=2, sort_keys=True))


def reproduce(name: str, quick: bool, out: Path | None) -> int:
    """Check one claim or all, and say what came out; the exit code.

    Raises:
        InvalidInput: there is no such claim, or ``out`` is a directory.
    """
    from hocket import reproduce as claims
    from hocket.cli import verdicts

    wanted = claims.named(name)
    if out is not None and out.is_dir():
        raise InvalidInput(f"--json {out}: is a directory; give a file")
    found = []
    for i, claim in enumerate(wanted, 1):
        print(f"checking {claim.name} ({i} of {len(wanted)})", file=sys.stderr)
        found.append(claims.check(claim, quick))
        print(f"{claim.name}: {verdicts.line(found[-1])}", file=sys.stderr)
    verdicts.show_verdicts(found)
    if out is not None:
        verdicts.write_verdicts(out, found)
    return verdicts.exit_code(found)


def story(where: Path, name: str) -> None:
    """Show what happened to a client or a lease."""
    show_events(read_story(where, name))


def demo(out: Path, seed: int) -> None:
    """Run the demo and say what came out."""
    from hocket.demo import run, verdict

    with Progress({}, quiet=0.0) as progress:
        views = run(out, seed, report=lambda label, state: progress.update(label, **state))
    show(views)
    print(verdict(views))
    print(out / folder.PAGE)


def _run(runs: Sequence[batch.Piece], said: Path | None, resume: bool, jobs: int) -> set[Path]:
    """Make the runs that are not finished, and say where they are; nothing is written or said before all of them are
    known to be good."""
    if jobs < 1:
        raise InvalidInput(f"--jobs {jobs}: must be 1 or more processes")
    left = batch.unfinished(runs, resume)
    if said is not None:
        print(f"writing to {said}", file=sys.stderr)
    for piece in runs:
        if piece not in left:
            print(f"{piece.place} is finished already", file=sys.stderr)
    with Progress({}) as progress:
        batch.run(left, lambda name, state: progress.update(name, **state), jobs=jobs, resume=resume)
    return {piece.place for piece in left}
