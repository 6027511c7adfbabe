"""The tables at the top of a report: means over seeds, and a row per run and task with the ratio to the first one's."""

import html
from collections.abc import Callable, Sequence

from msgspec import Struct

from hocket.record.interval import interval
from hocket.report.units import human_bytes, human_seconds
from hocket.report.view import RunView, families, number, of_task, present


class _Column(Struct, frozen=True):
    head: str
    read: Callable[[RunView], float | None]
    say: Callable[[float], str]
    compared: bool = False
    whole_run: bool = False


def headline(views: Sequence[RunView]) -> str:
    """The table in HTML; numbers of a whole run stand in its first row only."""
    columns = [c for c in _columns(views) if any(c.read(v) is not None for v in views) or c.head.startswith("Time to")]
    heads = "".join(f"<th scope=col>{html.escape(c.head)}</th>" for c in columns)
    rows = []
    for i, view in enumerate(views):
        base = _base(view, views)
        again = any(v.summary is view.summary for v in views[:i])
        cells = "".join(_cell(c, view, base, again) for c in columns)
        badge = ' <span class="badge">interrupted</span>' if view.interrupted else ""
        rows.append(f"<tr><th scope=row>{html.escape(view.label)}{badge}{_about(view)}</th>{cells}</tr>")
    return (
        f"<table class=runs><thead><tr><th scope=col>Run</th>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def averages(views: Sequence[RunView]) -> str:
    """A table of families of runs in HTML, a row per family and task: mean ± half of its 95 % interval over the seeds.

    Empty where all runs stand alone. A ratio is that of means over all runs of both families.
    """
    if not families(views):
        return ""
    columns = [c for c in _columns(views) if any(c.read(v) is not None for v in views)]
    heads = "".join(f"<th scope=col>{html.escape(c.head)}</th>" for c in columns)
    groups: dict[tuple[str, str | None], list[RunView]] = {}
    for view in views:
        groups.setdefault((view.alike, view.task), []).append(view)
    rows, several = [], len({task for _, task in groups}) > 1
    for (name, task), own in groups.items():
        base = next(g for (_, t), g in groups.items() if t == task)
        first = next(g for (n, _), g in groups.items() if n == name) is own
        label = f"{name}: {task}" if several else name
        cells = "".join(_average(c, own, base, first) for c in columns)
        made = f"{len(own)} run{'s' * (len(own) > 1)}"
        rows.append(f"<tr><th scope=row>{html.escape(label)}<small>{made}</small></th>{cells}</tr>")
    return (
        "<h2>Means over seeds</h2><p>± is half of the 95&nbsp;% interval (Student's t over the runs).</p>"
        f"<table class=runs><thead><tr><th scope=col>Experiment</th>{heads}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table><h2>Each run</h2>"
    )


def _average(c: _Column, own: Sequence[RunView], base: Sequence[RunView], first: bool) -> str:
    found, theirs = (interval(c.read(v) for v in group) for group in (own, base))
    if found is None or (c.whole_run and not first):
        missed = c.head.startswith("Time to") and own[0].target is not None
        text = f'<span class="faded">{"not reached" if missed else "–"}</span>'
    else:
        text = c.say(found.mean) + (f" <small>± {c.say(found.half)}</small>" if found.half else "")
        if found.n < len(own):
            text += f" <small>{found.n} of {len(own)}</small>"
        elif c.compared and base is not own and theirs is not None and theirs.mean and theirs.n == len(base):
            text += f" <small>×{found.mean / theirs.mean:.3g}</small>"
    return f'<td data-head="{html.escape(c.head)}">{text}</td>'


def _base(view: RunView, views: Sequence[RunView]) -> RunView:
    """What a run is measured against: the first family's run of its seed if there is one, else the first run."""
    same = [v for v in views if v.task == view.task]
    seed = number(view.summary, "seed")
    if families(views):
        return next((v for v in same if v.alike == same[0].alike and number(v.summary, "seed") == seed), same[0])
    return same[0]


def _columns(views: Sequence[RunView]) -> list[_Column]:
    targets = {view.target for view in views if view.target is not None}
    aim = f" {targets.pop():g}" if len(targets) == 1 else ""
    goal = _Column(f"Time to target{aim}", lambda v: of_task(v, "time_to_target_s"), human_seconds, True)
    targeted = any(v.target is not None or of_task(v, "time_to_target_s") is not None for v in views)
    return ([goal] if targeted else []) + [
        _Column("Virtual time", lambda v: number(v.summary, "virtual_time_s"), human_seconds, True, True),
        _Column("Updates", _updates, lambda n: f"{n:,.0f}", True),
        _Column("Bytes up", lambda v: number(v.summary, "bytes", "up"), human_bytes, True, True),
        _Column("Bytes down", lambda v: number(v.summary, "bytes", "down"), human_bytes, True, True),
        _Column("Final accuracy", lambda v: _final(v, "accuracy"), lambda a: f"{a:.4f}"),
        _Column("Final loss", lambda v: _final(v, "loss"), lambda a: f"{a:.4g}"),
        _Column("Mean staleness", lambda v: number(v.summary, "staleness", "mean"), lambda s: f"{s:.2f}", False, True),
        _Column("Clients", lambda v: number(v.summary, "clients_seen"), lambda n: f"{n:,.0f}", False, True),
    ]


def _cell(c: _Column, view: RunView, base: RunView, again: bool) -> str:
    value = None if again and c.whole_run else c.read(view)
    if value is None:
        missed = c.head.startswith("Time to") and view.target is not None
        text = '<span class="faded">not reached</span>' if missed else '<span class="faded">–</span>'
    else:
        text = c.say(value)
        first = c.read(base) if c.compared and base is not view else None
        text += f" <small>×{value / first:.3g}</small>" if first else ""
    return f'<td data-head="{html.escape(c.head)}">{text}</td>'


def _about(view: RunView) -> str:
    """What ran, in small print."""
    seed, clients = number(view.summary, "seed"), view.clients
    parts = [str(view.summary["strategy"])] if "strategy" in view.summary else []
    parts += [f"{clients:,} clients"] if clients else []
    parts += [f"seed {seed}"] if seed is not None else []
    spent, delta = number(view.summary, "privacy", "epsilon"), number(view.summary, "privacy", "delta")
    parts += [f"epsilon {spent:.3g} at delta {delta:g}"] if spent is not None and delta is not None else []
    finished = view.summary.get("finished")
    parts += [f"ended by {finished}"] if isinstance(finished, str) and finished else []
    return f"<small>{html.escape(', '.join(parts))}</small>" if parts else ""


def _updates(view: RunView) -> float | None:
    own = of_task(view, "updates")
    return own if own is not None else number(view.summary, "updates")


def _final(view: RunView, metric: str) -> float | None:
    final = of_task(view, metric)
    return final if final is not None else next(reversed(present(view.curve.get(metric, ()))), None)
