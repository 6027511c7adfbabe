"""A run over TLS with devices that work for real: it ends as it should, replays, and everybody hears of it."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

import hocket as hk
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
