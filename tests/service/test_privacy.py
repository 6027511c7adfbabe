"""Privacy where it is served: the noise comes from a secret beside the journal, which every later life must have."""

import asyncio
import stat
import sys
from pathlib import Path

import numpy as np

from hocket.store import secret
from tests.service.served import Process, experiment, hands, replayed, served, setup_of

HIDDEN = 'privacy = {kind = "gaussian", clip = 1.0, noise = 0.5, participations = 3}'


async def one_step(folder: Path) -> np.ndarray:
    """The model after a step of two updates that are always the same."""
    e = experiment(clients=2, buffer=2, in_flight=2, strategy=HIDDEN)
    async with served(e, folder / "run") as (service, serving):
        async with hands(serving, folder, service.setup, 2) as both:
            for hand in both:
                assert await hand.submit(await hand.work()) == ""
            model = serving.host.book.model("gaussian")
            assert model is not None and serving.host.server.state.tasks["gaussian"].version == 1
    again = replayed(folder / "run", e)
    np.testing.assert_array_equal(again.book.model("gaussian"), model)
    assert again.server.state.memories["privacy.gaussian"].releases == 1
    return model


def test_the_same_file_served_twice_has_other_noise_and_each_journal_replays_to_its_own(tmp_path: Path) -> None:
    models = [asyncio.run(one_step(tmp_path / name)) for name in "ab"]
    apart = models[0] - models[1]
    assert 0.2 < apart.std() < 0.6, "two draws of z C / K = 0.25"
    key = tmp_path / "a" / "run" / "journal" / secret.FILE
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 and len(key.read_bytes()) == secret.LENGTH


def test_a_killed_private_run_goes_on_with_its_secret_and_not_without(tmp_path: Path) -> None:
    process = Process(tmp_path, clients=2, buffer=2, in_flight=2, strategy=HIDDEN)

    async def main() -> None:
        from tests.service.served import Hand

        await process.start("--invite", "1")
        token = (process.run / "tokens").read_text().strip()
        async with Hand.join(process.url, process.ca, tmp_path / "hand", process.setup, token) as hand:
            for life in range(2):
                for _ in range(3):
                    assert await hand.submit(await hand.work()) == ""
                await process.kill()
                if life == 0:
                    await process.start()
                    await hand.link.renew(hand.link.session)
        key = process.run / "journal" / secret.FILE
        found = replayed(process.run, process.experiment).server.state.memories["privacy.gaussian"]
        assert found.releases == 3
        key.rename(tmp_path / "moved")
        command = ["-m", "hocket", "serve", str(tmp_path / "file.toml"), "--out", str(process.run), "--port", "0"]
        lost = await asyncio.create_subprocess_exec(sys.executable, *command, stderr=asyncio.subprocess.PIPE)
        _, err = await lost.communicate()
        assert lost.returncode == 2 and b"cannot go on with other noise" in err and err.count(b"\n") == 1

    asyncio.run(main())
    assert setup_of(process.experiment).strategy.tasks["gaussian"].privacy is not None
