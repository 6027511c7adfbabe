"""A disk that is slow, and bulk beside the small things: nobody is taken for gone, and little is kept waiting."""

import asyncio
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from hocket.lease import Edge, Node
from hocket.service import serve
from hocket.service.protocol import Step
from hocket.store import SQLiteStore
from tests.service.served import Hand, experiment, hands, replayed, served


def test_t36_a_slow_disk_slows_devices_down_and_loses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every commit takes half a second; a device is gone after two, and there is room for two updates at a time."""

    def slow(step: str) -> None:
        if step == "commit":
            time.sleep(0.5)

    e = experiment(clients=6, buffer=3, in_flight=6)
    most = 0

    async def main() -> None:
        nonlocal most
        async with served(e, tmp_path / "run") as (service, serving), hands(serving, tmp_path, service.setup, 1) as one:
            room = 2 * len(one[0].update(await one[0].work())) + 100
        monkeypatch.setattr(serve, "SQLiteStore", partial(SQLiteStore, hook=slow))
        limits = {"patience": 2.0, "hold": 0.5, "part_limit": room}
        async with (
            served(e, tmp_path / "slow", **limits) as (service, serving),
            hands(serving, tmp_path / "slow", service.setup, 6) as all_of_them,
        ):
            uploads = service.parts

            async def watch() -> None:
                nonlocal most
                while True:
                    most = max(most, uploads.announced)
                    await asyncio.sleep(0.01)

            held: dict[int, tuple[int, ...]] = {hand.client: () for hand in all_of_them}

            async def beat(hand: Hand) -> None:
                """Heard of while it works and sends, as devices are."""
                while True:
                    await hand.poll(*held[hand.client])
                    await asyncio.sleep(0.3)

            async def device(hand: Hand) -> None:
                lease = await hand.work()
                held[hand.client] = (lease.id,)
                assert await hand.submit(lease) == ""
                held[hand.client] = ()

            beside = [asyncio.create_task(t) for t in (watch(), *map(beat, all_of_them))]
            await asyncio.gather(*map(device, all_of_them))
            state = serving.host.server.state
            assert (state.updates, state.lost, len(state.online)) == (6, 0, 6)
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)
        assert 0 < most <= room

    asyncio.run(main())
    assert replayed(tmp_path / "slow", e).server.state.updates == 6


@pytest.mark.parametrize("size", [48 << 20, pytest.param(1 << 30, marks=pytest.mark.soak)])
def test_t36_bulk_beside_heartbeats(tmp_path: Path, size: int) -> None:
    """While two devices fetch much, polls are answered within a second, and none is taken for gone."""
    e = experiment(clients=4, buffer=2, in_flight=1)
    waits: list[float] = []

    async def main() -> None:
        async with (
            served(e, tmp_path / "run", patience=5.0, hold=0.5, rate=1e6) as (service, serving),
            hands(serving, tmp_path, service.setup, 4) as all_of_them,
        ):
            data = np.random.default_rng(1).bytes(1 << 20) * (size >> 20)
            name = service.edges.digest(data)
            service.edges._data[name] = data
            step = Step(Edge(Node("gaussian", 0), None, size), name, size)
            fetching = [asyncio.create_task(hand.link.download(step, -1)) for hand in all_of_them[:2]]
            while not all(task.done() for task in fetching):
                at = time.monotonic()
                await asyncio.gather(*(hand.poll() for hand in all_of_them))
                waits.append(time.monotonic() - at)
                await asyncio.sleep(0.02)
            assert all(task.result() == data for task in fetching)
            state = serving.host.server.state
            assert (state.lost, len(state.online)) == (0, 4)

    asyncio.run(main())
    assert waits and sorted(waits)[len(waits) // 2] < 1.0
