"""What FedFetch's paper leaves open, each question with its figures: ``docs/benchmarks/fedfetch.md``.

``python -m benchmarks.fedfetch_questions [NAME ...]`` asks all of them, or those named, on the authors' devices
(``HOCKET_DATA``), keeps the answers in ``docs/benchmarks/fedfetch-questions.json`` and writes the page from it.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

import hocket as hk
from hocket.codec import Glue, RandK, TopK
from hocket.downlink import Combined
from hocket.fleet import LogNormal, Renewal, Trace
from hocket.learning.data import ClientData, Examples
from hocket.learning.learner import Job, Trained
from hocket.learning.loaders.files import folder
from hocket.learning.mlp import MLP
from hocket.learning.numpy_learner import NumpyLearner
from hocket.record.log import KINDS
from hocket.reproduce import fedfetch as figures
from hocket.reproduce import fedfetch_ahead as asynchronous
from hocket.setup import Setup
from hocket.simulation.run import prepare
from hocket.strategies import docofl, gluefl
from hocket.strategy import Strategy

DOCS = Path(__file__).parent.parent / "docs" / "benchmarks"
ANSWERS = DOCS / "fedfetch-questions.json"
SMALL, SEEDS = figures.SMALL, range(3)
LOCAL = hk.LocalSGD(lr=0.01, batch_size=20, steps=10)
Rows = list[list[Any]]


def run(fleet: hk.Fleet, method: Strategy, seed: int, rounds: int = SMALL.rounds) -> hk.Run:
    """A run without arrays."""
    task = hk.Task.sized(parameters=figures.PARAMETERS, clients=len(fleet), local=LOCAL)
    return hk.simulate(task, fleet, method, hk.Until(steps=rounds), seed=seed, log=True)


def table(run: hk.Run) -> list[tuple[int, str, int, int, int]]:
    """(time, kind, client, lease, value) of the event log."""
    assert run.log is not None
    t = run.log.table()
    each = [t[c].to_pylist() for c in ("time_ns", "kind", "client", "lease", "value")]
    return [(a, KINDS[k], c, i, v) for a, k, c, i, v in zip(*each, strict=True)]


# --- links, devices that come and go, a shared server --------------------------------------------------------


def missed(run: hk.Run) -> float:
    """Of the clients that had begun to fetch ahead, the share that was more than one version behind in its round."""
    ahead, late = 0, 0
    held, fetching, wanted = dict[int, int](), dict[int, int](), dict[int, int]()
    for _, kind, c, lease, value in table(run):
        if kind == "offered":
            (wanted if c in fetching else fetching)[c] = value
        elif kind == "left":
            fetching.pop(c, None), wanted.pop(c, None)
        elif kind == "fetched" and lease < 0 and c in fetching:
            held[c] = fetching.pop(c)
            if c in wanted:
                fetching[c] = wanted.pop(c)
        elif kind == "assigned":
            wanted.pop(c, None)
            if c in fetching or c in held:
                ahead += 1
                late += value - held.get(c, -1) > 1
        elif kind == "started":
            held.pop(c, None)
    return late / max(1, ahead)


def worlds() -> Rows:
    """STC, with prefetch by without."""
    fleet = figures.devices(SMALL.clients)
    archive = folder(None, figures.DEVICES) / "bandwidth" / "mahimahi_cellular_1s.npz"
    each = {"steady links, always there": fleet}
    each |= {f"links vary, log-normal {s:g}": replace(fleet, down_law=LogNormal(s)) for s in (0.5, 1.0)}
    for name, only in (
        ("AT&T LTE, driving", "ATT-LTE-driving.down"),
        ("T-Mobile UMTS, driving", "TMobile-UMTS-driving.down"),
        ("Verizon EVDO, driving", "Verizon-EVDO-driving.down"),
        ("seven cellular traces", ".down"),
    ):
        each[f"links follow {name}"] = replace(fleet, down_trace=Trace.read(archive, only))
    for on, off in ((3600, 7200), (1800, 3600), (600, 1200)):
        each[f"on {on // 60} min, off {off // 60} min"] = replace(fleet, availability=Renewal(float(on), float(off)))
    for rate in (2.5e8, 5e7):
        each[f"the server sends {rate / 1e6:g} MB/s in all"] = replace(fleet, egress=rate)
    rows: Rows = []
    for name, world in each.items():
        found = []
        for seed in SEEDS:
            runs = [run(world, m, seed) for m in (figures.baseline("stc", SMALL), figures.ours("stc", SMALL))]
            plain, early = (figures.figures(r) for r in runs)
            lost = [100 * f.bytes["wasted"] / f.bytes["down"] for f in (early, plain)]
            ratios = plain.total / early.total, plain.mean / early.mean, early.moved / plain.moved
            found.append((*ratios, 100 * missed(runs[1]), *lost))
        rows.append([name, *np.mean(found, axis=0).round(3).tolist()])
    return rows


# --- bytes ---------------------------------------------------------------------------------------------------


def behind() -> Rows:
    """Bytes to catch up over k versions, by the model's."""
    schema = hk.Schema((hk.Segment("w", (figures.PARAMETERS,)),))
    rows: Rows = []
    for name, codec in figures.CODECS.items():
        downlink = Combined(codec)
        state = downlink.init(schema)
        nodes = [downlink.commit(state, "a", None, None, v, 0)[2] for v in range(50)]
        sizes = [
            sum(e.size for e in downlink.path(state, nodes[-1 - k], nodes[-1], schema)) for k in (1, 2, 5, 10, 20, 40)
        ]
        rows.append([name, *(round(s / schema.nbytes, 3) for s in sizes)])
    return rows


AWAY = ((1, 2), (3, 5), (6, 10), (11, 20), (21, 40), (41, 10**9))


def away() -> Rows:
    """Bytes down per job by rounds since its client's last one, in models; and how many jobs those were."""
    rows: Rows = []
    for clients, rounds in ((50, 200), (300, 200), (1000, 300)):
        for name, window in (("without", 0), ("with", 3)):
            method = figures.ours("stc", SMALL, window) if window else figures.baseline("stc", SMALL)
            found: dict[tuple[int, int], list[float]] = {b: [] for b in AWAY}
            got, since, pending = dict[int, int](), dict[int, int](), dict[int, int]()
            for _, kind, c, _, value in table(run(figures.devices(clients), method, 0, rounds)):
                if kind == "fetched":
                    got[c] = got.get(c, 0) + value
                elif kind == "assigned":
                    if c in since:
                        pending[c] = value - since[c]
                    since[c] = value
                elif kind == "started":
                    if c in pending:
                        gap = max(1, pending.pop(c))
                        where = next(b for b in AWAY if b[0] <= gap <= b[1])
                        found[where].append(got.get(c, 0) / 4 / figures.PARAMETERS)
                    got[c] = 0
            cells = [f"{np.mean(x):.2f} ({len(x)})" if len(x) >= 5 else "" for x in found.values()]
            rows.append([f"10 of {clients}", name, *cells])
    return rows


def audit() -> Rows:
    """Bytes per update that was accepted, in models, by what they were good for."""
    cohort = SMALL.cohort
    methods: dict[str, Callable[[int], Strategy]] = {
        c: lambda w, c=c: figures.ours(c, SMALL, w) if w else figures.baseline(c, SMALL)  # type: ignore[misc]
        for c in figures.CODECS
    }
    methods["gluefl"] = lambda w: gluefl(cohort, 2, 40, prefetch_window=w)
    methods["docofl"] = lambda w: docofl(cohort, prefetch_window=w)
    methods["docofl, scheduled"] = lambda w: docofl(cohort, prefetch_window=w, every=4, scheduled=True)
    rows: Rows = []
    for name, method in methods.items():
        for window in (0, 3):
            done = run(figures.devices(SMALL.clients), method(window), 0)
            b, unit = done.summary["bytes"], 4 * figures.PARAMETERS * done.summary["updates"]
            kinds = ("up", "refused", "critical", "prefetched", "overcommitted", "wasted")
            seconds = figures.figures(done)
            rows.append(
                [name, window, *(round(b[k] / unit, 3) for k in kinds), round(seconds.total), round(seconds.mean, 2)]
            )
    return rows


# --- the window ----------------------------------------------------------------------------------------------


def window() -> Rows:
    """Time without prefetch by time with it, and bytes, by window: the paper's rule, and ours."""
    rows: Rows = []
    for r in (1, 2, 3, 5, 10, 20):
        found = []
        for seed in SEEDS:
            base = figures.baseline("stc", SMALL)
            for s in (
                figures.ours("stc", SMALL, r),
                figures.ours("stc", SMALL, r, by="finish", tail="useful"),
            ):
                x = figures.ratios(s, base, SMALL, seed)
                found.append((x.total, x.mean, x.bytes))
        each = np.array(found).reshape(len(SEEDS), 2, 3).mean(axis=0)
        rows.append([r, *each.ravel().round(3).tolist()])
    return rows


def ahead() -> Rows:
    """Asynchronous prefetch by routes ahead and by hold: how many times shorter the wait, bytes, staleness."""
    rows: Rows = []
    for name, method in (
        ("FedBuff, top 1%", asynchronous.combined(asynchronous.SPARSE)),
        ("QAFeL, top 1% down", asynchronous.chain(asynchronous.SPARSE)),
        ("FedBuff, top 20%", asynchronous.combined(asynchronous.FIFTH)),
        ("QAFeL, 4 bits", asynchronous.chain(asynchronous.FOUR_BITS)),
    ):
        plain = asynchronous.measured(method)
        for routes, hold in ((100, 0), (4000, 0), (4000, 64)):
            x = asynchronous.measured(asynchronous.ahead(method, routes, hold=hold))
            rows.append(
                [name, routes, hold, round(plain.wait, 2), round(x.wait, 2), round(plain.wait / x.wait, 2),
                 round(x.bytes / plain.bytes, 3), round(plain.staleness, 2), round(x.staleness, 2)]
            )  # fmt: skip
    return rows


# --- learning ------------------------------------------------------------------------------------------------

CLASSES, DIM, HELD = 10, 32, 60


def learner(rotated: int, clients: int = 60, seed: int = 0) -> NumpyLearner:
    """Gaussian classes around means; every label is moved on by ``rotated``."""
    g = np.random.default_rng(seed)
    means = g.normal(0, 0.7, (CLASSES, DIM))

    def drawn(labels: Any) -> Examples:
        x = (means[labels] + g.normal(size=(len(labels), DIM))).astype(np.float32)
        return Examples(x, (labels + rotated) % CLASSES, "rotating")

    held = [drawn(g.choice(CLASSES, HELD, p=g.dirichlet(np.full(CLASSES, 0.3)))) for _ in range(clients)]
    train = Examples(np.concatenate([h.features for h in held]), np.concatenate([h.labels for h in held]), "rotating")
    test = drawn(g.integers(CLASSES, size=1000))
    return NumpyLearner(MLP(DIM, (32,), CLASSES), ClientData(train, HELD * np.arange(clients + 1), test, test))


class Rotating:
    """Labels move on by one every ``every`` versions; a job's data follow from the version it starts from."""

    def __init__(self, every: int, turns: int) -> None:
        self.every, self.each = every, [learner(i) for i in range(turns)]
        first = self.each[0]
        self.schema, self.samples, self.initial = first.schema, first.samples, first.initial

    def at(self, version: int) -> NumpyLearner:
        """The learner of a version."""
        return self.each[min(version // self.every, len(self.each) - 1)]

    def train(self, jobs: Sequence[Job]) -> list[Trained]:
        """Results in the order of the jobs."""
        return [self.at(job.version).train([job])[0] for job in jobs]

    def evaluate(self, x: Any, split: str) -> dict[str, float]:
        """On the labels of the beginning."""
        return self.each[0].evaluate(x, split)


def drift() -> Rows:
    """Labels rotate every 20 rounds: accuracy on the labels of the time, mean over 80 rounds, by window."""
    rotating = Rotating(20, 4)
    rows: Rows = []
    for name, method in (
        ("stc", lambda w: hk.strategies.stc(0.2, cohort=8, overcommit=1.25, prefetch_window=w)),
        ("gluefl", lambda w: gluefl(8, 2, 24, overcommit=1.25, prefetch_window=w)),
    ):
        for w in (0, 3, 10):
            means, dips = [], []
            for seed in range(2):
                local = hk.LocalSGD(lr=0.05, batch_size=10, steps=10)
                task = hk.Task.of(rotating, local, name="rotating")
                fleet = hk.Fleet.synthetic(60, seed=seed, augmentation=0.4)
                slow = replace(fleet, down=fleet.down / 3e3, up=fleet.up / 3e3)
                setup = Setup.of(task, method(w), hk.Until(steps=80), seed=seed, evaluation=hk.Evaluation(every=100))
                engine = prepare(setup, slow).engine
                found: dict[int, float] = {}
                over = False
                while not over:
                    over = engine.run(1)
                    v = engine.book.shelves["rotating"].node.version
                    if v not in found:
                        found[v] = rotating.at(v).evaluate(engine.book.model("rotating"), "test")["accuracy"]
                each = [found[v] for v in sorted(found)]
                means.append(np.mean(each))
                dips.append(np.mean([found[v] for v in range(25, 80, 20)]))
            rows.append([name, w, round(float(np.mean(means)), 4), round(float(np.mean(dips)), 4)])
    return rows


def masks() -> Rows:
    """How predictable a mask is: union after 3 and 10 updates, accuracy, bytes to catch up and fetched ahead."""
    local = hk.LocalSGD(lr=0.05, batch_size=10, steps=10)
    task = hk.Task.of(learner(0), local, name="masks")
    fleet = hk.Fleet.synthetic(60, seed=0, augmentation=0.4)
    slow = replace(fleet, down=fleet.down / 3e3, up=fleet.up / 3e3)
    rows: Rows = []
    for name, downlink in (
        ("top 20%", Combined(TopK(0.2))),
        ("random 20%", Combined(RandK(0.2, scale=False))),
        ("shared 10% of 20%, new every 10", Combined(Glue(0.2), shared=0.1)),
        ("shared 16% of 20%, new every 10", Combined(Glue(0.2), shared=0.16)),
        ("shared 19% of 20%, new every 10", Combined(Glue(0.2), shared=0.19)),
        ("shared 19% of 20%, new every 50", Combined(Glue(0.2), shared=0.19, regenerate=50)),
    ):
        base = hk.strategies.stc(0.2, cohort=8, overcommit=1.25, prefetch_window=3)
        method = replace(base, task=replace(base.task, downlink=downlink))
        setup = Setup.of(task, method, hk.Until(steps=80), evaluation=hk.Evaluation(every=80))
        engine = prepare(setup, slow).engine
        changed: dict[int, Any] = {}
        over = False
        while not over:
            over = engine.run(20)
            log = engine.book.shelves["masks"].downlink.log
            changed |= {v: np.frombuffer(m.changed, np.uint8) for v, m in log.items() if v not in changed}
        each = [changed[v] for v in sorted(changed)]
        unions = [
            np.mean(
                [np.unpackbits(np.bitwise_or.reduce(each[a : a + k])).sum() for a in range(0, len(each) - k + 1, 2)]
            )
            / task.schema.size
            for k in (1, 3, 10)
        ]
        b = engine.totals()
        accuracy = learner(0).evaluate(engine.book.model("masks"), "test")["accuracy"]
        unit = task.schema.nbytes * engine.server.state.updates
        kinds = [round(b[k] / unit, 3) for k in ("critical", "prefetched")]
        rows.append([name, *(round(float(u), 3) for u in unions), round(accuracy, 3), *kinds])
    return rows


# --- the page ------------------------------------------------------------------------------------------------

STC = "STC, 300 of the authors' devices, 10 of 13 clients in each of 200 rounds, a window of three rounds"
ASKED: dict[str, tuple[Callable[[], Rows], str, str, tuple[str, ...]]] = {
    "worlds": (
        worlds,
        "Links that vary, devices that leave, a shared server",
        f"{STC}, rates measured, three seeds. Time and wait are those without prefetch by those with it, bytes the "
        "other way round. Missed: of the clients that had begun to fetch ahead, those more than one version behind "
        "when their round began, in %. Wasted: of bytes down, in %. A trace moves each link around its own mean.",
        ("world", "time", "mean wait", "bytes", "missed", "wasted", "the same without prefetch"),
    ),
    "behind": (
        behind,
        "Bytes to catch up",
        "By the model's, against versions since a client was last up to date (frames included).",
        ("codec", "1", "2", "5", "10", "20", "40"),
    ),
    "away": (
        away,
        "Bytes against rounds since the last participation",
        "STC; models fetched per job, in time and ahead together, by rounds since its client's last job (and how many "
        "jobs those were), for three sampling rates.",
        ("sampled", "prefetch", *(f"{a} to {b}" if b < 10**9 else f"{a} or more" for a, b in AWAY)),
    ),
    "audit": (
        audit,
        "Bytes by what they were good for, technique by technique",
        "Models per accepted update, 300 devices, one seed; and seconds: in all, and waited by the mean client.",
        ("method", "window", "up", "refused", "critical", "prefetched", "overcommitted", "wasted", "time", "wait"),
    ),
    "window": (
        window,
        "A window that adapts",
        "Time and mean wait without prefetch by those with it, and bytes with it by those without, STC, three seeds. "
        "Every client begins as late as it can, so the window is only how far ahead anybody may begin; what grows with "
        "it in the paper's rule is what those fetch who cannot be in time. Ours lets them begin only as early as that "
        "helps (`by = \"finish\", tail = \"useful\"`).",
        ("window", "paper: time", "wait", "bytes", "ours: time", "wait", "bytes"),
    ),
    "ahead": (
        ahead,
        "Asynchronous methods",
        "2,800 devices, 40 jobs in flight, a step per 30 updates, 1,000 steps: mean seconds between routing and "
        "training without and with prefetch, their ratio, bytes per job, mean staleness without and with. Hold: by how "
        "many versions what a client trains from may be older if its link cannot follow.",
        ("method", "routes ahead", "hold", "wait without", "with", "ratio", "bytes", "staleness without", "with"),
    ),
    "drift": (
        drift,
        "Concept drift",
        "Ten Gaussian classes, 60 clients, 8 of 10 per round; all labels move on by one every 20 rounds. Accuracy on "
        "the labels of the time: mean over 80 rounds, and five rounds after a change; two seeds. Cohorts drawn early "
        "still train from the newest model on the newest data; what is old is only who was drawn.",
        ("method", "window", "mean accuracy", "five rounds after"),
    ),
    "masks": (
        masks,
        "Masks that can be foreseen",
        "The same task at rest, 80 rounds: share of coordinates changed by 1, 3 and 10 updates, accuracy, models "
        "fetched per update in time and ahead.",
        ("mask of the downlink", "1", "3", "10", "accuracy", "critical", "prefetched"),
    ),
}  # fmt: skip


def page(answers: dict[str, Rows]) -> str:
    """The answers as Markdown."""
    lines = [
        "# What FedFetch's paper leaves open",
        "",
        "Written by `python -m benchmarks.fedfetch_questions` from `fedfetch-questions.json`.",
    ]
    for name, (_, title, text, head) in ASKED.items():
        if name in answers:
            lines += ["", f"## {title}", "", text, "", f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
            lines += ["| " + " | ".join(str(x) for x in row) + " |" for row in answers[name]]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Ask, keep the answers, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *ASKED], metavar="NAME", help=", ".join(ASKED))
    asked = parser.parse_args().names or list(ASKED)
    answers = json.loads(ANSWERS.read_text()) if ANSWERS.exists() else {}
    for name in asked:
        answers[name] = ASKED[name][0]()
        print(name, *answers[name], sep="\n", flush=True)
        ANSWERS.write_text(json.dumps(answers, indent=1) + "\n")
        (DOCS / "fedfetch.md").write_text(page(answers))


if __name__ == "__main__":
    main()
