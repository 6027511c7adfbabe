"""A finished run says how long it took here."""

import json
from pathlib import Path

import pytest

from hocket.cli.table import show_speed
from hocket.experiment import folder


def test_speed_is_said_once_for_each_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from hocket.cli.commands import simulate

    file = tmp_path / "short.toml"
    file.write_text(
        '[task]\nkind = "gaussian"\n[fleet]\nkind = "synthetic"\n[strategy]\nuse = "fedbuff"\n[until]\nupdates = 60\n'
    )
    simulate(file, [], None, tmp_path / "out", False, 1)
    machine = json.loads((tmp_path / "out" / "machine.json").read_text())
    assert f"{machine['updates_per_s']:,.0f} updates/s" in capfd.readouterr().err
    show_speed(folder.views(tmp_path / "out") * 2)
    err = capfd.readouterr().err
    assert err.count("updates/s") == 1 and err.startswith("short: took ")
