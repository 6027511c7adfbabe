"""Figures as files: whole SVG documents with a legend, and PNG where the extra is there."""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from hocket.errors import InvalidInput, MissingExtra
from hocket.report import write_figures, write_page
from hocket.report.page import Contents
from tests.report.tables import SMALL, held, marks, view


def shown(place: Path) -> Contents:
    runs = view("one & <only>", folder=held(place / "a", SMALL)), view("two", folder=held(place / "b", SMALL))
    return write_page(place / "report.html", runs, "both")


def test_every_figure_is_a_document_of_its_own(tmp_path: Path) -> None:
    found = shown(tmp_path).charts()
    written = write_figures(tmp_path / "figures", found)
    assert sorted(p.name for p in written) == sorted(p.name for p in (tmp_path / "figures").iterdir())
    assert len(written) == len(found) == 6 + 4 + 4
    assert {"accuracy-time.svg", "staleness.svg", "lanes-1.svg", "lanes-2.svg"} <= {p.name for p in written}
    for path in written:
        root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
        assert {"title", "desc", "style"} <= {e.tag.rpartition("}")[2] for e in root}
        assert "http" not in path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")


def test_a_figure_has_its_legend_and_its_lines(tmp_path: Path) -> None:
    write_figures(tmp_path / "figures", shown(tmp_path).charts())
    text = (tmp_path / "figures" / "accuracy-time.svg").read_text(encoding="utf-8")
    assert len(marks(text, "line")) == 2 == len(marks(text, "fill"))
    said = [e.text for e in ElementTree.fromstring(text).iter() if e.tag.endswith("}text")]
    assert "one & <only>" in said and "two" in said and "accuracy" in said


def test_the_same_runs_give_the_same_figures(tmp_path: Path) -> None:
    found = shown(tmp_path).charts()
    for name in ("x", "y"):
        write_figures(tmp_path / name, found)
    assert [p.read_bytes() for p in sorted((tmp_path / "x").iterdir())] == [
        p.read_bytes() for p in sorted((tmp_path / "y").iterdir())
    ]


def test_png_without_the_extra_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(MissingExtra, match=r"resvg-py is not installed; pip install 'hocket\[figures\]'"):
        write_figures(tmp_path / "figures", shown(tmp_path).charts(), png=True)
    assert not (tmp_path / "figures").exists()


def test_png_is_twice_as_large(tmp_path: Path) -> None:
    pytest.importorskip("resvg_py")
    chart = next(c for c in shown(tmp_path).charts() if c[0] == "accuracy-time")
    svg, png = write_figures(tmp_path / "figures", [chart], png=True)
    data = png.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and int.from_bytes(data[16:20], "big") == 2 * 660
    assert svg.suffix == ".svg"


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("mine")
    with pytest.raises(InvalidInput, match="is a file; give a folder"):
        write_figures(tmp_path / "figures", [])
