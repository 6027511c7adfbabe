"""Links that are cut, clocks that stop, nodes fetched ahead, and a hidden state that was lost."""

import asyncio
from functools import partial
from pathlib import Path
from time import monotonic_ns

import numpy as np
import pytest

from hocket import actions as do
from hocket.lease import Edge, Node
from hocket.service import desk, join
from hocket.service.keep import Keep
from hocket.service.link import Link
from hocket.service.protocol import Step, Want
from hocket.service.tls import client_context
from hocket.service.uptime import Uptime
from tests.service.served import devices, experiment, hands, replayed, served


def test_a_large_edge_over_a_link_that_is_cut(tmp_path: Path) -> None:
    from benchmarks.service import Proxy

    async def main() -> None:
        async with served(experiment(), tmp_path / "run", rate=1e6) as (service, serving):
            data = np.random.default_rng(1).bytes(5_000_000)
            name = service.edges.digest(data)
            service.edges._data[name] = data
            proxy, keep = Proxy(int(serving.url.rpartition(":")[2])), Keep(tmp_path / "device")
            port = await proxy.start()

            async def cutting() -> None:
                cut = 0
                while True:  # after every megabyte
                    await asyncio.sleep(0)
                    if proxy.down > cut + 1_000_000:
                        cut = proxy.down
                        proxy.cut()

            try:
                async with Link(f"https://127.0.0.1:{port}", keep, client_context(serving.ca)) as link:
                    await link.join(serving.register.invite()[0])
                    task = asyncio.create_task(cutting())
                    step = Step(Edge(Node("gaussian", 0), None, len(data)), name, len(data))
                    assert await link.download(step, -1) == data
                    task.cancel()
                    assert proxy.cuts >= 3 and proxy.down < 1.6 * len(data), "each cut costs what was under way"
            finally:
                keep.close()
                proxy.close()

    asyncio.run(main())


def test_t30_t36_a_server_that_was_stopped_finds_nobody_overdue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = [0]
    monkeypatch.setattr(desk, "Uptime", partial(Uptime, source=lambda: monotonic_ns() + ahead[0]))
    e = experiment(clients=3, buffer=2, in_flight=3, strategy="timeout = 60.0")

    async def main() -> None:
        async with served(e, tmp_path / "run") as (service, serving):
            async with hands(serving, tmp_path, service.setup, 3) as all_of_them:
                leases = [await hand.work() for hand in all_of_them]
                before = await serving.desk.call(lambda host: host.now)
                ahead[0] = 600 * 10**9  # ten minutes later
                after = await serving.desk.call(lambda host: host.now)
                assert after - before < 5 * 10**9
                state = serving.host.server.state
                assert (state.lost, len(state.online), len(state.leases)) == (0, 3, 3)
                for hand, lease in zip(all_of_them, leases, strict=True):
                    assert await hand.submit(lease) == ""

    asyncio.run(main())


def test_a_node_is_fetched_ahead_of_any_lease(tmp_path: Path) -> None:
    e = experiment(clients=2, buffer=1, in_flight=1)

    async def main() -> None:
        async with served(e, tmp_path / "run") as (service, serving):
            async with hands(serving, tmp_path, service.setup, 2) as both:
                idle = both[0] if (await both[1].poll()).work else both[1]
                node = serving.host.server.view.tasks["gaussian"].node
                await serving.desk.call(lambda host: host._offer(do.Offer(idle.client, node)))
                said = await idle.poll(wait=True)
                assert said.hints == (node,)
                steps = await idle.link.path(Want(-1, node))
                assert steps is not None and len(steps) == 1
                data = await idle.link.download(steps[0], -1)
                await idle.poll(fetched=((-1, node),))
                ledger = serving.host.account.ledger
                assert data is not None and ledger.ahead["gaussian"][idle.client] == ledger.down == len(data)
                assert serving.host.server.view.tasks["gaussian"].held[idle.client] == 0
                assert await idle.link.path(Want(-1, node)) is None  # taken, so it is held for nobody

    asyncio.run(main())


def test_t16_a_hidden_state_that_was_lost_is_repaired_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy = 'downlink = {kind = "hidden_state", codec = {kind = "qsgd", levels = 8, bucket = 16}}'
    e = experiment(clients=3, buffer=2, in_flight=3, updates=40, strategy=strategy)
    spoiled: list[Node] = []
    fetched = join.Daemon._fetch

    async def fetch(self: join.Daemon, a: do.Fetch) -> None:
        if a.have is not None and len(spoiled) < 6 and a.node.version % 2:  # other bits than the server's
            self.work.nodes[a.have] = self.work.nodes[a.have] + np.float32(1e-3)
            spoiled.append(a.node)
        await fetched(self, a)

    monkeypatch.setattr(join.Daemon, "_fetch", fetch)

    async def main() -> None:
        async with served(e, tmp_path / "run") as (_, serving):
            assert set(await asyncio.gather(*await devices(serving, tmp_path, 3))) == {"updates"}

    asyncio.run(main())
    again = replayed(tmp_path / "run", e)
    assert again.closed and again.server.state.refused == 0 and len(spoiled) > 2


def test_a_device_that_comes_back_knows_what_it_held(tmp_path: Path) -> None:
    e = experiment(clients=1, buffer=1, in_flight=1, updates=8)

    async def main() -> None:
        async with served(e, tmp_path / "run") as (_, serving):
            (token,) = serving.register.invite()
            options = join.Options(token=token, ca=serving.ca)
            task = asyncio.create_task(join.work(serving.url, tmp_path / "device", options))
            while serving.host.server.state.updates < 3:
                await serving.desk.call(lambda host: None)
            task.cancel()
            await asyncio.wait({task})
            keep = Keep(tmp_path / "device")
            assert keep.over() and keep.nodes({n: t.schema for n, t in serving.host.setup.tasks.items()})
            keep.close()
            assert await join.work(serving.url, tmp_path / "device", options) == "updates"

    asyncio.run(main())
    assert replayed(tmp_path / "run", e).closed
