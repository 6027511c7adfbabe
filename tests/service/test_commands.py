"""The commands: what they refuse, in one line each, and that a run goes on where it was stopped."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from hocket.cli import main
from hocket.errors import InvalidInput
from hocket.service import link
from hocket.service.operate import ask
from tests.service.served import Process, accumulated, experiment, hands, served, text

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
        from tests.service.served import Hand

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
