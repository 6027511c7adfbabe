"""What the commands do, once their arguments are known."""

import sys
from collections.abc import Sequence
from pathlib import Path

from hocket.cli.table import show, show_events
from hocket.errors import InvalidInput
from hocket.experiment import Experiment, edits, folder, load
from hocket.progress import Progress
from hocket.record.story import story as read_story


def simulate(file: Path, changes: Sequence[str], seeds: str | None, out: Path | None, resume: bool) -> None:
    """Run an experiment file once, or once per seed.

    Raises:
        InvalidInput: anything wrong with the file or the arguments, before anything is written.
    """
    where = out or Path("runs") / file.stem
    each = [None] if seeds is None else list(edits.seeds(seeds))
    places = [where if seed is None else where / f"seed-{seed}" for seed in each]
    first = _load(file, changes, each[0])
    if seeds is not None and (where / "summary.json").exists():
        raise InvalidInput(f"{where} holds a single run; choose another directory for --seeds with --out")
    for place in places if not resume else ():
        folder.vacant(place)
    if out is None:
        print(f"writing to {where}", file=sys.stderr)
    with Progress({}) as progress:
        for seed, place in zip(each, places, strict=True):
            experiment = first if seed == each[0] else _load(file, changes, seed)
            if resume and folder.finished(place) and folder.same(experiment, place):
                print(f"{place} is finished already", file=sys.stderr)
            else:
                label = experiment.name
                experiment.run(place, resume, lambda state, label=label: progress.update(label, **state))  # type: ignore[misc]
    views = folder.views(where)
    show(views, mean=seeds is not None)
    print(folder.write_report(where))


def report(where: Path) -> None:
    """Write the report of a finished run, or of the runs inside a directory."""
    views = folder.views(where)
    path = folder.write_report(where)
    show(views)
    print(path)


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


def _load(file: Path, changes: Sequence[str], seed: int | None) -> Experiment:
    if seed is None:
        return load(file, changes)
    experiment = load(file, [*changes, f"seed={seed}"])
    return experiment.named(f"{experiment.name} seed {seed}")
