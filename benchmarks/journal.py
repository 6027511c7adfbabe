"""What durability costs: ``python -m benchmarks.journal`` (``--quick`` for a minute's worth, nothing written).

Commits: updates with bodies of 64 KiB arrive at a journal, up to 64 wait for each commit, and every 1,000 a
checkpoint of a model of 1,000,000 parameters is written between two commits. An acknowledgement is timed from
the moment its update is handed to the journal; once flat out, once at a steady 300 arrivals per second.

Recovery: a run of 100,000 updates (FedBuff, buffer 10, 100 in flight, top-8192 of 1,000,000 coordinates in
64 KiB, a checkpoint every 1,000) is killed one update before its last checkpoint is due, with the write-ahead
log as the last commit left it; a new process recovers server, book and accounts.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

import hocket as hk
from hocket import actions as do
from hocket import events as on
from hocket.keyed import generator
from hocket.learning import LocalSGD
from hocket.learning.learner import Trained
from hocket.lease import Cover, Lease
from hocket.received import Received, Sent
from hocket.record.account import Account
from hocket.record.curve import Curve
from hocket.record.ledger import Ledger
from hocket.schema import Schema, Segment, Vector
from hocket.setup import Setup
from hocket.snapshot import pack
from hocket.store import SQLiteStore
from hocket.store.journal import EVERY, Journal, state_digest
from hocket.store.recovery import recover

SIZE = 1_000_000
TOP = 8192  # coordinates of 8 bytes: bodies of 64 KiB
GROUP = 64
RATE = 300.0  # arrivals per second
DOCS = Path(__file__).parent.parent / "docs" / "benchmarks"
PAIR = np.dtype([("at", "<u4"), ("value", "<f4")])


class Top(Struct, frozen=True, tag="top", tag_field="kind"):
    """An uplink of index and value pairs."""

    lossless: bool = False

    def size(self, schema: Schema, cover: Cover) -> tuple[int, bool]:
        return TOP * PAIR.itemsize, True

    def encode(
        self, memory: None, delta: Vector, aux: bytes | None, schema: Schema, lease: Lease
    ) -> tuple[bytes, None]:
        raise NotImplementedError

    def decode(self, data: bytes, schema: Schema, lease: Lease) -> tuple[Vector, None]:
        pairs, out = np.frombuffer(data, PAIR), np.zeros(schema.size, np.float32)
        out[pairs["at"]] = pairs["value"]
        return out, None

    def settle(self, memory: None, ordinal: int, accepted: bool) -> None: ...


class Flat:
    """A learner whose updates are made up; it only has a first model."""

    def __init__(self, clients: int) -> None:
        self.schema = Schema((Segment("w", (SIZE,)),))
        self.samples = np.full(clients, 10)

    def initial(self, seed: int) -> Vector:
        return np.zeros(SIZE, np.float32)

    def train(self, jobs: Any) -> list[Trained]:
        raise NotImplementedError

    def evaluate(self, x: Vector, split: str) -> dict[str, float]:
        return {"loss": float(x[0])}


def body(seed: int) -> bytes:
    """An update of 64 KiB."""
    g, pairs = generator(seed), np.empty(TOP, PAIR)
    pairs["at"] = np.sort(g.choice(SIZE, TOP, replace=False))
    pairs["value"] = g.standard_normal(TOP) * 0.01
    return pairs.tobytes()


class Run:
    """A recorded run without devices: every lease is answered at once."""

    def __init__(self, folder: Path, updates: int) -> None:
        task = hk.Task.of(Flat(200), LocalSGD(lr=0.1, batch_size=10, steps=1), name="flat")
        method = hk.compose(hk.strategies.fedbuff(10, 100), hk.Strategy("top", task=hk.TaskPart(uplink=Top())))
        setup = Setup.of(task, method, hk.Until(updates=updates), measure=("finite",))
        self.tasks = setup.tasks
        self.received, self.now = Received(setup.strategy.tasks, setup.tasks), 0
        self.server, self.book = setup.build(self.received, journaled=True)
        began = time.perf_counter()
        self.store = SQLiteStore(folder)
        opened = time.perf_counter()
        found = self.store.recover()
        read = time.perf_counter()
        at = recover(found, setup, self.server, self.book, self.received, Account(Curve(), Ledger()))
        done = time.perf_counter()
        self.times = {"open_s": opened - began, "read_s": read - opened, "rebuild_s": done - read}
        self.records = len(found.records)
        self.account = at.account
        self.journal = Journal(self.store, setup.digest(), updates=at.saved)
        if not at.begun:
            self.journal.begin()
        self.bodies = [body(s) for s in range(32)]
        self.assigned: deque[Lease] = deque()

    def tell(self, event: on.Event, sent: bytes = b"") -> None:
        """Journal an event, handle it and carry out what follows."""
        events = deque([(event, sent)])
        while events:
            event, sent = events.popleft()
            self.now += 1000
            self.journal.append(self.now, event, sent)
            if isinstance(event, on.Evaluated):
                self.account.evaluated(event, self.now, self.server.state.updates)
            for a in self.server.handle(event, self.now):
                match a:
                    case do.Assign():
                        self.account.assign(a.lease, self.book)
                        self.assigned.append(a.lease)
                    case do.Decode():
                        events.append(
                            (on.Measured(a.lease, self.received.measure(self.account.open[a.lease].lease)), b"")
                        )
                    case do.Accumulate():
                        self.account.accumulate(a, self.book)
                    case do.Step():
                        events.append((self.book.step(a.task), b""))
                    case do.Evaluate():
                        version = self.book.shelves[a.task].node.version
                        events.append((on.Evaluated(a.task, version, a.subject, a.split, {"loss": 0.0}), b""))

    def until(self, updates: int) -> None:
        """Go on until so many are accepted and durable."""
        if not self.server.state.begun:
            self.tell(on.Joined(tuple(range(200))))
        while self.server.state.updates < updates:
            self.journal.save(self.server, self.book, self.received, self.account, self.now)
            for _ in range(min(8, updates - self.server.state.updates)):
                lease = self.assigned.popleft()
                sent = Sent(self.bodies[lease.id % len(self.bodies)], 10, {"loss": 1.0})
                self.received.put(lease.id, sent)
                self.account.count("upload", lease.id, len(sent.data))
                self.tell(on.Arrived(lease.id, lease.client, len(sent.data), 10), pack(sent))
            self.journal.sync()
            self.tell(on.Durable(self.server.state.events))


def live(folder: Path, updates: int) -> None:
    """Run to one update before the last checkpoint is due, say so, and wait to be killed."""
    run = Run(folder, 2 * updates)
    began = time.perf_counter()
    run.until(updates - 1)
    run.journal.sync()
    print(json.dumps({"run_s": time.perf_counter() - began, "digest": state_digest(run.server, run.book)}), flush=True)
    signal.pause()


def again(folder: Path, updates: int) -> None:
    """Recover, and say how long it took."""
    run = Run(folder, 2 * updates)
    size = sum(p.stat().st_size for p in folder.iterdir())
    digest, updates = state_digest(run.server, run.book), run.server.state.updates
    print(json.dumps({**run.times, "records": run.records, "bytes": size, "updates": updates, "digest": digest}))


def killed(folder: Path, updates: int) -> dict[str, Any]:
    """Run, kill, recover three times (each takes a term and changes nothing else)."""
    command = [sys.executable, "-m", "benchmarks.journal"]
    with subprocess.Popen([*command, "--live", folder, str(updates)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        before = json.loads(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
    out: dict[str, Any] = {"updates": updates, "run_s": before["run_s"], "recoveries": []}
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run([*command, "--again", folder, str(updates)], check=True, capture_output=True, text=True)
        found = {"process_s": time.perf_counter() - began, **json.loads(done.stdout)}
        assert found["digest"] == before["digest"] and found["updates"] == updates - 1
        found["recovery_s"] = found["open_s"] + found["read_s"] + found["rebuild_s"]
        out["recoveries"].append(found)
    return out


def commits(folder: Path, updates: int, rate: float | None) -> dict[str, Any]:
    """Time acknowledgements of a journal, at ``rate`` arrivals per second or flat out."""
    store, bodies = SQLiteStore(folder), [os.urandom(64 << 10) for _ in range(64)]
    journal = Journal(store, "run")
    journal.begin()
    state = {"book": os.urandom(12 * SIZE)}  # a float32 model and a float64 sum
    waits, arrived, saved = [], 0, 0
    began = time.perf_counter()
    while arrived < updates:
        due = updates if rate is None else int((time.perf_counter() - began) * rate)
        group = min(due - arrived, GROUP, updates - arrived)
        if group <= 0:
            time.sleep(0.0005)
            continue
        stamps = []
        for i in range(arrived, arrived + group):
            stamps.append(time.perf_counter() if rate is None else began + i / rate)
            journal.append(i, on.Arrived(i, i % 1000, 64 << 10, 10), bodies[i % 64])
        journal.sync()
        now = time.perf_counter()
        waits += [now - s for s in stamps]
        arrived += group
        if arrived - saved >= EVERY:
            store.save(arrived + 1, state)
            saved = arrived
    spent = time.perf_counter() - began
    store.close()
    waits.sort()
    ms = {f"p{q}_ms": 1e3 * waits[min(len(waits) - 1, len(waits) * q // 100)] for q in (50, 99)}
    size = sum(p.stat().st_size for p in folder.iterdir())
    return {"updates_per_s": updates / spent, **ms, "max_ms": 1e3 * waits[-1], "folder_bytes": size}


def main() -> None:
    """Measure, print, and write docs/benchmarks/journal.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3,000 updates, nothing written")
    parser.add_argument("--folder", type=Path, help="where to write (a temporary folder by default)")
    parser.add_argument("--live", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--again", nargs=2, help=argparse.SUPPRESS)
    a = parser.parse_args()
    for work, given in ((live, a.live), (again, a.again)):
        if given:
            work(Path(given[0]), int(given[1]))
            return
    few, many, rounds = (3000, 3000, 1) if a.quick else (10_000, 100_000, 5)
    with tempfile.TemporaryDirectory(dir=a.folder) as folder:
        flat = [commits(Path(folder) / f"flat-{i}", few, None) for i in range(rounds)]
        steady = [commits(Path(folder) / f"steady-{i}", few, RATE) for i in range(1 if a.quick else 2)]
        for name, rows in (("flat out", flat), (f"{RATE:.0f}/s", steady)):
            for r in rows:
                print(f"{name}: {r['updates_per_s']:,.0f}/s, p99 {r['p99_ms']:.0f} ms, max {r['max_ms']:.0f} ms")
        recovery = killed(Path(folder) / "run", many)
    took = statistics.median(r["recovery_s"] for r in recovery["recoveries"])
    print(
        f"durable 64 KiB updates: {statistics.median(r['updates_per_s'] for r in flat):,.0f}/s (target 300), p99 "
        f"{max(r['p99_ms'] for r in flat + steady):.0f} ms (limit 250); recovery after {many:,} updates: {took:.2f} s "
        "(limit 5)"
    )
    if a.quick:
        return
    machine = {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, other jobs beside",
    }
    result = {
        "command": "python -m benchmarks.journal",
        "machine": machine,
        "flat_out": flat,
        "steady_300_per_s": steady,
        "recovery": recovery,
    }
    (DOCS / "journal.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
