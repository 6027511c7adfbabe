"""The table at the top of a report: a row per run and task, with the ratio to the first run's same task."""

import html
from collections.abc import Callable, Sequence

from msgspec import Struct

from hocket.report.units import human_bytes, human_seconds
from hocket.report.view import RunView, number, of_task, present


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
        base = next(v for v in views if v.task == view.task)
        again = any(v.summary is view.summary for v in views[:i])
        cells = "".join(_cell(c, view, base, again) for c in columns)
        badge = ' <span class="badge">interrupted</span>' if view.interrupted else ""
        rows.append(f"<tr><th scope=row>{html.escape(view.label)}{badge}{_about(view)}</th>{cells}</tr>")
    return (
        f"<table class=runs><thead><tr><th scope=col>Run</th>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


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
