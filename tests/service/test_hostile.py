"""What must not count: forged, replayed, tampered, oversized, slow and poisoned requests."""

import asyncio
import ssl
import sys
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hocket import events as on
from hocket import wire
from hocket.codec import QSGD, Float32, TopK
from hocket.errors import HocketError, InvalidInput
from hocket.experiment import document
from hocket.lease import Edge, Node
from hocket.schema import Schema, Segment
from hocket.service import join, link, protocol, tls
from hocket.service.identity import Claim, Key, digest_header, enrol_text, request_text
from hocket.service.measured import Rates
from hocket.service.protocol import Exchange, Head, Progress, Step, Want
from hocket.service.protocol import Path as Path_
from hocket.store import read
from hocket.store.journal import decode
from tests.service.served import Hand, accumulated, experiment, hands, served
from tests.service.served import text as served_text


async def raw(hand: Hand, method: str, path: str, headers: dict[str, str], data: bytes = b"") -> tuple[int, bytes]:
    """A request as it is written here, signed or not."""
    assert hand.link._http is not None
    url = hand.link._url + path
    async with hand.link._http.request(method, url, headers=headers, data=data) as response:
        return response.status, await response.read()


def signed(
    hand: Hand, method: str, path: str, data: bytes, number: int | None = None, key: Key | None = None, **other: Any
) -> dict[str, str]:
    """Headers that the hand's own key signs, or another's; ``other``: what the signature names instead."""
    link = hand.link
    link._number += 1
    said = {"run": link.run, "term": link.term, "session": link.session, "digest": digest_header(data), **other}
    n = link._number if number is None else number
    text = request_text(said["run"], said["term"], method, path, said["digest"], said["session"], n)
    claim = Claim(link.session, n, (key or link._key).sign(text))
    return {protocol.DIGEST: digest_header(data), protocol.AUTHORIZATION: claim.header()}


def test_t13_nobody_submits_for_somebody_else(tmp_path: Path) -> None:
    e = experiment(clients=3, buffer=50, in_flight=3)

    async def main() -> None:
        async with served(e, tmp_path / "run", rate=1e6, failures=1e6) as (service, serving):
            async with hands(serving, tmp_path, service.setup, 2) as (one, two):
                lease, before = await two.work(), serving.host.server.snapshot()
                guesses = [lease.id, *range(lease.id + 1, lease.id + 40), 2**40]
                answers = {await one.submit(replace(lease, id=i)) for i in guesses}
                assert answers <= {"closed", "unknown", "none"} and "" not in answers
                assert serving.host.server.snapshot() == before
                assert await two.submit(lease) == ""

    asyncio.run(main())


def test_t13_guessing_is_slowed_down(tmp_path: Path) -> None:
    async def main() -> None:
        async with served(experiment(), tmp_path / "run", failures=5.0) as (service, serving):
            async with hands(serving, tmp_path, service.setup, 1) as (hand,):
                guess = {protocol.AUTHORIZATION: Claim("0" * 32, 1, "0" * 128).header()}
                said = [(await raw(hand, "GET", "/v1/experiment", guess))[0] for _ in range(40)]
                assert said[0] == 401 and said[-1] == 429 and said.count(401) <= 30
                assert not (await hand.poll()).finished  # an open session is not slowed down by others' guesses

    asyncio.run(main())


def test_t26_a_model_with_nan_among_ten_equals_the_run_without(tmp_path: Path) -> None:
    e = experiment(clients=10, buffer=9, in_flight=10)
    poison = {"nan": np.nan, "huge": 3e38}

    async def run(folder: Path, liar: str | None) -> bytes:
        async with served(e, folder / "run", rate=1e6) as (service, serving):
            async with hands(serving, folder, service.setup, 10) as all_of_them:
                leases = [await hand.work() for hand in all_of_them]
                order = sorted(range(10), key=lambda i: leases[i].id)
                if liar is not None:
                    answer = await all_of_them[order[4]].submit(leases[order[4]], value=poison[liar])
                    assert answer.startswith("malformed: a coordinate" if liar == "huge" else "not finite"), answer
                for i in order[:4] + order[5:]:
                    assert await all_of_them[i].submit(leases[i]) == ""
                x = serving.host.book.model("gaussian")
                assert serving.host.server.view.tasks["gaussian"].version == 1 and x is not None
                assert np.isfinite(x).all()
                return x.tobytes()

    async def main() -> None:
        without = await run(tmp_path / "without", None)
        for liar in poison:
            assert await run(tmp_path / liar, liar) == without

    asyncio.run(main())


def test_t27_what_a_device_says_of_its_work_must_be_possible(tmp_path: Path) -> None:
    e = experiment(clients=12, buffer=50, in_flight=12)
    wrong = [b"-1", b"0", b"true", b'"many"', b"1e18", b"1000000000000000000", b"null", b"2.5"]

    async def main() -> None:
        async with served(e, tmp_path / "run", rate=1e6) as (service, serving):
            async with hands(serving, tmp_path, service.setup, 12) as all_of_them:
                for hand, samples in zip(all_of_them, wrong, strict=False):
                    lease = await hand.work()
                    data = hand.update(lease)[protocol.SIZES + int.from_bytes(hand.update(lease)[:4], "big") :]
                    head = b'{"samples":' + samples + b',"metrics":{}}'
                    answer = await hand.link.upload(lease.id, len(head).to_bytes(4, "big") + head + data)
                    assert answer.startswith(("malformed: ", "no samples")), (samples, answer)
                hand, lease = all_of_them[9], await all_of_them[9].work()
                broken = hand.update(lease)
                broken = broken[:-4]  # one number short
                assert (await hand.link.upload(lease.id, broken)).startswith("malformed: ")
                assert serving.host.server.state.updates == 0

    asyncio.run(main())


def test_t28_who_is_not_enrolled_gets_nothing(tmp_path: Path) -> None:
    e = experiment()

    async def main() -> None:
        async with served(e, tmp_path / "run") as (service, serving):
            with pytest.raises(InvalidInput, match="token: unknown or used"):
                async with Hand.join(serving.url, serving.ca, tmp_path / "x", service.setup, "0" * 32):
                    pass
            other, _, _ = tls.development(tmp_path / "other", ("127.0.0.1",))
            with pytest.raises(InvalidInput, match="give the right --ca"):
                async with Hand.join(serving.url, other, tmp_path / "y", service.setup, "0" * 32):
                    pass
            async with hands(serving, tmp_path, service.setup, 1) as (hand,):
                lease = await hand.work()
                serving.register.revoke(0)
                with pytest.raises(InvalidInput, match="revoked"):
                    await hand.submit(lease)
                assert serving.host.server.state.updates == 0

    asyncio.run(main())


def test_t28_mutual_tls_wants_a_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clients = tls.client_authority(tmp_path / "clients", ["device"])
    tls.client_authority(tmp_path / "strangers", ["device"])
    e = experiment()

    async def main() -> None:
        async with served(e, tmp_path / "run", clients=clients) as (_, serving):
            said = {}
            for name in ("clients", "strangers", None):
                files = (tmp_path / name / "device.pem", tmp_path / name / "device.key") if name else (None, None)
                context = tls.client_context(serving.ca, *files)
                async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as http:
                    try:
                        async with http.get(serving.url + "/v1/hello") as response:
                            said[name] = response.status
                    except (aiohttp.ClientError, ssl.SSLError, OSError):
                        said[name] = 0
            assert said == {"clients": 200, "strangers": 0, None: 0}
            monkeypatch.setattr(link, "UNSEEN_S", 0.5)
            with pytest.raises(InvalidInput, match="or a --certificate"):
                await join.work(serving.url, tmp_path / "device", join.Options(token="x", ca=serving.ca))

    asyncio.run(main())


def test_t29_a_replayed_or_tampered_request_changes_nothing(tmp_path: Path) -> None:
    e = experiment(clients=3, buffer=50, in_flight=3)

    async def main() -> None:
        async with served(e, tmp_path / "run", rate=1e6, failures=1e6) as (service, serving):
            async with hands(serving, tmp_path, service.setup, 2) as (one, two):
                lease = await one.work()
                mine, other = one.update(lease), one.update(lease, value=1.0)
                path, sizes = f"/v1/updates/{lease.id}", {"Hocket-Offset": "0", "Hocket-Length": str(len(mine))}
                captured = {**signed(one, "PATCH", path, mine), **sizes}
                before = serving.host.server.snapshot()
                for headers, data in (
                    (captured | {protocol.DIGEST: digest_header(other)}, other),  # another body
                    ({**signed(one, "PATCH", path + "0", mine), **sizes}, mine),  # signed for another lease
                    ({**signed(one, "POST", path, mine), **sizes}, mine),  # for another method
                    ({**signed(one, "PATCH", path, mine, term=9), **sizes}, mine),  # for another life of the server
                    ({**signed(one, "PATCH", path, mine, run="0" * 32), **sizes}, mine),  # for another run
                    ({**signed(one, "PATCH", path, mine, key=two.link._key), **sizes}, mine),  # by another device
                    ({**signed(two, "PATCH", path, mine), **sizes, protocol.AUTHORIZATION: ""}, mine),
                ):
                    assert (await raw(one, "PATCH", path, headers, data))[0] == 401
                status, said = await raw(one, "PATCH", path, captured, other)  # the body alone is swapped
                assert (status, protocol.decode(said, Progress).answer) == (409, None)
                assert serving.host.server.snapshot() == before
                assert await one.submit(lease) == ""
                after = serving.host.server.snapshot()
                assert (await raw(one, "PATCH", path, captured, mine))[0] == 409  # sent before
                poll = protocol.encode(Exchange())
                headers = signed(one, "POST", "/v1/exchange", poll)
                assert (await raw(one, "POST", "/v1/exchange", headers, poll))[0] == 200
                assert (await raw(two, "POST", "/v1/exchange", headers, poll))[0] == 409
                swapped = protocol.encode(Exchange(leases=(1,)))
                headers = signed(one, "POST", "/v1/exchange", poll)
                assert (await raw(one, "POST", "/v1/exchange", headers, swapped))[0] == 400
                assert serving.host.server.snapshot() == after

    asyncio.run(main())
    assert sum(accumulated(tmp_path / "run", e).values()) == 1


def test_t29_nor_at_another_life_of_the_server(tmp_path: Path) -> None:
    e = experiment()

    async def main() -> None:
        async with served(e, tmp_path / "run") as (service, serving):
            async with hands(serving, tmp_path, service.setup, 1) as (hand,):
                poll = protocol.encode(Exchange())
                captured = signed(hand, "POST", "/v1/exchange", poll)
        async with served(e, tmp_path / "run") as (service, serving):
            async with Hand.join(serving.url, serving.ca, tmp_path / "hand0", service.setup) as hand:
                assert (await raw(hand, "POST", "/v1/exchange", captured, poll))[0] == 401

    asyncio.run(main())


def test_t31_a_flood_of_registrations_leaves_others_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with served(experiment(), tmp_path / "run", rate=20.0, failures=20.0) as (service, serving):
            async with hands(serving, tmp_path, service.setup, 2) as (one, two):
                enrol = protocol.encode(protocol.Enrol("0" * 32, one.link._key.public, "0" * 128))
                flood = [(await raw(one, "POST", "/v1/enrol", {}, enrol))[0] for _ in range(150)]
                assert set(flood) == {401, 429} and serving.register.enrolled == 2
                spent = [await two.link._http.get(two.link._url + "/healthz") for _ in range(1)]  # type: ignore[union-attr]
                assert spent[0].status in (200, 429)

    asyncio.run(main())


def test_t32_slow_senders_are_hung_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hocket.service import front, serve

    monkeypatch.setattr(serve, "HEADER_S", 0.2)
    monkeypatch.setattr(front, "STALL", 0.2)
    e = experiment()

    async def gone(serving: Any, first: bytes, context: ssl.SSLContext | None) -> bytes:
        host, port = "127.0.0.1", int(serving.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection(host, port, ssl=context)
        writer.write(first)
        async with asyncio.timeout(5):
            try:
                return await reader.read()
            except ConnectionError:
                return b""
            finally:
                writer.close()

    async def main() -> None:
        async with served(e, tmp_path / "run") as (_, serving):
            context = tls.client_context(serving.ca)
            assert await gone(serving, b"", None) == b""  # no handshake
            assert await gone(serving, b"POST /v1/enrol HTTP/1.1\r\nHo", context) == b""  # half a header
            body = b"POST /v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
            assert b"408" in await gone(serving, body, context)  # half a body

    asyncio.run(main())


def test_t33_too_much_is_refused_at_the_first_byte_past_the_limit(tmp_path: Path) -> None:
    e = experiment()

    async def main() -> None:
        async with served(e, tmp_path / "run", rate=1e6, failures=1e6) as (service, serving):
            async with hands(serving, tmp_path, service.setup, 1) as (hand,):
                lease = await hand.work()
                most = serving.host.book.upload_size("gaussian")[0] + protocol.HEAD + protocol.SIZES
                big = bytes(most + 1)
                path = f"/v1/updates/{lease.id}"
                sizes = {"Hocket-Offset": "0", "Hocket-Length": str(len(big))}
                assert (await raw(hand, "PATCH", path, signed(hand, "PATCH", path, big) | sizes, big))[0] == 413
                sizes["Hocket-Length"] = "10"  # says less than it sends
                assert (await raw(hand, "PATCH", path, signed(hand, "PATCH", path, big) | sizes, big))[0] == 413
                pulled = 0

                async def endless() -> Any:
                    nonlocal pulled
                    while True:
                        pulled += 4096
                        yield bytes(4096)

                headers = signed(hand, "POST", "/v1/exchange", b"")
                with pytest.raises((aiohttp.ClientError, ConnectionError)):  # refused, and hung up on
                    async with hand.link._http.post(  # type: ignore[union-attr]
                        hand.link._url + "/v1/exchange", headers=headers, data=endless()
                    ) as response:
                        assert response.status == 413
                        raise aiohttp.ClientError("refused")
                assert pulled < 64 << 20
                assert await hand.submit(lease) == ""

    asyncio.run(main())


def test_numbers_that_are_none_are_refused_by_name(tmp_path: Path) -> None:
    """None of them is an error of the server's, or reaches the journal, where they would not fit."""
    e, big = experiment(clients=2, buffer=50, in_flight=2), b"1" + b"0" * 40

    async def main() -> None:
        async with served(e, tmp_path / "run", rate=1e6, failures=1e6) as (service, serving):
            async with hands(serving, tmp_path, service.setup, 1) as (hand,):
                lease = await hand.work()
                assert lease.node is not None
                steps = await hand.link.path(Want(lease.id, lease.node))
                assert steps is not None
                before, edge = serving.host.server.snapshot(), f"/v1/edges/{steps[0].digest}"
                for query in ("--5", "%C2%B2", "9" * 5000, "abc", ""):
                    path = f"{edge}?lease={query}"
                    assert (await raw(hand, "GET", path, signed(hand, "GET", path, b"")))[0] == 200
                for text in ("bytes=5-2", "bytes=x", "bytes=0-1,3-4", "bytes=99999999999999999999-", "items=0-3"):
                    headers = signed(hand, "GET", edge, b"") | {"Range": text}
                    assert (await raw(hand, "GET", edge, headers))[0] == 416
                for path, data in (
                    ("/v1/exchange", b'{"leases":[%s]}' % big), ("/v1/exchange", b'{"started":[-2]}'),
                    ("/v1/exchange", b'{"fetched":[[-%s,["gaussian",0]]]}' % big),
                    ("/v1/exchange", b'{"failed":[[0,"\\ud800"]]}'), ("/v1/exchange", b'{"failed":[[0,"\xff"]]}'),
                    ("/v1/path", b'{"lease":%s,"node":["gaussian",0]}' % big),
                ):  # fmt: skip
                    assert (await raw(hand, "POST", path, signed(hand, "POST", path, data), data))[0] == 400, data
                for have in (big, b"-" + big):  # a node that never was: the way is from nothing
                    data = b'{"lease":%d,"node":["gaussian",0],"have":["gaussian",%s]}' % (lease.id, have)
                    status, said = await raw(hand, "POST", "/v1/path", signed(hand, "POST", "/v1/path", data), data)
                    assert status == 200 and b"null,%d" % steps[0].size in said
                headers = signed(hand, "GET", "/v1/experiment", b"") | {protocol.DIGEST: "sha-256=:\udcff:"}
                assert (await raw(hand, "GET", "/v1/experiment", headers))[0] == 400
                assert (await raw(hand, "HEAD", edge, signed(hand, "HEAD", edge, b"")))[0] == 405
                assert serving.host.server.snapshot() == before
                assert await hand.submit(lease) == ""

    asyncio.run(main())


def test_what_is_no_http_is_refused_and_fills_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    many = b"".join(b"X%d: y\r\n" % i for i in range(200))
    lines = (
        b"GET /v1/edges/\xff HTTP/1.1", b"GET / HTTP/9.9", b"PRI * HTTP/2.0", b"\x16\x03\x01\x02\x00\x01",
        b"POST /v1/enrol HTTP/1.1\r\nContent-Length: -1", b"POST /v1/enrol HTTP/1.1\r\nContent-Length: " + b"9" * 30,
        b"POST /v1/enrol HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        b"GET /v1/hello HTTP/1.1\r\n" + many, b"GET /v1/hello HTTP/1.1\r\nX: " + b"y" * 9000,
    )  # fmt: skip

    async def main() -> None:
        async with served(experiment(), tmp_path / "run", plain=True) as (_, serving):
            for line in lines:
                reader, writer = await asyncio.open_connection("127.0.0.1", int(serving.url.rpartition(":")[2]))
                writer.write(line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
                async with asyncio.timeout(5):
                    assert (await reader.read(20)).startswith((b"HTTP/1.0 400", b"HTTP/1.1 400")), line[:60]
                writer.close()

    asyncio.run(main())
    assert not caplog.records


def test_one_token_is_one_device_however_many_use_it_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with served(experiment(clients=9), tmp_path / "run", rate=1e6, failures=1e6) as (service, serving):
            (token,) = serving.register.invite()
            async with aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=tls.client_context(serving.ca))
            ) as http:

                async def enrol(key: Key) -> int:
                    proof = key.sign(enrol_text(service.setup.digest(), token, key.public))
                    body = protocol.encode(protocol.Enrol(token, key.public, proof))
                    async with http.post(serving.url + "/v1/enrol", data=body) as response:
                        return response.status

                said = await asyncio.gather(*(enrol(Key.new()) for _ in range(12)))
            assert sorted(said) == [200] + [403] * 11 and serving.register.enrolled == 1

    asyncio.run(main())


def test_a_device_that_lies_about_its_speed_changes_no_plan() -> None:
    assert Rates(0.01, 1e6, 1e6).known and Rates(1e-12, 1e18, 1e-3).known
    for lie in (0.0, 1e-320, 1e17, 1e300, -1.0, np.nan, np.inf):
        assert not Rates(lie, 1e6, 1e6).known
    for lie in (0.0, 1e-320, 1e-4, 1e19, -1.0, np.nan, np.inf):
        assert not Rates(0.01, lie, 1e6).known and not Rates(0.01, 1e6, lie).known


def test_a_server_does_not_say_what_a_device_reads(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    for place in (
        '[fleet]\nkind = "parquet"\npath = "{}"',
        '[fleet.down_trace]\npath = "{}"',
        '[tasks.a]\ndata = "{}"',
    ):
        with pytest.raises(InvalidInput, match="names a file here"):
            join._table(place.format(tmp_path / "secret"))
    with pytest.raises(InvalidInput, match="not TOML"):
        join._table("{")


@pytest.mark.parametrize("digest", ["../../../../tmp/x", "/etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n", ""])
def test_a_server_does_not_say_where_a_device_writes(digest: str) -> None:
    step = protocol.encode(Path_((Step(Edge(Node("a", 1), None, 5), digest, 5),)))
    with pytest.raises(InvalidInput, match="regex"):
        protocol.decode(step, Path_)
    with pytest.raises(InvalidInput, match="regex"):
        protocol.decode(protocol.encode(protocol.Enrol("token", digest, "0" * 128)), protocol.Enrol)


def test_a_server_that_sends_more_than_an_edge_has_fills_no_disk(tmp_path: Path) -> None:
    async def main() -> None:
        async with served(experiment(), tmp_path / "run") as (service, serving):
            data = bytes(3 << 20)
            name = service.edges.digest(data)
            service.edges._data[name] = data
            async with hands(serving, tmp_path, service.setup, 1) as (hand,):
                with pytest.raises(HocketError, match="more than the 1000 bytes"):
                    await hand.link.download(Step(Edge(Node("gaussian", 0), None, 1000), name, 1000), -1)
                assert hand.keep.part(name).stat().st_size <= 1000

    asyncio.run(main())


def test_what_a_device_says_of_a_failure_is_plain_text(tmp_path: Path) -> None:
    async def main() -> None:
        async with served(experiment(), tmp_path / "run") as (service, serving):
            async with hands(serving, tmp_path, service.setup, 1) as (hand,):
                lease = await hand.work()
                await hand.poll(failed=((lease.id, "no \x1b[31m\x07 good\n\u202e" + "z" * 999),))

    asyncio.run(main())
    events = [decode(r, "journal").event for r in read(tmp_path / "run" / "journal").records]
    (failed,) = [e for e in events if isinstance(e, on.Failed)]
    assert failed.reason.startswith("no [31m good z") and len(failed.reason) == protocol.REASON


def test_a_device_that_claims_bands_that_never_were_costs_no_memory(tmp_path: Path) -> None:
    text = served_text(clients=3, in_flight=3).replace(
        'use = "fedbuff"\nbuffer = 2\nin_flight = 3', 'use = "fjord"\ncohort = 2'
    )
    e = document.parse(tomllib.loads(text))

    async def main() -> None:
        async with served(e, tmp_path / "run", rate=1e6) as (service, serving):
            async with hands(serving, tmp_path, service.setup, 3) as all_of_them:
                works = [(hand, lease) for hand in all_of_them for lease in (await hand.poll()).work]
                hand, lease = works[0]
                node = lease.node
                assert node is not None and node.cover.length > 0
                honest = await hand.link.path(Want(lease.id, node))
                for length in (*range(-20, 60), 10**12):
                    had = replace(node, version=node.version + 1, cover=replace(node.cover, length=length))
                    assert (await hand.link.path(Want(lease.id, node, had))) is not None
                assert await hand.link.path(Want(lease.id, node)) == honest
                paths = serving.host.book.shelves["gaussian"].downlink.paths
                assert len(paths) < 10

    asyncio.run(main())


# --- what is parsed -------------------------------------------------------------------------------------


@given(st.binary(max_size=300))
def test_t21_any_bytes_are_an_update_or_a_named_error(data: bytes) -> None:
    for kind in (protocol.Exchange, protocol.Want, protocol.Head, protocol.Open, protocol.Enrol):
        with suppress(InvalidInput):
            protocol.decode(data, kind)
    try:
        head, rest = protocol.split_update(data)
    except InvalidInput:
        return
    assert isinstance(head, Head) and data.endswith(rest)


@given(st.binary(max_size=200), st.integers(0, 1 << 32), st.sampled_from([Float32(), QSGD(), TopK()]))
def test_t22_t24_any_bytes_are_a_vector_or_a_named_error(body: bytes, at: int, codec: Any) -> None:
    schema = Schema((Segment("w", (40,)),))
    honest = wire.encode(codec, np.arange(40, dtype=np.float32), schema, 7)
    for data in (body, honest[: at % len(honest)], _spliced(honest, body, at)):
        try:
            x = wire.decode(codec, data, schema)
        except InvalidInput:
            continue
        assert x.shape == (40,) and x.dtype == np.float32


def _spliced(honest: bytes, body: bytes, at: int) -> bytes:
    """The honest bytes with others in their middle, and a checksum that fits."""
    from zlib import crc32

    cut = at % len(honest)
    data = (honest[:cut] + body + honest[cut:])[: len(honest)]
    head = data[: wire.FRAME.size - 4]
    return head + crc32(data[wire.FRAME.size :], crc32(head)).to_bytes(4, "little") + data[wire.FRAME.size :]


def test_t22_a_deep_or_huge_message_takes_no_memory() -> None:
    for data in (b"[" * 100_000, b'{"leases":' + b"[" * 100_000, b'{"leases":[' + b"9" * 100_000 + b"]}"):
        with pytest.raises(InvalidInput):
            protocol.decode(data, protocol.Exchange)


def test_t25_nothing_from_outside_is_unpickled_or_imported(tmp_path: Path) -> None:
    import pickle

    e = experiment(clients=4, buffer=50, in_flight=4)
    bad: list[str] = []
    listening = [False]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if listening[0] and event in ("pickle.find_class", "marshal.loads", "marshal.load", "exec", "compile"):
            bad.append(event)

    sys.addaudithook(hook)  # for the rest of this process; it listens only here
    exploits = [
        pickle.dumps(sys.exit),
        b"\x93NUMPY\x01\x00",
        b"PK\x03\x04torch",
        b"\x80\x04cos\nsystem\n.",
        b"\xff" * 64,
    ]

    async def main() -> None:
        async with served(e, tmp_path / "run", rate=1e6, failures=1e6) as (service, serving):
            async with hands(serving, tmp_path, service.setup, 4) as all_of_them:
                lease = await all_of_them[0].work()
                assert await all_of_them[0].submit(lease) == ""  # everything is imported by now
                listening[0] = True
                for hand in all_of_them[1:]:
                    lease = await hand.work()
                    for data in exploits:
                        assert (await hand.link.upload(lease.id, data)) != ""
                for path in ("/v1/exchange", "/v1/path"):
                    for data in exploits:
                        hand = all_of_them[0]
                        assert (await raw(hand, "POST", path, signed(hand, "POST", path, data), data))[0] == 400
                listening[0] = False

    asyncio.run(main())
    assert not bad
    package = Path(protocol.__file__).parents[1]
    for path in (*(package / "service").glob("*.py"), *(package / "store").glob("*.py"), package / "wire.py"):
        source = path.read_text()
        for banned in ("import pickle", "import marshal", "import shelve", "importlib.import_module", "eval(", "exec("):
            assert banned not in source, f"{path.name}: {banned}"


def test_only_loopback_goes_without_tls() -> None:
    from hocket.service.serve import Options

    with pytest.raises(InvalidInput, match="not without TLS"):
        Options(host="0.0.0.0", plain=True)
    with pytest.raises(InvalidInput, match="by what name devices reach"):
        Options(host="0.0.0.0")
    assert Options(host="0.0.0.0", names=("example.org",)).names
