"""A planner behind a served run: asked when the run begins and when devices are not what their file said."""

import asyncio
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from hocket import events as on
from hocket.errors import InvalidInput
from hocket.experiment import document
from hocket.matching.planned import PlannedRouting
from hocket.planner import Planner
from hocket.queueing import Goal
from hocket.service import join
from hocket.service.operate import ask
from hocket.store import read
from hocket.store.journal import Header, decode
from tests.service.served import devices, replayed, served

FILE = """
seed = 5
[task]
kind = "gaussian"
clients = 4
samples = 40
[fleet]
kind = "synthetic"
compute = 0.0005
down = 1e7
up = 1e7
[strategy]
use = "time_optimal"
in_flight = 4
every = 10
[until]
updates = 90
"""


def test_plans_follow_the_rates_that_devices_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file says that all four are alike; client 0 takes half a second longer."""
    e = document.parse(tomllib.loads(FILE))
    train = join.Daemon._train

    async def slowly(self: join.Daemon, lease: join.Any) -> None:
        await asyncio.sleep(0.5 if lease.client == 0 else 0.01)
        await train(self, lease)

    monkeypatch.setattr(join.Daemon, "_train", slowly)

    async def main() -> None:
        async with served(e, tmp_path / "run") as (_, serving):
            await asyncio.gather(*await devices(serving, tmp_path, 4))

    asyncio.run(main())
    told = [decode(r, "journal") for r in read(tmp_path / "run" / "journal").records]
    plans = [x.event for x in told if not isinstance(x.event, Header) and isinstance(x.event, on.Planned)]
    assert len(plans) >= 2, "the first one counted on the file"
    np.testing.assert_allclose(plans[0].probabilities, 0.25, atol=0.02)
    slow, *others = plans[-1].probabilities
    assert slow < min(others), "who is slow is asked less"
    assert plans[-1].work[0] > max(0.3, *plans[-1].work[1:])
    assert replayed(tmp_path / "run", e).closed  # its digest is that of the live run


def test_a_first_plan_that_cannot_be_made_ends_the_service_with_a_reason(tmp_path: Path) -> None:
    e = document.parse(tomllib.loads(FILE.replace("compute = 0.0005", "compute = 0.0\nundefined_is_free = true")))

    async def main() -> None:
        with pytest.raises(InvalidInput, match="takes no time to train"):
            async with served(e, tmp_path / "run"):
                await asyncio.sleep(3)

    asyncio.run(main())


@pytest.mark.parametrize("when", ["asked", "answered"])
def test_a_later_plan_that_cannot_be_made_leaves_the_old_one_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    """Said once, though it is asked for again and again; the run goes on to its end, and replays."""
    e = document.parse(tomllib.loads(FILE))
    monkeypatch.setattr(PlannedRouting, "drifted", lambda self, state: True)
    made = Planner.tracked

    def tracked(self: Planner, *args: Any) -> Any:
        if when == "asked":
            raise InvalidInput("network: compute[0] = 0; give seconds above 0")
        found = made(self, *args)
        return msgspec.structs.replace(found, network=None)  # its formulas find out in their own thread

    def best(self: Goal, network: Any, joules: Any) -> Any:
        if network is None:
            raise FloatingPointError("overflow")
        return Goal_best(self, network, joules)

    Goal_best = Goal.best
    monkeypatch.setattr(Planner, "tracked", tracked)
    monkeypatch.setattr(Goal, "best", best)
    said: list[dict[str, Any]] = []

    async def main() -> None:
        async with served(e, tmp_path / "run") as (_, serving):
            order = await devices(serving, tmp_path, 4)
            while serving.host.server.state.updates < 60:
                await asyncio.sleep(0.01)
            said.append(msgspec.json.decode(await asyncio.to_thread(ask, tmp_path / "run", "GET", "/status")))
            await asyncio.gather(*order)

    asyncio.run(main())
    told = [decode(r, "journal") for r in read(tmp_path / "run" / "journal").records]
    assert sum(isinstance(x.event, on.Planned) for x in told) == 1
    assert ("compute[0] = 0" if when == "asked" else "overflow") in said[0]["no_new_plan"]
    assert len([r for r in caplog.records if "no new plan" in r.getMessage()]) == 1
    assert replayed(tmp_path / "run", e).closed
