"""Killed servers and killed devices: what was acknowledged is counted once, what was not is done again."""

import asyncio
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hocket import events as on
from hocket.record.log import KINDS, read_log
from hocket.service import join, link
from hocket.service.keep import Keep
from hocket.service.protocol import Want
from tests.service.served import Hand, Process, accumulated, experiment, hands, replayed, served, setup_of

KILLS = int(os.environ.get("HOCKET_KILLS", "200"))  # of the long test


async def killed_under_load(
    folder: Path, kills: int, updates: int, clients: int, **how: Any
) -> tuple[Process, Counter[int]]:
    """A run whose server is killed at random, with real devices; how often each lease was acknowledged as accepted."""
    process = Process(folder, clients=clients, buffer=3, in_flight=clients, updates=updates, **how)
    await process.start("--invite", str(clients))
    tokens, dice = (process.run / "tokens").read_text().split(), random.Random(kills)
    acknowledged: Counter[int] = Counter()
    joined: list[str] = []
    original = link.Link.upload

    async def upload(self: link.Link, lease: int, update: bytes, resume: bool = False) -> str:
        answer = await original(self, lease, update, resume)
        if not answer:
            acknowledged[lease] += 1
        return answer

    link.Link.upload = upload  # type: ignore[method-assign]
    working = [
        asyncio.create_task(
            join.work(process.url, folder / f"d{i}", join.Options(token=t, ca=process.ca), joined.append)
        )
        for i, t in enumerate(tokens)
    ]
    try:

        async def while_they_work() -> None:
            done, _ = await asyncio.wait(working, timeout=0.02, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()

        while len(joined) < clients:
            await while_they_work()
        for n in range(kills):
            while sum(acknowledged.values()) < updates * (n + 0.2 * dice.random()) / (kills + 1):
                await while_they_work()
            await process.kill()
            await process.start()
        assert (await process.end())[0] == 0
        done, gone = await asyncio.wait(working, timeout=0.5)  # some may not have heard of the end
        assert {task.result() for task in done} == {"updates"}
        for task in gone:
            task.cancel()
        await asyncio.wait(working)
    finally:
        link.Link.upload = original  # type: ignore[method-assign]
    return process, acknowledged


def check_once(process: Process, acknowledged: Counter[int], updates: int) -> None:
    """Every acknowledged update is in the journal's sums exactly once, and the journal replays."""
    counted = accumulated(process.run, process.experiment)
    assert set(counted.values()) == {1}
    assert set(acknowledged) <= set(counted)
    assert sum(counted.values()) == updates
    assert replayed(process.run, process.experiment).closed  # its digest was compared with the live one's


def test_t02_a_killed_server_loses_and_doubles_nothing(tmp_path: Path) -> None:
    process, acknowledged = asyncio.run(killed_under_load(tmp_path, kills=5, updates=60, clients=4))
    check_once(process, acknowledged, 60)
    assert len(process.recoveries) == 5 and max(process.recoveries) < 5


@pytest.mark.soak
def test_t02_a_server_killed_two_hundred_times(tmp_path: Path) -> None:
    updates = 100 * KILLS
    process, acknowledged = asyncio.run(killed_under_load(tmp_path, kills=KILLS, updates=updates, clients=20))
    check_once(process, acknowledged, updates)
    recoveries = sorted(process.recoveries)
    assert len(recoveries) == KILLS and recoveries[-1] < 5, f"the slowest took {recoveries[-5:]} s"
    print(f"{KILLS} kills, {updates} updates; recovery {recoveries[KILLS // 2]:.2f} s, at most {recoveries[-1]:.2f} s")


def test_t08_every_copy_of_an_update_gets_the_same_answer(tmp_path: Path) -> None:
    e = experiment(clients=2, buffer=50, in_flight=2)

    async def main() -> None:
        async with served(e, tmp_path / "run", rate=1e6) as (service, serving):
            async with hands(serving, tmp_path, service.setup, 1) as (hand,):
                lease = await hand.work()
                assert await hand.submit(lease) == ""
                events = serving.host.server.state.events
                assert {await hand.submit(lease) for _ in range(200)} == {""}
                await hand.link.renew(hand.link.session)
                assert await hand.submit(lease) == ""
                assert serving.host.server.state.events == events, "copies change nothing, not even the journal"
                assert serving.host.server.state.updates == 1
        async with served(e, tmp_path / "run") as (service, serving):  # a new life of the server
            async with Hand.join(serving.url, serving.ca, tmp_path / "hand0", service.setup) as hand:
                assert await hand.submit(lease) == ""
                assert serving.host.server.state.updates == 1

    asyncio.run(main())
    assert accumulated(tmp_path / "run", e) == {lease_id: 1 for lease_id in accumulated(tmp_path / "run", e)}


def test_t09_of_two_updates_for_a_lease_one_counts(tmp_path: Path) -> None:
    e = experiment(clients=2, buffer=50, in_flight=2)

    async def main() -> None:
        async with served(e, tmp_path / "run", rate=1e6) as (service, serving):
            async with hands(serving, tmp_path, service.setup, 1) as (hand,):
                lease = await hand.work()
                assert await hand.submit(lease) == ""
                assert await hand.submit(lease, value=1.0) == "conflict"
                assert await hand.submit(lease) == ""
                for round_ in range(2, 6):  # many at once
                    lease = await hand.work()
                    sends = (hand.submit(lease, value=float(i)) for i in range(64))
                    answers = Counter(await asyncio.gather(*sends))
                    assert answers == {"": 1, "conflict": 63}
                    assert serving.host.server.state.updates == round_

    asyncio.run(main())


def test_t10_late_updates_are_told_why(tmp_path: Path) -> None:
    e = experiment(clients=3, buffer=50, in_flight=3, strategy="timeout = 1.0")

    async def main() -> None:
        async with served(e, tmp_path / "run") as (service, serving):
            async with hands(serving, tmp_path, service.setup, 3) as (one, two, three):
                late = await one.work()
                while late.id in serving.host.server.view.leases:  # until it expires
                    await one.poll(late.id, wait=True)
                assert await one.submit(late) == "closed"
                lease = await two.work()
                other = await three.work()
        async with served(e, tmp_path / "run") as (service, serving):
            async with Hand.join(serving.url, serving.ca, tmp_path / "hand1", service.setup) as two:
                assert serving.host.term == 2
                assert await two.submit(lease) in ("", "closed")  # an old term's lease counts while it is open
            await serving.desk.call(lambda host: host.tell(on.TaskEnded("gaussian", "x")))
            async with Hand.join(serving.url, serving.ca, tmp_path / "hand2", service.setup) as three:
                assert await three.submit(other) in ("finished", "closed", "ended")
                updates = serving.host.server.state.updates
                assert await three.submit(other) != "" and serving.host.server.state.updates == updates

    asyncio.run(main())


def test_t11_a_device_killed_at_any_byte_of_an_upload(tmp_path: Path) -> None:
    e = experiment(clients=2, buffer=50, in_flight=2)
    dice = random.Random(11)

    async def cut(hand: Hand, lease: int, update: bytes, at: int, upto: int) -> None:
        """Announce the rest, send a part of it, and be gone."""

        async def some():  # type: ignore[no-untyped-def]
            yield update[at:upto]
            raise ConnectionResetError("killed")

        headers = {
            "Repr-Digest": link.digest_header(update), "Hocket-Offset": str(at), "Hocket-Length": str(len(update)),
        }  # fmt: skip
        try:
            async with hand.link._request("PATCH", f"/v1/updates/{lease}", headers=headers, data=some()) as response:
                await response.read()
        except (link.aiohttp.ClientError, ConnectionResetError):
            pass

    async def main() -> None:
        async with served(e, tmp_path / "run", rate=1e6) as (service, serving):
            async with hands(serving, tmp_path, service.setup, 1) as (hand,):
                for n in range(8):
                    lease = await hand.work()
                    update, before = hand.update(lease), serving.host.server.snapshot()
                    cuts = sorted(dice.sample(range(1, len(update)), 4))
                    have = 0
                    for upto in cuts:
                        await cut(hand, lease.id, update, have, upto)
                        known = await hand.link._known(lease.id, link.sha256(update).hexdigest())
                        assert have <= known.offset <= upto and known.answer is None
                        have = known.offset
                    assert serving.host.server.snapshot() == before, "no part of an update reaches the core"
                    assert await hand.submit(lease) == ""
                    assert serving.host.server.state.updates == n + 1
                    sent = serving.host.received.sent[lease.id]
                    assert update.endswith(sent.data) and have > 0
                assert not service.parts

    asyncio.run(main())


def test_t12_lost_answers_are_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    e = experiment(clients=4, buffer=3, in_flight=4, updates=60)
    dice, sends, trained = random.Random(12), Counter[int](), Counter[int]()
    original, training = link.Link._send, join.Daemon._train

    async def send(self: link.Link, lease: int, *rest: object) -> link.Progress:
        said = await original(self, lease, *rest)  # type: ignore[arg-type]
        sends[lease] += 1
        if dice.random() < 0.5:
            raise link.Away("the answer was lost")
        return said

    async def train(self: join.Daemon, lease: join.Any) -> None:
        trained[lease.id] += 1
        await training(self, lease)

    monkeypatch.setattr(link.Link, "_send", send)
    monkeypatch.setattr(join.Daemon, "_train", train)

    async def main() -> None:
        from tests.service.served import devices

        async with served(e, tmp_path / "run") as (_, serving):
            await asyncio.gather(*await devices(serving, tmp_path, 4))

    asyncio.run(main())
    counted = accumulated(tmp_path / "run", e)
    assert sum(counted.values()) == 60 and set(counted.values()) == {1}
    assert sum(sends.values()) / len(sends) <= 2.2
    assert set(trained.values()) == {1}


def test_t17_an_edge_is_the_same_bytes_after_a_crash(tmp_path: Path) -> None:
    strategy = 'downlink = {kind = "hidden_state", codec = {kind = "qsgd", levels = 8, bucket = 16}}'
    process = Process(tmp_path, clients=2, buffer=1, in_flight=1, strategy=strategy)

    async def main() -> None:
        await process.start("--invite", "1")
        token = (process.run / "tokens").read_text().strip()
        async with Hand.join(process.url, process.ca, tmp_path / "hand", process.setup, token) as hand:
            first = await hand.work()
            assert await hand.submit(first) == ""
            second = await hand.work()
            assert second.node is not None and second.node.version == 1
            paths = []
            for life in range(3):
                for have in (first.node, None):
                    steps = await hand.link.path(Want(second.id, second.node, have))
                    assert steps is not None
                    data = [await hand.link.download(s, second.id) for s in steps]
                    paths.append((have, [s.digest for s in steps], data))
                if life < 2:
                    await process.kill()
                    await process.start()
            assert all(p == paths[i % 2] for i, p in enumerate(paths))
        await process.kill(15)

    asyncio.run(main())


def test_t18_two_devices_cannot_share_one_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    monkeypatch.setattr(link, "SHARED_S", 0.3)
    e = experiment()

    async def main() -> None:
        async with served(e, tmp_path / "run") as (service, serving):
            (token,) = serving.register.invite()
            async with Hand.join(serving.url, serving.ca, tmp_path / "a", service.setup, token) as first:
                lease = await first.work()
                keep = Keep(tmp_path / "b")
                keep.note(client="0", run=first.link.run)  # a copy of the key, and of no newer memory
                keep.close()
                shutil.copy(tmp_path / "a" / "device.key", tmp_path / "b" / "device.key")
                with pytest.raises(link.InvalidInput, match="two devices cannot share one identity"):
                    async with Hand.join(serving.url, serving.ca, tmp_path / "b", service.setup):
                        pass
                assert await first.submit(lease) == ""  # the first one never noticed
                assert first.link.reopened == 1
            async with Hand.join(serving.url, serving.ca, tmp_path / "a", service.setup) as again:
                assert again.link.reopened == 1  # the same device, started again, is let in at once

    asyncio.run(main())
    assert setup_of(e).digest()


def test_the_event_log_of_a_run_that_was_killed_is_whole(tmp_path: Path) -> None:
    """What a life had in memory is written again from the journal, what it had written is not written twice."""
    process = Process(tmp_path, updates=14)

    async def main() -> None:
        for life in range(3):
            await process.start("--checkpoint", "4", "--invite", "1" if life == 0 else "0")
            token = (process.run / "tokens").read_text().strip()
            async with Hand.join(process.url, process.ca, tmp_path / "hand", process.setup, token) as hand:
                for _ in range(6):
                    if (await hand.poll()).finished:
                        break
                    await hand.submit(await hand.work())
            if life < 2:
                await process.kill()
        await process.end()

    asyncio.run(main())
    log = read_log(process.run).to_pylist()
    kinds = Counter(KINDS[row["kind"]] for row in log)
    assert kinds["arrived"] == 14 and kinds["stepped"] == 7 and kinds["finished"] == 1, kinds
    arrived = [row["lease"] for row in log if KINDS[row["kind"]] == "arrived"]
    assert len(set(arrived)) == 14 and [r["time_ns"] for r in log] == sorted(r["time_ns"] for r in log)
    assert len(list((process.run / "events").glob("*.parquet"))) > 2


PRUNED = """
[task]
kind = "gaussian"
clients = 4
samples = 40
hidden = [8]
[fleet]
kind = "synthetic"
[strategy]
use = "prfl"
window = 0.01
least = 0.3
interval = 3
patience = 1
every = 2
[until]
updates = 60
"""
SPILLING = """
import sys
from hocket.archive import Archive
from hocket.cli import main
Archive.spill.__defaults__ = (0,)
sys.exit(main())
"""


def test_latest_models_in_a_file_survive_kills(tmp_path: Path) -> None:
    how = {"file": PRUNED, "python": ("-c", SPILLING), "every": 7}
    process, acknowledged = asyncio.run(killed_under_load(tmp_path, kills=3, updates=60, clients=4, **how))
    assert set(acknowledged.values()) == {1} and len(process.recoveries) == 3
    journal = process.run / "journal"
    assert (journal / "latest-gaussian").stat().st_size > 0
    assert any(journal.glob("checkpoint-*"))
    before = (journal / "latest-gaussian").read_bytes()
    done = replayed(process.run, process.experiment)  # its digest was compared with the live one's
    assert done.closed and done.server.state.updates >= 60
    assert (journal / "latest-gaussian").read_bytes() == before, "a replay changes nothing"
