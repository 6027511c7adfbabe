"""A device that is given work while it fetches ahead goes the shorter way."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import hocket as hk
from hocket import events as on
from hocket.lease import ALL, Edge, Lease, Node
from hocket.service.daemon import Daemon
from hocket.service.keep import Keep
from hocket.service.protocol import Instructions, Step, Want
from hocket.setup import Setup

WHOLE, MESSAGE, THERE = 100, 30, 60  # bytes


class Road:
    """A link that never gets to the end of a download; the whole model, or a message per version."""

    def __init__(self) -> None:
        self.asked: list[Want] = []

    async def path(self, want: Want) -> tuple[Step, ...]:
        self.asked.append(want)
        have = want.have
        size = WHOLE if have is None else MESSAGE * (want.node.version - have.version)
        return (Step(Edge(want.node, have, size), f"{want.node.version}-{size}", size),)

    async def download(self, step: Step, lease: int) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError("nothing comes")


@pytest.mark.parametrize(("version", "given_up"), [(1, False), (2, False), (3, True)])
def test_a_fetch_ahead_is_given_up_where_fetching_anew_is_shorter(tmp_path: Path, version: int, given_up: bool) -> None:
    """Forty bytes of a hundred are left, and thirty follow per version."""
    task = hk.reference_tasks.gaussian(2, 4, 8, samples=20)
    setup = Setup.of(task, hk.strategies.fedbuff(1, 1), hk.Until(updates=2))
    lease = Lease(5, "gaussian", 0, 0, Node("gaussian", version), ALL, task.local, 0, 0)

    async def main() -> None:
        keep, road = Keep(tmp_path / "device"), Road()
        link: Any = road
        daemon = Daemon(setup, 0, link, keep)
        client = daemon.work.client
        async with asyncio.TaskGroup() as daemon._group:
            daemon._do(client.handle(on.Offered(0, Node("gaussian", 0)), 0))
            await asyncio.sleep(0)
            keep.part(f"0-{WHOLE}").write_bytes(bytes(THERE))
            daemon._hear(Instructions(work=(lease,)))
            for _ in range(5):
                await asyncio.sleep(0)
            assert (client.offer is None) == given_up
            assert [w.lease for w in road.asked] == [-1, 5, 5] + [5] * given_up
            assert client.downloads == (lease,)
            for running in daemon._running.values():
                running.cancel()
        keep.close()

    asyncio.run(main())
