"""The commands: what they refuse, in one line each, and that a run goes on where it was stopped."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hocket.cli import main
from hocket.errors import InvalidInput
from hocket.service import link
from hocket.service.operate import ask
from tests.service.served import Hand, Process, accumulated, experiment, hands, served, text

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def hocket(capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line as a function: exit code and standard error."""

    def run(*arguments: str) -> tuple[int, str]:
        code = main(list(arguments))
        return code, capsys.readouterr().err

    return run


def test_what_cannot_be_served_or_joined_is_one_line(
    hocket: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "UNSEEN_S", 0.3)
    (tmp_path / "e.toml").write_text(text())
    sized = text().replace('kind = "gaussian"', 'kind = "sized"\nparameters = 10')
    (tmp_path / "sized.toml").write_text(sized)
    e, out = str(tmp_path / "e.toml"), str(tmp_path / "run")
    for arguments, said in (
        (("serve", e, "--out", out, "--host", "0.0.0.0", "--plain"), "not without TLS"),
        (("serve", e, "--out", out, "--certificate", "x.pem"), "give both, or neither"),
        (("serve", str(tmp_path / "sized.toml"), "--out", out), "size-only"),
        (("serve", e, "--out", out, "--certificate", "x.pem", "--key", "x.key"), "PEM files that belong together"),
        (("join", "http://example.org:1", "--state", str(tmp_path / "d")), "use https"),
        (("join", "example.org", "--state", str(tmp_path / "d")), "give https://HOST:PORT"),
        (("join", "http://127.0.0.1:9", "--state", str(tmp_path / "d"), "--token", "x"), "nobody answers"),
        (("join", "https://127.0.0.1:9", "--ca", str(tmp_path / "no.pem")), "PEM files that belong together"),
        (("operate", str(tmp_path / "none")), "nothing serves a run there"),
        (("operate", out, "fly"), "no such command"),
        (("operate", out, "pause"), "give a task"),
    ):
        code, err = hocket(*arguments)
        assert code == 2 and said in err and err.count("\n") == 1, err


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    process = Process(tmp_path, clients=2, buffer=2, in_flight=2)

    async def main() -> None:
        await process.start("--invite", "1")
        token = (process.run / "tokens").read_text().strip()
        async with Hand.join(process.url, process.ca, tmp_path / "hand", process.setup, token) as hand:
            assert await hand.submit(await hand.work()) == ""
            await asyncio.to_thread(ask, process.run, "POST", "/stop")
            code, said = await process.end()
            assert code == 0 and "goes on with the run" in said
            await process.start()
            assert process.recoveries
            await hand.link.renew(hand.link.session)
            assert await hand.submit(await hand.work()) == ""
        await process.kill(15)

    asyncio.run(main())
    assert sum(accumulated(process.run, process.experiment).values()) == 2


def test_a_second_server_of_a_run_that_is_served_is_sent_away(tmp_path: Path) -> None:
    """It must not take the journal from the first one, not even before it finds that its port is in use."""
    e = experiment(clients=2, in_flight=2)

    async def main() -> None:
        async with served(e, tmp_path / "run") as (service, serving):
            port = int(serving.url.rpartition(":")[2])
            with pytest.raises(InvalidInput, match="another process serves this run"):
                async with served(e, tmp_path / "run"):
                    pass
            with pytest.raises(InvalidInput, match=f"port = {port}: Address already in use"):
                async with served(e, tmp_path / "other", port=port):
                    pass
            assert not (tmp_path / "other" / "journal").exists()
            async with hands(serving, tmp_path, service.setup, 1) as (hand,):
                assert await hand.submit(await hand.work()) == "" and serving.host.term == 1

    asyncio.run(main())


def test_an_address_that_is_none_is_said_at_once(hocket: Run, tmp_path: Path) -> None:
    for url in ("https://[::1", "https://h:99999", "https://h:abc", "https://h:0", "https://h?x", "ftp://h", ""):
        code, err = hocket("join", url, "--state", str(tmp_path / "d"), "--token", "x")
        assert code == 2 and "give https://HOST:PORT" in err and err.count("\n") == 1, err


def test_options_out_of_range_are_one_line(hocket: Run, tmp_path: Path) -> None:
    (tmp_path / "e.toml").write_text(text())
    (tmp_path / "file").touch()
    e, out = str(tmp_path / "e.toml"), str(tmp_path / "run")
    for options, said in (
        (("--port", "99999"), "port = 99999: must be from 1 to 65535"),  # it would listen on 34463
        (("--port", "-1"), "port = -1"),
        (("--invite", "-3"), "invite = -3"),
        (("--checkpoint", "0"), "checkpoint = 0"),
        (("--host", "0.0.0.0"), "(--name)"),
        (("--out", str(tmp_path / "file")), "is a file; give a directory"),
    ):
        code, err = hocket("serve", e, "--out", out, *options)
        assert code == 2 and said in err and err.count("\n") == 1, err


def test_operators_who_ask_for_the_impossible_hear_why(hocket: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with served(experiment(), tmp_path / "run"):
            for arguments, said in (
                (("revoke", "x"), "give the number of a client"),
                (("revoke", "99"), "clients 0..3"),
                (("pause", "a/b"), "no task 'a/b'"),
                (("end", "a?b"), "no task 'a?b'"),
                (("end", ".."), "answered 404"),
                (("invite", "--client", "77"), "clients 0..3"),
                (("invite", "--count", "0"), "count = 0"),
                (("fleet", str(tmp_path / "f")), "wait for updates"),
            ):
                code, err = await asyncio.to_thread(hocket, "operate", str(tmp_path / "run"), *arguments)
                assert code in (1, 2) and said in err and err.count("\n") == 1, err

    asyncio.run(main())


def test_what_an_operator_was_told_survives_a_kill(tmp_path: Path) -> None:
    process = Process(tmp_path)

    async def main() -> None:
        await process.start()
        said = await asyncio.to_thread(ask, process.run, "POST", "/pause/gaussian")
        await process.kill()
        assert b'"paused"' in said
        await process.start()
        assert b'"paused"' in await asyncio.to_thread(ask, process.run, "GET", "/status")
        await process.kill(15)

    asyncio.run(main())


def test_a_device_that_was_revoked_comes_back_with_a_new_folder(tmp_path: Path) -> None:
    async def main() -> None:
        async with served(experiment(), tmp_path / "run") as (service, serving):
            async with hands(serving, tmp_path, service.setup, 1) as (hand,):
                assert hand.client == 0
            await asyncio.to_thread(ask, tmp_path / "run", "POST", "/revoke/0")
            (token,) = serving.register.invite(client=0)
            with pytest.raises(InvalidInput, match="a new token and an empty --state folder"):
                async with Hand.join(serving.url, serving.ca, tmp_path / "hand0", service.setup, token):
                    pass
            async with Hand.join(serving.url, serving.ca, tmp_path / "again", service.setup, token) as hand:
                assert hand.client == 0 and (await hand.poll()).finished == ""

    asyncio.run(main())


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_somebody_else_does_not_operate(tmp_path: Path) -> None:
    code = (
        "import os, sys, hocket.service.operate, hocket.cli.serve, asyncio; from hocket.cli import main; "
        "os.seteuid(65534); sys.exit(main(['operate', sys.argv[1], 'stop']))"
    )

    async def main() -> None:
        async with served(experiment(), tmp_path / "run") as (service, _):
            command = (sys.executable, "-c", code, str(tmp_path / "run"))
            process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
            _, err = await process.communicate()
            assert process.returncode == 2 and b"operate the run as that user" in err and err.count(b"\n") == 1, err
            assert not service._stop.is_set()

    asyncio.run(main())
