"""What is appended is read back; a torn tail is forgiven, damage is named."""

from pathlib import Path

import pytest

from hocket import InvalidInput
from hocket import events as on
from hocket.errors import Damaged
from hocket.lease import Cover, Node
from hocket.service import journal
from hocket.service.journal import End, Header, Journal, Record, read

EVENTS: list[tuple[int, on.Event]] = [
    (0, on.Joined((0, 1, 2))),
    (1, on.Fetched(0, 2, Node("digits", 4), 1 << 40)),
    (2, on.Started(0, 2)),
    (2, on.Arrived(0, 2, 300, 20)),
    (2, on.Measured(0, {"norm": float("inf"), "loss": 0.1 + 0.2})),
    (3, on.Stepped("digits", Node("digits", 5, "hidden", 2, Cover(3, 7)), 1, 99, {"norm": 0.25})),
    (3, on.Evaluated("digits", 5, "kept", "test", {"accuracy": 1 / 3})),
    (4, on.Failed(1, 0, "gone")),
    (5, on.Durable(9)),
    (1 << 62, on.Woke()),
    (1 << 62, on.Planned("digits", (0.25, 0.75), 4)),
    (1 << 62, End("ab")),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "journal"
    file = Journal(path, "run")
    for now, event in EVENTS:
        file.append(now, event)
    file.close()
    file.close()
    return path


def ends(path: Path) -> list[int]:
    """Where each record ends, read by hand."""
    data, at, out = path.read_bytes(), 0, []
    while at < len(data):
        at += 12 + int.from_bytes(data[at : at + 4], "little")
        out.append(at)
    return out


def test_round_trip(path: Path) -> None:
    header, *rest = read(path)
    assert header == (0, Header(1, "run"))
    assert rest == EVENTS
    assert len(ends(path)) == len(EVENTS) + 1


def test_nothing_is_lost_between_sync_and_close(tmp_path: Path) -> None:
    file = Journal(tmp_path / "journal", "run")
    file.append(7, on.Woke())
    file.sync()
    assert list(read(tmp_path / "journal"))[1:] == [(7, on.Woke())]
    file.close()


def test_torn_at_every_byte_of_the_last_record(path: Path) -> None:
    data, last = path.read_bytes(), ends(path)[-2]
    whole = list(read(path))
    for length in range(last, len(data)):
        path.write_bytes(data[:length])
        assert list(read(path)) == whole[:-1]


def test_a_tail_of_zeros_is_torn(path: Path) -> None:
    whole = list(read(path))
    path.write_bytes(path.read_bytes() + bytes(5000))
    assert list(read(path)) == whole


@pytest.mark.parametrize("change", [1, 0x80, 0xFF])
def test_every_flipped_byte_is_named(path: Path, change: int) -> None:
    data, stops = path.read_bytes(), ends(path)
    whole = list(read(path))
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ change]) + data[at + 1 :])
        number = next(i for i, end in enumerate(stops) if at < end)
        offset = stops[number - 1] if number else 0
        seen: list[Record] = []
        with pytest.raises(Damaged, match=rf"record {number} at byte {offset}: "):
            for record in read(path):
                seen.append(record)
        assert seen == whole[:number]


def test_a_missing_record_in_the_middle_shifts_nothing_silently(path: Path) -> None:
    data, stops = path.read_bytes(), ends(path)
    path.write_bytes(data[: stops[2]] + data[stops[2] + 5 :])
    with pytest.raises(Damaged, match="record 3"):
        list(read(path))


def test_other_formats_and_places_are_refused(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "FORMAT", 2)
    Journal(tmp_path / "later", "run").close()
    monkeypatch.undo()
    with pytest.raises(Damaged, match="record 0 at byte 0: format 2; this version of hocket reads format 1"):
        list(read(tmp_path / "later"))
    data, stops = path.read_bytes(), ends(path)
    path.write_bytes(data[stops[0] :])
    with pytest.raises(Damaged, match="record 0 at byte 0: Joined"):
        list(read(path))
    path.write_bytes(data + data[: stops[0]])
    with pytest.raises(Damaged, match=f"record {len(stops)} at byte {len(data)}: Header"):
        list(read(path))


def test_unknown_events_are_refused(tmp_path: Path) -> None:
    class Danced(on.Event, frozen=True, gc=False, array_like=True, tag=True):
        client: int

    file = Journal(tmp_path / "journal", "run")
    file.append(3, Danced(1))
    file.close()
    with pytest.raises(Damaged, match=r"record 1 at byte .*Danced"):
        list(read(tmp_path / "journal"))


def test_files_that_are_no_journal(path: Path) -> None:
    with pytest.raises(InvalidInput, match="exists"):
        Journal(path, "run")
    path.write_bytes(b"")
    with pytest.raises(Damaged, match="record 0 at byte 0 is torn"):
        list(read(path))
    path.write_text("once upon a time there was a journal")
    with pytest.raises(Damaged, match="record 0"):
        list(read(path))
    path.unlink()
    with pytest.raises(InvalidInput, match="does not exist"):
        list(read(path))
