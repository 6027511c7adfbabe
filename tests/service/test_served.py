"""A run over TLS with devices that work for real: it ends as it should, replays, and everybody hears of it."""

import asyncio
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

import hocket as hk
from hocket.experiment import document
from tests.service.served import devices, experiment, replayed, served

METHODS = {
    "fedbuff": "",
    "error feedback": 'uplink = {kind = "error_feedback", codec = {kind = "qsgd"}}',
}


@pytest.mark.parametrize("method", METHODS)
def test_a_run_ends_and_replays_to_the_same_digest(method: str, tmp_path: Path) -> None:
    e = experiment(clients=5, buffer=3, in_flight=4, updates=30, strategy=METHODS[method])

    async def main() -> list[str]:
        async with served(e, tmp_path / "run") as (_, serving):
            return list(await asyncio.gather(*await devices(serving, tmp_path, 5)))

    assert asyncio.run(main()) == ["updates"] * 5
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["updates"] == 30 and summary["tasks"]["gaussian"]["version"] == 10
    fleet = hk.Fleet.from_parquet(tmp_path / "run" / "measured.parquet")
    assert len(fleet) == 5 and (fleet.compute > 0).all() and np.isfinite(fleet.down).all()
    again = replayed(tmp_path / "run", e)
    assert again.closed and again.digest == json.loads((tmp_path / "run" / "machine.json").read_text())["digest"]


FILE = """
seed = 3
[task]
kind = "gaussian"
clients = 4
samples = 40
hidden = [8]
[fleet]
kind = "synthetic"
[until]
updates = 15
[strategy]
use = "{use}"
{rest}
"""
OTHERS = {
    "qafel": "buffer = 3\nin_flight = 4", "fedfetch": "cohort = 2", "heterofl": "cohort = 3", "fjord": "cohort = 3",
    "prfl": "", "fedfix": "window = 1.0",
}  # fmt: skip


@pytest.mark.parametrize("method", OTHERS)
def test_methods_with_parts_prefetch_hidden_states_and_windows_run_over_a_network(method: str, tmp_path: Path) -> None:
    e = document.parse(tomllib.loads(FILE.format(use=method, rest=OTHERS[method])))

    async def main() -> list[str]:
        async with served(e, tmp_path / "run", linger=1.0) as (_, serving):
            working = await devices(serving, tmp_path, 4)
            async with asyncio.timeout(60):
                return list(await asyncio.gather(*working))

    assert asyncio.run(main()) == ["updates"] * 4
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["updates"] == 15 and not summary["refused"] and not summary["lost"]
    assert replayed(tmp_path / "run", e).closed


def test_a_fleet_in_files_is_served_and_a_device_learns_its_own_row(tmp_path: Path) -> None:
    """Every device plays itself as the simulator would, without the files."""
    compute = np.array([1e-4, 2e-4, 3e-4])
    hk.Fleet(compute=compute, down=np.array([np.inf, 1e6, 2e6]), up=np.full(3, 1e6)).to_parquet(tmp_path / "f.parquet")
    np.savez(tmp_path / "t.npz", a=np.array([1.0, 3.0]), b=np.array([2.0, 1.0, 1.0]))
    text = FILE.replace("clients = 4\n", "").replace(
        'kind = "synthetic"',
        'kind = "parquet"\npath = "f.parquet"\nlinks = "parallel"\ndown_law = {{kind = "exponential"}}\n'
        'down_trace = {{path = "t.npz"}}',
    )
    (tmp_path / "e.toml").write_text(text.format(use="fedbuff", rest="buffer = 2\nin_flight = 2"))
    e = document.load(tmp_path / "e.toml")
    timing = e.fleet.timing(e.seed)
    for client in range(3):
        own = document.parse(tomllib.loads(e.told(client)), checked=True)
        assert not own.files and own.setup().digest() == e.setup().digest() and own.fleet.links == "parallel"
        its = own.fleet.timing(own.seed)
        for k in (1, 2):
            assert its.train(client, 40, k) == timing.train(client, 40, k)
            assert its.download(client, 10**6, k, 10**9) == timing.download(client, 10**6, k, 10**9)

    async def main() -> list[str]:
        async with served(e, tmp_path / "run") as (_, serving):
            return list(await asyncio.gather(*await devices(serving, tmp_path, 3, emulate=True)))

    assert asyncio.run(main()) == ["updates"] * 3
