"""A planner behind a served run: asked when the run begins and when devices are not what their file said."""

import asyncio
import tomllib
from pathlib import Path

import numpy as np
import pytest

from hocket import events as on
from hocket.experiment import document
from hocket.service import join
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


def test_a_plan_that_cannot_be_made_ends_the_service_with_a_reason(tmp_path: Path) -> None:
    from hocket.errors import InvalidInput

    e = document.parse(tomllib.loads(FILE.replace("compute = 0.0005", "compute = 0.0\nundefined_is_free = true")))

    async def main() -> None:
        with pytest.raises(InvalidInput, match="takes no time to train"):
            async with served(e, tmp_path / "run"):
                await asyncio.sleep(3)

    asyncio.run(main())
