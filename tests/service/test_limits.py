"""What one address may hold, what a full disk does to those who send, and many who enrol at once."""

import asyncio
import errno
import os
import resource
import socket
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from hocket.errors import InvalidInput, StoreFailed
from hocket.lease import Edge, Lease, Node
from hocket.record.log import EventLog
from hocket.service import join, routes, serve
from hocket.service.door import Door
from hocket.service.keep import Keep
from hocket.service.link import digest_header
from hocket.service.protocol import Step
from hocket.service.register import Register
from hocket.service.serve import Options
from hocket.service.tls import client_context
from hocket.service.uploads import Part, Uploads
from tests.service.served import Hand, Process, devices, experiment, hands, replayed, served
from tests.service.test_hostile import raw, signed


def test_one_address_has_so_many_connections_and_its_next_one_when_one_is_closed() -> None:
    door = Door.open("127.0.0.1", 0, most=3, backlog=16)
    where = door.getsockname()

    def knock() -> socket.socket:
        return socket.create_connection(where, timeout=5)

    with door:
        outside = [knock() for _ in range(5)]
        inside = [door.accept()[0] for _ in range(3)]
        with pytest.raises(BlockingIOError):
            door.accept()
        assert door.turned_away == 2 and door.inside == {"127.0.0.1": 3}
        assert [s.recv(1) for s in outside[3:]] == [b"", b""]
        inside.pop().close()
        outside.append(knock())
        inside.append(door.accept()[0])
        inside[0].sendall(b"x")
        assert outside[0].recv(1) == b"x"
        for s in (*inside, *outside):
            s.close()
        assert not door.inside


def test_when_no_file_is_left_connections_are_closed_and_nobody_spins() -> None:
    door = Door.open("127.0.0.1", 0, most=100, backlog=16)
    where, before = door.getsockname(), resource.getrlimit(resource.RLIMIT_NOFILE)
    assert door.room == before[0] - max(64, before[0] // 4)
    with door:
        outside = [socket.create_connection(where, timeout=5) for _ in range(6)]
        files = max(int(name) for name in os.listdir("/proc/self/fd"))
        open_files = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (files + 3, before[1]))
        try:
            with suppress(OSError):
                while True:
                    open_files.append(os.open(os.devnull, os.O_RDONLY))
            with pytest.raises(BlockingIOError):
                door.accept()
            assert door.turned_away == 6 and not door.all
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            for file in open_files:
                os.close(file)
        assert {s.recv(1) for s in outside} == {b""}
        door.room = 2
        outside += [socket.create_connection(where, timeout=5) for _ in range(3)]
        inside = [door.accept()[0], door.accept()[0]]
        with pytest.raises(BlockingIOError):
            door.accept()
        assert door.turned_away == 7 and door.all == 2
        for s in (*inside, *outside):
            s.close()
        assert not door.all


def test_a_served_run_turns_away_who_holds_too_many(tmp_path: Path) -> None:
    e = experiment(clients=2, buffer=50, in_flight=2)

    async def main() -> None:
        async with served(e, tmp_path / "run", connections=4, plain=True) as (service, serving):
            port = int(serving.url.rpartition(":")[2])
            greedy = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
            turned = [asyncio.create_task(reader.read(1)) for reader, _ in greedy[4:]]
            async with asyncio.timeout(5):
                assert [await t for t in turned] == [b""] * 4
            for _, writer in greedy:
                writer.close()
            async with hands(serving, tmp_path, service.setup, 1) as (hand,):
                assert await hand.submit(await hand.work()) == ""

    asyncio.run(main())
    with pytest.raises(InvalidInput, match="connections = 0"):
        Options(connections=0)


def test_many_enrol_at_once_and_each_is_somebody_else(tmp_path: Path) -> None:
    register = Register(tmp_path / "register.sqlite", 60)
    (reserved,) = register.invite(client=7)
    tokens = register.invite(50)
    with ThreadPoolExecutor(8) as pool:
        clients = list(pool.map(lambda i: register.enrol(tokens[i], f"key{i}"), range(50)))
    assert sorted(clients) == [c for c in range(51) if c != 7] and register.enrolled == 50
    assert register.enrol(reserved, "another") == 7 and register.enrol(tokens[3], "key3") == clients[3]
    with pytest.raises(InvalidInput, match="unknown or used"):
        register.enrol(tokens[3], "a thief's")
    register.close()
    again = Register(tmp_path / "register.sqlite", 60)
    assert again.enrolled == 51 and again.enrol(again.invite()[0], "late") == 51
    again.close()


def test_a_register_that_cannot_write_has_changed_nothing(tmp_path: Path) -> None:
    register = Register(tmp_path / "register.sqlite", 4)
    token, other = register.invite(2)
    register._db.execute("PRAGMA max_page_count = 1")  # the disk is full
    register._db.execute("PRAGMA query_only = 1")
    with pytest.raises(StoreFailed, match="make room"):
        register.enrol(token, "key")
    assert register.enrolled == 0 and register.client("key") is None
    register._db.execute("PRAGMA query_only = 0")
    register._db.execute("PRAGMA max_page_count = 1000000")
    assert [register.enrol(t, t) for t in (token, other)] == [0, 1]
    assert isinstance(register._db, sqlite3.Connection)
    register.close()


def test_a_full_disk_asks_those_who_send_to_come_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    e = experiment(clients=2, buffer=50, in_flight=2)
    append, full = Uploads.append, [True]

    def failing(self: Uploads, part: Part, data: bytes) -> None:
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, part, data)

    monkeypatch.setattr(Uploads, "append", failing)

    async def main() -> None:
        async with served(e, tmp_path / "run", rate=1e6) as (service, serving):
            async with hands(serving, tmp_path, service.setup, 1) as (hand,):
                lease = await hand.work()
                update, path = hand.update(lease), f"/v1/updates/{lease.id}"
                sizes = {"Hocket-Offset": "0", "Hocket-Length": str(len(update)), "Repr-Digest": digest_header(update)}
                status, said = await raw(hand, "PATCH", path, signed(hand, "PATCH", path, update) | sizes, update)
                assert status == 503 and b"No space left" in said and not service.parts
                full[0] = False
                assert await hand.submit(lease) == ""

    asyncio.run(main())


def test_who_stops_reading_is_hung_up_on_and_goes_on_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "STALL", 0.3)
    monkeypatch.setattr(routes, "SLOWEST", 1e9)
    e, data = experiment(clients=2, in_flight=2), bytes(40 << 20)

    async def main() -> None:
        async with served(e, tmp_path / "run", plain=True) as (service, serving):
            name = service.edges.digest(data)
            service.edges._data[name] = data
            async with hands(serving, tmp_path, service.setup, 1) as (hand,):
                path = f"/v1/edges/{name}"
                head = "".join(f"{k}: {v}\r\n" for k, v in signed(hand, "GET", path, b"").items())
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", int(serving.url.rpartition(":")[2]), limit=1
                )
                writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode())
                await asyncio.sleep(1.0)  # nothing is read meanwhile
                got = 0
                with suppress(ConnectionError):
                    while chunk := await reader.read(1 << 20):
                        got += len(chunk)
                writer.close()
                assert 0 < got < len(data)
                step = Step(Edge(Node("gaussian", 0), None, len(data)), name, len(data))
                assert await hand.link.download(step, -1) == data

    asyncio.run(main())


def test_a_run_whose_disk_fills_ends_with_a_reason_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal has every update that was acknowledged; what else there is to write waits for room."""
    e, flush = experiment(clients=1, buffer=1, in_flight=1, updates=8), EventLog.flush

    def failing(self: EventLog, least: int = 1, events: int | None = None) -> None:
        if least == 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    async def main() -> None:
        monkeypatch.setattr(EventLog, "flush", failing)
        with pytest.raises(StoreFailed, match="No space left on device; make room"):
            async with served(e, tmp_path / "run", every=4) as (service, serving):
                async with hands(serving, tmp_path, service.setup, 1) as (hand,):
                    with suppress(TimeoutError, StoreFailed):
                        async with asyncio.timeout(3):
                            while True:
                                await hand.submit(await hand.work())
        monkeypatch.setattr(EventLog, "flush", flush)
        async with served(e, tmp_path / "run") as (service, serving):
            acknowledged = serving.host.server.state.updates
            async with Hand.join(serving.url, serving.ca, tmp_path / "hand0", service.setup) as hand:
                while not (said := await hand.poll()).finished:
                    for lease in said.work:
                        assert await hand.submit(lease) == ""
        assert 0 < acknowledged < 8

    asyncio.run(main())
    assert replayed(tmp_path / "run", e).closed


def test_a_register_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    (tmp_path / "register.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreFailed, match="register of devices: file is not a database"):
        Register(tmp_path / "register.sqlite", 4)


@pytest.mark.parametrize("method", ["note", "hold", "part", "trained", "answered"])
def test_a_device_whose_disk_is_full_says_so_and_goes_on_later(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    e, original = experiment(clients=1, buffer=1, in_flight=1, updates=3), getattr(Keep, method)

    def failing(self: Keep, *arguments: Any, **more: Any) -> None:
        if method in ("hold", "part"):
            raise OSError(errno.ENOSPC, "No space left on device")
        raise sqlite3.OperationalError("database or disk is full")

    async def main() -> None:
        async with served(e, tmp_path / "run") as (_, serving):
            options = join.Options(token=serving.register.invite()[0], ca=serving.ca)
            monkeypatch.setattr(Keep, method, failing)
            with pytest.raises(StoreFailed, match=r"device: (No space|database or disk is full).*; make room"):
                async with asyncio.timeout(10):
                    await join.work(serving.url, tmp_path / "device", options)
            monkeypatch.setattr(Keep, method, original)
            assert await join.work(serving.url, tmp_path / "device", options) == "updates"

    asyncio.run(main())
    assert replayed(tmp_path / "run", e).server.state.updates == 3


def test_updates_that_wait_for_the_core_count_against_the_limit(tmp_path: Path) -> None:
    """While the core is held up, so many bytes are taken in and no more, whether their senders stay or not."""
    e = experiment(clients=5, buffer=5, in_flight=5)

    async def main() -> None:
        limit = int(2.9 * e.tasks[0].schema.nbytes)  # of two updates, heads included
        async with served(e, tmp_path / "run", part_limit=limit) as (service, serving):
            async with hands(serving, tmp_path, service.setup, 5) as order:
                work = [await hand.work() for hand in order]
                going, held = Event(), asyncio.create_task(serving.desk.call(lambda host: going.wait()))
                parts = service.parts

                async def send(hand: Hand, lease: Lease) -> tuple[int, bytes]:
                    update, path = hand.update(lease), f"/v1/updates/{lease.id}"
                    sizes = {"Hocket-Offset": "0", "Hocket-Length": str(len(update))}
                    return await raw(hand, "PATCH", path, signed(hand, "PATCH", path, update) | sizes, update)

                try:
                    stays, goes = (asyncio.create_task(send(*x)) for x in zip(order[:2], work[:2], strict=True))
                    while sum(p.offset == p.length for p in parts._parts.values()) < 2:
                        await asyncio.sleep(0.01)
                    goes.cancel()
                    await asyncio.sleep(0.1)  # the server hears of it
                    for hand, lease in zip(order[2:], work[2:], strict=True):
                        status, said = await send(hand, lease)
                        assert status == 503 and b"too many others" in said
                        assert parts.announced <= limit
                finally:
                    going.set()
                assert await held
                assert (await stays)[0] == 200
                answers = [await hand.submit(lease) for hand, lease in zip(order, work, strict=True)]
                assert answers == [""] * 5, "sent away, or sent twice, and accepted once"
                assert parts.announced == len(parts) == 0
                assert serving.host.server.state.updates == 5

    asyncio.run(main())


def test_a_connection_that_waits_takes_little_memory(tmp_path: Path) -> None:
    """Thousands of devices keep one open; by itself asyncio keeps 256 KiB for each."""
    count = 150

    async def main() -> None:
        process = Process(tmp_path)
        await process.start()
        context, port = client_context(process.ca), int(process.url.rpartition(":")[2])

        def resident() -> int:
            pages = int(Path(f"/proc/{process.process.pid}/statm").read_text().split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE")

        async def knock() -> asyncio.StreamWriter:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200 OK" in await reader.readline()
            return writer

        first = [await knock() for _ in range(10)]
        before = resident()
        writers = first + [await knock() for _ in range(count)]
        each = (resident() - before) / count
        for writer in writers:
            writer.close()
        await process.kill()
        assert each < 2 * serve.READ, f"{each / 1024:.0f} KiB for a connection"

    asyncio.run(main())


def test_a_device_whose_memory_is_damaged_says_so(tmp_path: Path) -> None:
    Keep(tmp_path / "device").close()
    (tmp_path / "device" / "device.sqlite").write_bytes(b"no database at all" * 1000)
    with pytest.raises(StoreFailed, match="not a database"):
        Keep(tmp_path / "device")
    (tmp_path / "file").touch()
    with pytest.raises(StoreFailed, match="file"):
        Keep(tmp_path / "file")


def test_a_cache_smaller_than_a_model_works_and_keeps_nothing(tmp_path: Path) -> None:
    e = experiment(clients=1, buffer=1, in_flight=1, updates=4)

    async def main() -> None:
        async with served(e, tmp_path / "run") as (_, serving):
            (one,) = await devices(serving, tmp_path, 1, cache=10)
            assert await one == "updates"

    asyncio.run(main())
    assert not [*(tmp_path / "device0" / "nodes").iterdir(), *(tmp_path / "device0" / "parts").iterdir()]
    with pytest.raises(InvalidInput, match="cache = -1"):
        join.Options(cache=-1)
