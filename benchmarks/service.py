"""The service under load: ``python -m benchmarks.service PART...`` (default: all; ``--soak`` for the long figures).

Server and devices are processes of their own on this machine, over TLS, every request signed. Devices of ``load`` and
``dispatch`` send made-up updates (training would take the cores); those of ``agree`` are ``hocket join --emulate``.

| part | what it measures |
|---|---|
| load | 200 clients, 100 updates/s of 64 KiB for 30 s: acceptance time, lost, doubled; then kill -9 and recovery |
| dispatch | 1,000 long-polling clients: from an answer to the next instruction at an idle client; CPU while all wait |
| edge | 200 MB over a link that is cut every 2 s |
| roundtrip | a model of 1 MB out, an update of 1 MB in, answered |
| agree | the same experiment file simulated and served to 20 device processes: time to target, bytes on the socket |
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from hocket.experiment import document
from hocket.lease import Edge, Lease, Node
from hocket.record.log import KINDS, read_log
from hocket.service.keep import Keep
from hocket.service.link import Link
from hocket.service.operate import ask
from hocket.service.protocol import Exchange, Head, Step, Want, join_update
from hocket.service.serve import MEASURE, Options, Service, Serving
from hocket.service.tls import client_context
from hocket.setup import Setup

TASK = """
name = "load"
seed = 1
[task]
kind = "gaussian"
clients = {clients}
classes = 8
dim = 8
hidden = [{hidden}]
samples = 2
held_out = 50
[fleet]
kind = "synthetic"
[strategy]
use = "fedbuff"
buffer = 10
in_flight = {in_flight}
[until]
updates = 100000000
[evaluation]
every = 1000
"""
AGREE = """
name = "agree"
seed = 2
[task]
kind = "gaussian"
clients = 20
samples = 40
alpha = 0.3
local.lr = 0.002
[fleet]
kind = "synthetic"
compute = {compute}
down = {down}
up = {up}
[strategy]
use = "fedbuff"
buffer = 5
in_flight = 15
[until]
accuracy = {target}
confirm = 2
updates = 5000
"""


class Server:
    """``hocket serve`` in a process of its own."""

    def __init__(self, folder: Path, text: str) -> None:
        self.folder, self.port, self.url, self.recovery = folder, 0, "", 0.0
        (folder / "file.toml").write_text(text)
        self.experiment = document.load(folder / "file.toml")
        e = self.experiment
        self.setup = Setup.of(
            e.tasks, e.strategy, e.until, seed=e.seed, evaluation=e.evaluation, measure=MEASURE
        )  # fmt: skip
        self.run, self.ca = folder / "run", folder / "run" / "tls" / "ca.pem"

    async def start(self, invite: int = 0) -> None:
        command = (
            sys.executable, "-m", "hocket", "serve", str(self.folder / "file.toml"), "--out", str(self.run), "--port",
            str(self.port), "--invite", str(invite),
        )  # fmt: skip
        self.process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert self.process.stdout is not None
        while line := (await self.process.stdout.readline()).decode():
            if line.startswith("recovered in"):
                self.recovery = float(line.split()[2])
            if line.startswith("serving"):
                self.url = line.split()[1].rstrip(";")
                self.port = int(self.url.rpartition(":")[2])
                return
        raise SystemExit("the server did not start")

    async def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        await self.process.communicate()

    def cpu(self, loop: bool = False) -> float:
        """Seconds of CPU so far, or those of its event loop alone (the process's first thread)."""
        pid = self.process.pid
        stat = Path(f"/proc/{pid}/task/{pid}/stat" if loop else f"/proc/{pid}/stat")
        fields = stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Resident bytes."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def counted(self) -> Counter[int]:
        """How often each lease was accepted, by the event log, which a restart completes from the journal."""
        log = read_log(self.run)
        lease, kind = log["lease"].to_numpy(), log["kind"].to_numpy()
        out = Counter(lease[kind == KINDS.index("arrived")].tolist())
        out.subtract(lease[kind == KINDS.index("refused")].tolist())
        return +out


class Sender:
    """A device that sends made-up updates."""

    def __init__(self, link: Link, setup: Setup) -> None:
        self.link, self.setup = link, setup
        (task,) = setup.tasks.values()
        self.delta = np.random.default_rng(0).normal(0, 1e-6, task.schema.size).astype(np.float32)

    def update(self, lease: Lease) -> bytes:
        task = self.setup.tasks[lease.task]
        data, _ = self.setup.strategy.tasks[lease.task].uplink.encode(None, self.delta, None, task.schema, lease)
        return join_update(Head(1, {"loss": 1.0}), data)

    async def work(self, *held: int) -> tuple[Lease, ...]:
        return (await self.link.exchange(Exchange(held, wait=True))).work


async def joined(server: Server, stack: AsyncExitStack, count: int) -> list[Sender]:
    tokens = (server.run / "tokens").read_text().split()
    context = client_context(server.ca)
    out: list[Sender] = []

    async def one(i: int) -> Sender:
        keep = Keep(server.folder / f"device{i}")
        stack.callback(keep.close)
        link = await stack.enter_async_context(Link(server.url, keep, context))
        await link.join(tokens[i])
        return Sender(link, server.setup)

    for at in range(0, count, 50):  # a few at a time: joining syncs the register
        out += await asyncio.gather(*(one(i) for i in range(at, min(at + 50, count))))
    return out


def percentiles(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {f"p{p}_ms": 1e3 * ordered[min(len(ordered) - 1, len(ordered) * p // 100)] for p in (50, 99)}


async def load(folder: Path, clients: int, rate: float, seconds: float, dropout: float) -> dict[str, Any]:
    """Updates at a steady rate; every acceptance is timed from the first byte sent to the answer read."""
    server = Server(folder, TASK.format(clients=clients, hidden=963, in_flight=clients))
    await server.start(clients)
    taken: list[float] = []
    acknowledged: Counter[int] = Counter()
    memory: list[tuple[float, int]] = []
    dice = np.random.default_rng(3)
    async with AsyncExitStack() as stack:
        senders = await joined(server, stack, clients)
        began = asyncio.get_running_loop().time()
        cpu, loop_cpu = server.cpu(), server.cpu(loop=True)

        async def one(i: int, sender: Sender) -> None:
            loop, n = asyncio.get_running_loop(), 0
            while (due := began + (i + n * clients) / rate) < began + seconds:
                n += 1
                while not (work := await sender.work()):
                    pass
                await asyncio.sleep(due - loop.time())
                if dice.random() < dropout:
                    await sender.link.exchange(Exchange(failed=((work[0].id, "dropped"),)))
                    continue
                update = sender.update(work[0])
                at = loop.time()
                answer = await sender.link.upload(work[0].id, update)
                taken.append(loop.time() - at)
                acknowledged[work[0].id] += not answer

        async def watch() -> None:
            while True:
                memory.append((float(len(taken)), server.memory()))
                await asyncio.sleep(5)

        watching = asyncio.create_task(watch())
        await asyncio.gather(*(one(i, s) for i, s in enumerate(senders)))
        wall = asyncio.get_running_loop().time() - began
        watching.cancel()
        cpu, loop_cpu = server.cpu() - cpu, server.cpu(loop=True) - loop_cpu
        await server.kill()
    at = time.monotonic()
    await server.start()
    up = time.monotonic() - at
    await server.kill(signal.SIGTERM)
    counted = server.counted()
    late = memory[len(memory) // 3 :]  # the first third is for every connection to be open once
    slope = np.polyfit(*zip(*late, strict=True), 1)[0] * 1e6 / 2**20 if len(late) > 2 else float("nan")
    resident = [size / 2**20 for _, size in memory]
    return {
        "clients": clients, "asked_per_s": rate, "seconds": wall, "accepted_per_s": sum(acknowledged.values()) / wall,
        **percentiles(taken), "max_ms": 1e3 * max(taken), "acknowledged": sum(acknowledged.values()),
        "lost": len(set(acknowledged) - set(counted)), "doubled": sum(n > 1 for n in counted.values()),
        "server_cpu": cpu / wall, "cpu_ms_per_update": 1e3 * cpu / max(1, len(taken)),
        "of_it_event_loop": loop_cpu / cpu, "event_loop_ms_per_update": 1e3 * loop_cpu / max(1, len(taken)),
        "memory_mib": {"first": resident[0], "most": max(resident), "last": resident[-1]},
        "memory_slope_mib_per_million": float(slope), "recovery_s": server.recovery, "restart_s": up,
    }  # fmt: skip


async def dispatch(folder: Path, clients: int, steps: int, idle: float) -> dict[str, Any]:
    """One lease at a time goes round among clients that all wait."""
    server = Server(folder, TASK.format(clients=clients, hidden=8, in_flight=1))
    await server.start(clients)
    from_answer: list[float] = []
    from_update: list[float] = []
    async with AsyncExitStack() as stack:
        senders = await joined(server, stack, clients)
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        sent = answered = 0.0
        measuring = False

        async def one(sender: Sender) -> None:
            nonlocal sent, answered
            while not over.is_set():
                for lease in await sender.work():
                    now = loop.time()
                    if measuring and sent:
                        from_update.append(now - sent)
                        from_answer.append(max(0.0, now - answered) if answered >= sent else 0.0)
                    if len(from_update) >= steps:
                        over.set()
                        return
                    sent = loop.time()
                    answer = await sender.link.upload(lease.id, sender.update(lease))
                    answered = loop.time()
                    assert not answer, answer

        tasks = [asyncio.create_task(one(s)) for s in senders]
        await asyncio.sleep(2)
        measuring = True
        await over.wait()
        await asyncio.sleep(1)
        before, at = server.cpu(), time.monotonic()
        await asyncio.sleep(idle)
        cpu = (server.cpu() - before) / (time.monotonic() - at)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.kill()
    return {
        "clients": clients, "steps": len(from_update),
        "answer_to_instruction": percentiles(from_answer), "update_to_instruction": percentiles(from_update),
        "idle_cpu": cpu,
    }  # fmt: skip


class Proxy:
    """A link in between: counts bytes, and cuts every connection at times."""

    def __init__(self, port: int, rate: float = 0.0) -> None:
        self._port, self._rate = port, rate
        self.up = self.down = self.cuts = self.connections = 0
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 18)
        return int(self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, out = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 18)
        except OSError:
            writer.close()
            return
        self.connections += 1
        self._open |= {writer, out}

        async def pump(source: asyncio.StreamReader, to: asyncio.StreamWriter, down: bool) -> None:
            try:
                while data := await source.read(1 << 16):
                    if down:
                        self.down += len(data)
                        if self._rate:
                            await asyncio.sleep(len(data) / self._rate)
                    else:
                        self.up += len(data)
                    to.write(data)
                    await to.drain()
            except (ConnectionError, OSError):
                pass
            finally:
                to.close()

        await asyncio.gather(pump(reader, out, False), pump(there, writer, True))
        self._open -= {writer, out}

    def cut(self) -> None:
        self.cuts += 1
        for writer in list(self._open):
            writer.transport.abort()

    def close(self) -> None:
        self._server.close()
        self.cut()


async def edge(folder: Path, megabytes: int, every: float, rate: float) -> dict[str, Any]:
    """Fetch a large edge through a link that is cut."""
    (folder / "file.toml").write_text(TASK.format(clients=2, hidden=8, in_flight=1))
    service = Service(document.load(folder / "file.toml"), folder / "run", Options(port=0, linger=0.1))
    up: asyncio.Future[Serving] = asyncio.get_running_loop().create_future()
    serving_task = asyncio.create_task(service.serve(up.set_result))
    serving = await up
    data = np.random.default_rng(1).bytes(megabytes * 1_000_000)
    name = service.edges.digest(data)
    service.edges._data[name] = data
    proxy = Proxy(int(serving.url.rpartition(":")[2]), rate)
    keep = Keep(folder / "device")
    port = await proxy.start()

    async def cutting() -> None:
        while True:
            await asyncio.sleep(every)
            proxy.cut()

    try:
        async with Link(f"https://127.0.0.1:{port}", keep, client_context(serving.ca)) as link:
            (token,) = serving.register.invite()
            await link.join(token)
            cut = asyncio.create_task(cutting())
            at = time.monotonic()
            step = Step(Edge(Node("gaussian", 0), None, len(data)), name, len(data))
            got = await link.download(step, -1)
            took = time.monotonic() - at
            cut.cancel()
    finally:
        keep.close()
        proxy.close()
        service.stop()
        await serving_task
    return {
        "bytes": len(data), "equal": got == data, "seconds": took, "uncut_seconds": len(data) / rate,
        "cuts": proxy.cuts, "sent_again": proxy.down - len(data),
    }  # fmt: skip


async def roundtrip(folder: Path, count: int) -> dict[str, Any]:
    """A lease's whole way without training: instruction, path, model, update, answer."""
    server = Server(folder, TASK.format(clients=1, hidden=15420, in_flight=1))
    await server.start(1)
    taken: list[float] = []
    async with AsyncExitStack() as stack:
        (sender,) = await joined(server, stack, 1)
        for _ in range(count):
            at = time.monotonic()
            while not (work := await sender.work()):
                pass
            lease = work[0]
            steps = await sender.link.path(Want(lease.id, lease.node, None))  # type: ignore[arg-type]
            assert steps is not None
            for step in steps:
                assert await sender.link.download(step, lease.id) is not None
            await sender.link.exchange(Exchange((lease.id,), fetched=((lease.id, lease.node),), started=(lease.id,)))  # type: ignore[arg-type]
            assert await sender.link.upload(lease.id, sender.update(lease)) == ""
            taken.append(time.monotonic() - at)
        await server.kill()
    (task,) = server.setup.tasks.values()
    return {
        "model_bytes": task.schema.nbytes, "count": count, "mean_ms": 1e3 * statistics.fmean(taken),
        "median_ms": 1e3 * statistics.median(taken),
    }  # fmt: skip


async def agree(folder: Path, target: float, slow: float) -> dict[str, Any]:
    """Simulate a file, then serve the very same file."""
    import hocket as hk
    from hocket.fleet import Fleet

    fleet = Fleet.synthetic(20, seed=2)
    columns = {
        "compute": [float(x) for x in np.clip(fleet.compute / np.median(fleet.compute), 0.4, 4) * slow],
        "down": [float(x) for x in np.clip(fleet.down / np.median(fleet.down), 0.3, 3) * 40_000],
        "up": [float(x) for x in np.clip(fleet.up / np.median(fleet.up), 0.3, 3) * 20_000],
    }
    server = Server(folder, AGREE.format(target=target, **columns))
    e = server.experiment
    simulated = hk.simulate(e.tasks, e.fleet, e.strategy, e.until, seed=e.seed, evaluation=e.evaluation)
    await server.start(20)
    await asyncio.to_thread(ask, server.run, "POST", "/pause/gaussian")
    proxy = Proxy(server.port)
    port = await proxy.start()
    tokens = (server.run / "tokens").read_text().split()
    order = await asyncio.gather(
        *(
            asyncio.create_subprocess_exec(
                sys.executable, "-m", "hocket", "join", f"https://127.0.0.1:{port}", "--ca", str(server.ca), "--token",
                t, "--state", str(folder / f"device{i}"), "--emulate", stdout=asyncio.subprocess.DEVNULL,
            )
            for i, t in enumerate(tokens)
        )
    )  # fmt: skip
    status: dict[str, Any] = {}
    while status.get("online") != 20:
        await asyncio.sleep(0.2)
        status = json.loads(await asyncio.to_thread(ask, server.run, "GET", "/status"))
    before = proxy.up, proxy.down
    began = json.loads(await asyncio.to_thread(ask, server.run, "POST", "/resume/gaussian"))["time_s"]
    await server.process.communicate()
    codes = [await p.wait() for p in order]
    proxy.close()
    summary = json.loads((server.run / "summary.json").read_text())
    machine = json.loads((server.run / "machine.json").read_text())
    reached = summary["tasks"]["gaussian"]["time_to_target_s"] - began
    expected = simulated.summary["tasks"]["gaussian"]["time_to_target_s"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hocket", "replay", str(server.run / "journal"), str(folder / "file.toml"), "--measure",
        "finite", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    digest = (await process.communicate())[0].decode().strip()
    sent = summary["bytes"]
    return {
        "target": target, "simulated_s": expected, "served_s": reached, "difference": reached / expected - 1,
        "simulated_updates": simulated.summary["updates"], "served_updates": summary["updates"],
        "staleness": [simulated.summary["staleness"]["mean"], summary["staleness"]["mean"]],
        "digest_equal": digest == machine["digest"], "exit_codes": sorted(set(codes)),
        "ledger_up": sent["up"], "ledger_down": sent["down"],
        "socket_up": proxy.up - before[0], "socket_down": proxy.down - before[1],
        "socket_over_ledger_per_update": [
            (proxy.up - before[0] - sent["up"]) / summary["updates"],
            (proxy.down - before[1] - sent["down"]) / summary["updates"],
        ],
    }  # fmt: skip


PARTS = ("load", "dispatch", "edge", "roundtrip", "agree")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--clients", type=int, default=200, help="of load, without --soak")
    parser.add_argument("--rate", type=float, default=100.0, help="updates/s of load, without --soak")
    parser.add_argument("--seconds", type=float, default=30.0, help="of load, without --soak")
    parser.add_argument(
        "--soak", action="store_true", help="2,000 clients, 334 updates/s for 10 minutes, a tenth of them dropped"
    )
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    many = (2000, 334.0, 600.0, 0.1) if options.soak else (options.clients, options.rate, options.seconds, 0.0)
    work = {
        "load": lambda folder: load(folder, *many), "dispatch": lambda folder: dispatch(folder, 1000, 300, 20.0),
        "edge": lambda folder: edge(folder, 200, 2.0, 40e6), "roundtrip": lambda folder: roundtrip(folder, 30),
        "agree": lambda folder: agree(folder, 0.75, 0.004),
    }  # fmt: skip
    found: dict[str, Any] = {"machine": f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f}"}
    for part in options.parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            found[part] = asyncio.run(work[part](Path(folder)))
        print(part, msgspec.json.format(msgspec.json.encode(found[part]), indent=2).decode(), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
