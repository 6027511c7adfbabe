"""Finding, checking and keeping files."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from hocket.errors import InvalidInput, MissingData
from hocket.learning.loaders.cache import kept
from hocket.learning.loaders.files import File

SUM = hashlib.sha256(b"right").hexdigest()
FILE = File("set/part.bin", SUM, "https://example.org/part.bin")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("HOCKET_DATA", raising=False)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "part.bin").write_bytes(b"right")
    return tmp_path


def test_argument_before_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert FILE.read(folder) == b"right"
    monkeypatch.setenv("HOCKET_DATA", str(folder))
    assert FILE.read() == b"right" and FILE.present(None)
    with pytest.raises(MissingData):
        FILE.read(folder / "set")


def test_missing(folder: Path) -> None:
    with pytest.raises(MissingData, match=r"data is not set; give the folder that holds set/part\.bin as data= or --d"):
        FILE.read()
    with pytest.raises(MissingData, match="/nowhere, which is not a folder"):
        FILE.read(folder / "nowhere")
    (folder / "set" / "part.bin").unlink()
    with pytest.raises(MissingData, match=rf"has no set/part\.bin; get it from https://example.org.* \(sha256 {SUM}\)"):
        FILE.read(folder)
    assert not FILE.present(folder)


def test_wrong_checksum(folder: Path) -> None:
    (folder / "set" / "part.bin").write_bytes(b"wrong")
    other = hashlib.sha256(b"wrong").hexdigest()
    with pytest.raises(InvalidInput, match=rf"set/part.bin has sha256 {other}, not {SUM}; .* get it again from https"):
        FILE.read(folder)


def test_a_folder_in_the_place_of_a_file(folder: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        File("set", SUM, "nowhere").read(folder)


def test_kept_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calls = []

    def decode() -> np.ndarray:
        calls.append(1)
        return np.arange(3, dtype=np.uint8)

    for _ in range(3):
        assert kept(SUM, decode).tolist() == [0, 1, 2]
    assert not kept(SUM, decode).flags.writeable
    assert len(calls) == 1
    (tmp_path / "hocket" / f"{SUM}.npy").write_bytes(b"torn")
    for _ in range(2):
        assert kept(SUM, decode).tolist() == [0, 1, 2] and len(calls) == 2
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "hocket" / f"{SUM}.npy"))
    assert kept(SUM, decode).tolist() == [0, 1, 2] and len(calls) == 3
