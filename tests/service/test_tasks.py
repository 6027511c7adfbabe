"""Several tasks under one service: what one of them suffers is nothing to the others; operators."""

import asyncio
import json
import tomllib
from functools import partial
from pathlib import Path
from time import monotonic_ns
from typing import Any

import pytest

from hocket.errors import InvalidInput
from hocket.experiment import document
from hocket.experiment.document import Experiment
from hocket.service import desk
from hocket.service.operate import ask
from hocket.service.serve import Options, Service
from hocket.service.uptime import Uptime
from tests.service.served import experiment, hands, replayed, served

TWO = """
seed = 5
[tasks.a]
kind = "gaussian"
samples = 40
[tasks.b]
kind = "gaussian"
samples = 40
[fleet]
kind = "synthetic"
clients = 8
[strategy]
use = "fedast"
buffer = 2
in_flight = 8
[strategy.optimizer]
kind = "sgd"
lr = 1e12
[until]
updates = 1000
"""


def two() -> Experiment:
    return document.parse(tomllib.loads(TWO))


def test_t39_a_task_that_diverges_is_ended_and_the_other_goes_on(tmp_path: Path) -> None:
    e = two()

    async def main() -> str:
        async with served(e, tmp_path / "run", rate=1e6) as (service, serving):
            async with hands(serving, tmp_path, service.setup, 8) as all_of_them:
                state = serving.host.server.state
                while state.tasks["a"].status == "active" or state.tasks["b"].version < 3:
                    assert not state.finished
                    for hand in all_of_them:
                        for lease in (await hand.poll()).work:
                            await hand.submit(lease, value=1e28 if lease.task == "a" else 1e-14)
                assert state.tasks["a"].status == "ended" and state.tasks["b"].status == "active"
                return serving.host.server.snapshot().hex()

    live = asyncio.run(main())
    again = replayed(tmp_path / "run", e)
    assert again.server.snapshot().hex() == live


def test_operators_pause_resume_end_revoke_and_drain(tmp_path: Path) -> None:
    e = experiment(clients=3, buffer=2, in_flight=2)

    async def tell(method: str, path: str) -> dict:  # type: ignore[type-arg]
        said: dict = json.loads(await asyncio.to_thread(ask, tmp_path / "run", method, path))  # type: ignore[type-arg]
        return said

    async def main() -> None:
        async with served(e, tmp_path / "run") as (service, serving):
            async with hands(serving, tmp_path, service.setup, 3) as (one, two, three):
                lease = await one.work()
                assert (await tell("POST", "/pause/gaussian"))["tasks"]["gaussian"]["status"] == "paused"
                assert await one.submit(lease) == "" and not (await one.poll()).work
                assert not (await three.poll()).work
                assert (await tell("POST", "/resume/gaussian"))["tasks"]["gaussian"]["status"] == "active"
                lease = await two.work() if (await two.poll()).work else await one.work()
                with pytest.raises(Exception, match="no task 'other'"):
                    await tell("POST", "/end/other")
                assert (await tell("POST", "/revoke/0"))["revoked"]
                assert (await tell("GET", "/status"))["enrolled"] == 2
                text = (await asyncio.to_thread(ask, tmp_path / "run", "GET", "/metrics")).decode()
                assert "hocket_updates_accepted_total 1.0" in text and "hocket_clients_online 2.0" in text
                assert len((await tell("POST", "/invite?count=3"))["tokens"]) == 3
                await tell("POST", "/drain")
                for hand in (two, three):
                    for left in (await hand.poll()).work:
                        assert await hand.submit(left) == ""
                async with asyncio.timeout(10):
                    await service._stop.wait()  # drained: it stops by itself, and the run goes on later
        assert replayed(tmp_path / "run", e).server.finished == ""

    asyncio.run(main())


def test_a_schedule_is_followed_and_survives_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = [0]
    monkeypatch.setattr(desk, "Uptime", partial(Uptime, source=lambda: monotonic_ns() + ahead[0]))
    at = """
[[schedule]]
at = 6.0
task = "b"
do = "add"
[[schedule]]
at = 9.0
task = "a"
do = "end"
"""
    e = document.parse(tomllib.loads(TWO.replace("lr = 1e12", "lr = 1.0") + at))

    async def statuses(serving: Any, seconds: float = 0.0) -> list[str]:
        for _ in range(round(seconds)):  # a longer gap would be a pause, in which nothing happens
            ahead[0] += 10**9
            await serving.desk.call(lambda host: None)
        state = await serving.desk.call(lambda host: host.server.state)
        return [state.tasks[n].status for n in "ab"]

    async def main() -> None:
        async with served(e, tmp_path / "run") as (service, serving):
            async with hands(serving, tmp_path, service.setup, 2) as both:
                assert await statuses(serving) == ["active", "paused"]
                lease = await both[0].work()
                assert lease.task == "a" and await both[0].submit(lease) == ""
        async with served(e, tmp_path / "run") as (_, serving):
            assert await statuses(serving) == ["active", "paused"]
            assert await statuses(serving, 7) == ["active", "active"]
        async with served(e, tmp_path / "run") as (_, serving):
            assert await statuses(serving) == ["active", "active"]
            assert await statuses(serving, 4) == ["ended", "active"]

    asyncio.run(main())
    assert [t.status for t in replayed(tmp_path / "run", e).server.state.tasks.values()] == ["ended", "active"]
    with pytest.raises(InvalidInput, match="its devices' own"):
        Service(
            document.parse(tomllib.loads(TWO + '[[schedule]]\nat = 1.0\ntask = "a"\ncost = 2.0')),
            tmp_path / "x",
            Options(),
        )
