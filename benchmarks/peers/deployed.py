"""A round trip of deployed Flower and of the service, one sitting: ``python -m benchmarks.peers.deployed``.

A float32 model of 1 MB goes out to one device and a reply of 1 MB comes back, over loopback. Flower: SuperLink,
SuperNode and apps as its command line starts them, without TLS, a ClientApp that answers what it got; the ServerApp
asks for the reply every 50 ms, not every 3 s as its ``send_and_receive`` does. hocket: ``hocket serve`` and
``hocket join`` as processes, TLS and signatures on, journal synced, the built-in learner trains in each trip; a trip
is the time from one accepted update to the next.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.peers.environment import install, interpreter
from benchmarks.service import TASK, Server
from hocket.record.log import KINDS, read_log

ROOT = Path(__file__).parent.parent.parent
PYPROJECT = """
[project]
name = "roundtrip"
version = "1.0.0"
dependencies = []
[tool.flwr.app]
publisher = "benchmark"
[tool.flwr.app.components]
serverapp = "roundtrip.server:app"
clientapp = "roundtrip.client:app"
[tool.flwr.app.config]
out = ""
trips = 1
"""
CONFIG = """
[superlink]
default = "here"
[superlink.here]
address = "127.0.0.1:{port}"
insecure = true
"""
CLIENT = """
from flwr.app import Message
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message, context):
    return Message(content=message.content, reply_to=message)
"""
SERVER = """
import json, pathlib, time
import numpy as np
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()


@app.main()
def main(grid, context):
    while not (nodes := list(grid.get_node_ids())):
        time.sleep(0.1)
    taken = []
    for trip in range(int(context.run_config["trips"])):
        model = np.random.default_rng(trip).standard_normal(250_000, dtype=np.float32)
        at = time.monotonic()
        content = RecordDict({"arrays": ArrayRecord({"model": Array(model)})})
        sent = grid.push_messages([Message(content=content, dst_node_id=nodes[0], message_type="train")])
        while not (replies := list(grid.pull_messages(sent))):
            time.sleep(0.05)
        assert not replies[0].has_error(), replies[0].error
        taken.append(time.monotonic() - at)
    pathlib.Path(context.run_config["out"]).write_text(json.dumps(taken))
"""


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def flower(folder: Path, environment: Path, trips: int) -> list[float]:
    """Seconds of each trip."""
    app, home, out = folder / "roundtrip", folder / "home", folder / "taken.json"
    (app / "roundtrip").mkdir(parents=True)
    home.mkdir()
    (app / "pyproject.toml").write_text(PYPROJECT)
    for name, text in (("__init__", ""), ("client", CLIENT), ("server", SERVER)):
        (app / "roundtrip" / f"{name}.py").write_text(text)
    port = free_port()
    (home / "config.toml").write_text(CONFIG.format(port=port))
    scripts = interpreter("flower", environment).parent
    variables = {
        **os.environ, "FLWR_HOME": str(home), "FLWR_TELEMETRY_ENABLED": "0", "PATH": f"{scripts}:{os.environ['PATH']}"
    }  # fmt: skip
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> None:
        log = (folder / f"{command[0]}.log").open("wb")
        started.append(
            subprocess.Popen(command, env=variables, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        )

    try:
        start("flower-superlink", "--insecure", "--port", str(port), "--disable-runtime-dependency-installation")
        wait_for(lambda: reachable(port), 60)
        start("flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{port}", "--port", str(free_port()))
        run = ("flwr", "run", str(app), "here", "-c", f'out="{out}" trips={trips}')
        subprocess.run(run, env=variables, check=True, stdout=subprocess.DEVNULL)
        wait_for(out.exists, 60 + 15 * trips)
        time.sleep(0.2)
        return list(json.loads(out.read_text()))
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def reachable(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(done: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise SystemExit(f"Flower was not there after {seconds:.0f} s")
        time.sleep(0.2)


async def ours(folder: Path, trips: int) -> list[float]:
    """Seconds of each trip, the first dropped: nothing was accepted before it."""
    text = TASK.format(clients=1, hidden=15420, in_flight=1).replace("100000000", str(trips + 1))
    server = Server(folder, text)
    await server.start(1)
    (token,) = (server.run / "tokens").read_text().split()
    device = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hocket", "join", server.url, "--ca", str(server.ca), "--token", token, "--state",
        str(folder / "device"), stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    await server.process.communicate()
    if device.returncode is None:
        device.terminate()
    await device.wait()
    log = read_log(server.run)
    at = log["time_ns"].to_numpy()[log["kind"].to_numpy() == KINDS.index("arrived")]
    return [float(x) for x in np.diff(at) / 1e9]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trips", type=int, default=12)
    parser.add_argument("--folder", type=Path, default=ROOT / ".peers", help="where environments are kept")
    options = parser.parse_args()
    if said := install("flower", environment := options.folder.absolute()):
        raise SystemExit(said)
    ratios = []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as a, tempfile.TemporaryDirectory() as b:
            theirs = told("flower", flower(Path(a), environment, options.trips))
            ratios.append(theirs / told("hocket", asyncio.run(ours(Path(b), options.trips))))
    print(f"hocket is {ratios[0]:.0f} and {ratios[1]:.0f} times as fast")


def told(name: str, taken: list[float]) -> float:
    median = statistics.median(taken)
    print(f"{name}: {len(taken)} trips, median {median:.3f} s, {min(taken):.3f} to {max(taken):.3f}", flush=True)
    return median


if __name__ == "__main__":
    main()
