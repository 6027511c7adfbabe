"""One self-contained HTML page that compares runs: a table, figures, events, and the experiments themselves.

The page fetches nothing, so it opens offline and from an e-mail. The figures are SVG that stands in the page as
text; its script adds read-outs, hides series, and searches the events. Text, style and script are in ``page.html``,
``page.css`` and ``page.js`` beside this file.
"""

import html
import json
import os
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import pyarrow as pa
from msgspec import Struct, structs

from hocket.errors import Damaged
from hocket.record.log import KINDS, read_log
from hocket.report import charts, fleet_charts, task_charts
from hocket.report.activity import Activity, activity
from hocket.report.chart import Chart
from hocket.report.headline import averages, headline
from hocket.report.rows import event_rows
from hocket.report.style import rules
from hocket.report.view import RunView, families, metrics

EVENTS = 3000
"""Rows of event logs on a page, of all runs together."""
DETAILS = (task_charts.budgets, fleet_charts.lanes, fleet_charts.utilisation)
DETAILED = 6
"""Runs that get figures of their own (who worked when); pages with more say so."""


class Contents(Struct, frozen=True):
    """What a page shows beside its table: figures by section, and rows of events by run.

    Figures by run are of the ``chosen`` ones where runs differ in their seed only: the first seed of each family.
    """

    switched: dict[str, list[Chart]]
    compared: list[Chart]
    detailed: list[Chart]
    events: list[dict[str, object]]
    left_out: int
    chosen: tuple[str, ...] = ()

    def charts(self) -> list[tuple[str, Chart]]:
        """All figures, each under a name of its own: with its task, and with the place of its run, if several."""
        named = [(f"{c.name}-{task}" if task else c.name, c) for task, own in self.switched.items() for c in own]
        named += [(c.name, c) for c in self.compared]
        for name in dict.fromkeys(c.name for c in self.detailed):
            own = [c for c in self.detailed if c.name == name]
            named += [(f"{name}-{i}" if len(own) > 1 else name, c) for i, c in enumerate(own, 1)]
        return named


def write_page(path: Path, runs: Sequence[RunView], title: str) -> Contents:
    """Write the page that compares ``runs``, the others against the first; what is on it.

    Raises:
        Damaged: the event log of a run cannot be read.
    """
    views = distinct(runs)
    shown = contents(views)
    text = page(views, shown, title)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    try:
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    return shown


def distinct(views: Sequence[RunView]) -> list[RunView]:
    """The same with labels that differ: repeated ones get the directory's name, or else a number."""
    made: list[RunView] = []
    taken = {v.label for v in views}
    for at, view in enumerate(views):
        same = [v for v in views if v.label == view.label]
        if len(same) > 1:
            names = [v.folder.resolve().name if v.folder else "" for v in same]
            before = sum(v.label == view.label for v in views[:at])
            hint = names[before] if all(names) and len(set(names)) == len(names) else f"#{before + 1}"
            view = structs.replace(view, label=_named(view, hint))
            while view.label in taken:
                hint += "'"
                view = structs.replace(view, label=_named(views[at], hint))
            taken.add(view.label)
        made.append(view)
    return made


def _named(view: RunView, hint: str) -> str:
    return f"{view.run} ({hint})" + (f": {view.task}" if view.label != view.run else "")


def contents(views: Sequence[RunView]) -> Contents:
    """Draw everything; event logs are read one after the other.

    Raises:
        Damaged: an event log cannot be read.
    """
    chosen = tuple(names[0] for names in families(views).values())
    runs = {name: own for name, own in _by_run(views).items() if not chosen or name in chosen}
    found: dict[str, Activity] = {}
    events: list[dict[str, object]] = []
    share = max(100, EVENTS // max(1, len(runs)))
    for name, own in runs.items():
        log = _log(own[0])
        if log is None or not log.num_rows:
            continue
        tasks = _tasks(own)
        found[name] = activity(log, tasks)
        if len(events) * share < 2 * EVENTS:
            events.append(event_rows(name, log, tasks, share))
    tasks_of = dict.fromkeys(v.task or "" for v in views)
    points = max(240, charts.POINTS // max(1, len(tasks_of)))
    switched: dict[str, list[Chart]] = {}
    for task in tasks_of:
        own = [v for v in views if (v.task or "") == task]
        drawn = [charts.against(own, m, by, points) for m in metrics(own) for by in ("time", "updates", "bytes")]
        switched[task if len(tasks_of) > 1 else ""] = [c for c in drawn if c]
    shown = [v for own in runs.values() for v in own]
    per_client = [charts.clients_metric(shown, m) for m in dict.fromkeys(m for v in shown for m in v.per_client)]
    summaries = {name: own[0].summary for name, own in runs.items()}
    compared = [
        task_charts.finishing(runs),
        charts.staleness(found),
        charts.contributions(found, {name: own[0].clients for name, own in runs.items()}),
        charts.device_classes(found, {name: own[0] for name, own in runs.items()}),
        fleet_charts.in_flight(found),
        charts.byte_kinds(summaries),
        *per_client,
    ]
    first = list(found.items())[:DETAILED]
    detailed = [draw(name, run) for name, run in first for draw in DETAILS]
    return Contents(
        switched,
        [c for c in compared if c],
        [c for c in detailed if c],
        events,
        len(found) - len(first),
        chosen,
    )


def page(views: Sequence[RunView], shown: Contents, title: str) -> str:
    """The text of the page."""
    body = averages(views) + headline(views) + _figures(shown) + _events(shown) + _experiments(views)
    data = {"kinds": KINDS, "logs": shown.events}
    return document(html.escape(title), _intro(views), body, data)


def document(title: str, intro: str, body: str, data: object = None) -> str:
    """A page that needs nothing else; title, intro and body are HTML, ``data`` is for its script."""
    parts = {
        "title": title,
        "intro": intro,
        "body": body,
        "data": json.dumps(data or {"kinds": [], "logs": []}, separators=(",", ":")).replace("<", "\\u003c"),
        "light": rules("light"),
        "dark": rules("dark"),
        "style": _file("page.css"),
        "script": _file("page.js"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _file("page.html"))


def _file(name: str) -> str:
    return files("hocket.report").joinpath(name).read_text(encoding="utf-8")


def _by_run(views: Sequence[RunView]) -> dict[str, list[RunView]]:
    """Views of one run together, by its label."""
    made: dict[str, list[RunView]] = {}
    for view in views:
        made.setdefault(view.run, []).append(view)
    return made


def _tasks(views: Sequence[RunView]) -> tuple[str, ...]:
    return views[0].tasks or tuple(v.task for v in views if v.task is not None)


def _log(view: RunView) -> pa.Table | None:
    if view.folder is None:
        return None
    try:
        return read_log(view.folder)
    except (pa.ArrowInvalid, OSError) as error:
        raise Damaged(f"{view.folder / 'events'}: {str(error).splitlines()[0]}; run the experiment again") from None


# --- parts of the page


def _intro(views: Sequence[RunView]) -> str:
    text = (
        "Times are virtual: what the fleet would have taken. "
        "Bytes are those of the whole run, 1&nbsp;kB&nbsp;=&nbsp;1000&nbsp;B."
    )
    if families(views):
        text += " The sign × compares with the first experiment: means with means, a run with the run of the same seed."
    elif len(_by_run(views)) > 1:
        text += f" The sign × compares with the first run, {html.escape(views[0].run)}."
    if stopped := [name for name, own in _by_run(views).items() if own[0].interrupted]:
        text += (
            f' <strong class="badge">interrupted</strong> {html.escape(", ".join(stopped))}: did not come to the end; '
            "numbers are those written so far."
        )
    return text


def figure(chart: Chart, hidden: bool = False) -> str:
    """A chart with its legend and its words."""
    buttons = "".join(
        f'<button type="button" aria-pressed="true" data-s="{_index(classes, i)}"><span class="key {classes}"></span>'
        f"{html.escape(name)}</button>"
        for i, (name, classes) in enumerate(chart.legend)
    )
    legend = f'<div class="legend" role="group" aria-label="Series">{buttons}</div>' if len(chart.legend) > 1 else ""
    return (
        f'<figure data-name="{html.escape(chart.name)}"{" hidden" if hidden else ""}>'
        f"<h3>{html.escape(chart.title)}</h3>{legend}"
        f'<div class="wide">{chart.wide}</div><div class="narrow">{chart.narrow}</div>'
        f"<figcaption>{html.escape(chart.text)}</figcaption></figure>"
    )


def _index(classes: str, i: int) -> int:
    """What the marks of a legend's entry are numbered by: series by place, kinds of bytes by colour."""
    colour = int(classes.split()[0][1:])
    return i if i % 8 == colour else colour


def _figures(shown: Contents) -> str:
    parts = []
    for task, drawn in shown.switched.items():
        if not drawn:
            continue
        ms = list(dict.fromkeys(c.name.rpartition("-")[0] for c in drawn))
        choices = [("Metric", ms)] if len(ms) > 1 else []
        bars = "".join(
            _choice(head, options) for head, options in [*choices, ("Against", ["time", "updates", "bytes"])]
        )
        head = f"Task {task}" if task else "Learning"
        body = "".join(figure(c, hidden=i > 0) for i, c in enumerate(drawn))
        parts.append(
            f'<section class="switch" data-metric="{html.escape(ms[0])}"><h2>{html.escape(head)}</h2>'
            f'<div class="choices">{bars}</div>{body}</section>'
        )
    made = f'<div class="columns">{"".join(parts)}</div>' if len(parts) > 1 else "".join(parts)
    if shown.compared:
        whose = f"<p>Of the runs {html.escape(', '.join(shown.chosen))}.</p>" if shown.chosen else ""
        body = "".join(map(figure, shown.compared))
        made += f'<section><h2>The fleet</h2>{whose}<div class="columns">{body}</div></section>'
    if shown.detailed:
        note = (
            f"<p>Shown for the first {DETAILED} runs; {shown.left_out} more are left out.</p>" if shown.left_out else ""
        )
        body = "".join(map(figure, shown.detailed))
        made += f'<section><h2>Clients at work</h2>{note}<div class="columns">{body}</div></section>'
    return made


def _choice(head: str, options: Sequence[str]) -> str:
    buttons = "".join(
        f'<button type="button" value="{html.escape(v)}" aria-pressed="{"false" if i else "true"}">'
        f"{html.escape(v.replace('_', ' '))}</button>"
        for i, v in enumerate(options)
    )
    return f'<div class="choice" role="group" aria-label="{head}"><span>{head}</span>{buttons}</div>'


def _events(shown: Contents) -> str:
    if not shown.events:
        return ""
    said = []
    for log in shown.events:
        n, total = len(log["kind"]), log["total"]  # type: ignore[arg-type]
        name = html.escape(str(log["run"]))
        said.append(
            f"{name}: all {total:,} rows" if n == total else f"{name}: a sample, the first {n:,} of {total:,} rows"
        )
    more = "" if len(said) < 7 else f"; and {len(said) - 6} more"
    runs = "".join(f'<option value="{i}">{html.escape(str(log["run"]))}</option>' for i, log in enumerate(shown.events))
    kinds = "".join(f"<option>{k}</option>" for k in KINDS)
    return (
        '<section id="events"><h2>Events</h2>'
        f"<p>{'; '.join(said[:6])}{more}. <code>hocket story DIR client:N</code> reads the whole log.</p>"
        f'<form role="search"><label>Run <select name="run">{runs}</select></label>'
        f'<label>Event <select name="kind"><option value="">any</option>{kinds}</select></label>'
        '<label>Search <input type="search" name="text" placeholder="client:12, lease:345, refused" '
        'autocomplete="off" spellcheck="false"></label></form>'
        '<p id="count" role="status"></p><div class="scroll" tabindex="0" role="region" aria-label="Events">'
        "<table class=events><thead><tr><th scope=col>time (s)<th scope=col>event<th scope=col>task"
        "<th scope=col>client<th scope=col>lease<th scope=col>value</tr></thead><tbody></tbody></table></div>"
        '<button type="button" id="more" hidden>Show more</button>'
        "<noscript><p>Searching the events needs JavaScript; the figures and the table do not.</p></noscript></section>"
    )


def _experiments(views: Sequence[RunView]) -> str:
    made = ""
    for name, own in _by_run(views).items():
        if own[0].experiment:
            made += (
                f"<details><summary>{html.escape(name)}</summary><pre>{html.escape(own[0].experiment)}</pre></details>"
            )
    return f"<section><h2>Experiments</h2>{made}</section>" if made else ""
