"""Vectors in memory and in a file: nothing is lost, what snapshots count on stays, and the file does not grow."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hocket.archive import PAGE, Archive
from hocket.errors import Damaged, StoreFailed
from hocket.snapshot import pack, unpack
from hocket.store.spill import Overlay, SpillFile


class Held:
    """A file in memory."""

    def __init__(self) -> None:
        self.data = bytearray()

    def read(self, at: int, size: int) -> bytes:
        return bytes(self.data[at : at + size])

    def write(self, at: int, data: bytes) -> None:
        self.data[len(self.data) :] = bytes(max(0, at + len(data) - len(self.data)))
        self.data[at : at + len(data)] = data

    def sync(self) -> None: ...


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0, 20_000, 10**6]))
def test_vectors_come_back_whatever_happens(seed, memory):
    """Against a dictionary: put, drop, keep and go back, save, go on from what was saved."""
    draw, archive, names = np.random.default_rng(seed), Archive(), {}
    archive.spill(file := Held(), memory)
    kept, saved = None, None
    for _ in range(80):
        move = draw.integers(8)
        if move < 4 or not names:
            x = draw.standard_normal(draw.integers(1, 3000)).astype(np.float32)
            names[archive.put(x)] = x
        elif move < 6:
            number = list(names)[draw.integers(len(names))]
            del names[number]
            archive.drop(number)
        elif draw.random() < 0.5:
            kept = pack(archive), dict(names)
            archive.guard("kept")
        else:
            saved = pack(archive), dict(names), kept
            archive.guard("saved")
        if draw.random() < 0.1 and kept is not None:
            before, archive, names = archive, unpack(kept[0], Archive), dict(kept[1])
            archive.follow(before)
        elif draw.random() < 0.05 and saved is not None:
            fresh, archive, names, kept = Archive(), unpack(saved[0], Archive), dict(saved[1]), saved[2]
            fresh.spill(file, memory)
            archive.follow(fresh)
            archive.guard("saved")
        for number, x in names.items():
            assert archive.get(number).tobytes() == x.tobytes()
        assert archive.size == sum(x.nbytes for x in archive.held.values()) <= memory
        begins = list(archive.slots)
        assert all(b + archive.slots[b] <= c for b, c in pairwise(begins))


def test_a_file_does_not_grow_when_vectors_are_replaced():
    archive = Archive()
    archive.spill(file := Held(), 0)
    numbers = [archive.put(np.full(2000, i, np.float32)) for i in range(10)]
    size = len(file.data)
    for turn in range(50):
        archive.drop(numbers[turn % 10])
        numbers[turn % 10] = archive.put(np.full(1500 + turn, turn, np.float32))
    assert len(file.data) <= size and size <= 10 * 2 * PAGE


def test_without_a_file_all_is_in_memory():
    archive = Archive()
    number = archive.put(np.arange(5, dtype=np.float32))
    again = unpack(pack(archive), Archive)
    assert again.get(number).tolist() == [0, 1, 2, 3, 4] and not again.places


def test_files_on_disk(tmp_path):
    for file in (SpillFile(), SpillFile(tmp_path / "below" / "a")):
        file.write(5000, b"abc")
        file.sync()
        assert file.read(4999, 4) == b"\0abc"
        with pytest.raises(Damaged, match=r"ends at 5003 of 5010 bytes"):
            file.read(5000, 10)
    with pytest.raises(StoreFailed, match="do not fit into memory"):
        SpillFile(tmp_path / "below" / "a" / "b").write(0, b"x")
    with pytest.raises(StoreFailed, match="bound their number with the merge's most"):
        SpillFile().write(1 << 62, b"x" * 10)


def test_one_process_at_a_time_where_it_is_asked_for(tmp_path):
    first, second = (SpillFile(tmp_path / "a", alone=True) for _ in range(2))
    first.write(0, b"mine")
    with pytest.raises(StoreFailed, match="another process works with it; end that one"):
        second.read(0, 4)
    del first
    assert second.read(0, 4) == b"mine"


def test_an_overlay_leaves_what_is_below(tmp_path):
    below = SpillFile(tmp_path / "a")
    below.write(0, b"one" + bytes(PAGE) + b"two")
    file = Overlay(SpillFile(tmp_path / "a", fixed=True))
    file.write(PAGE + 3, b"new")
    assert file.read(0, 3) == b"one" and file.read(PAGE + 3, 3) == b"new" and below.read(PAGE + 3, 3) == b"two"
    with pytest.raises(Damaged, match="bring it along"):
        SpillFile(tmp_path / "b", fixed=True).read(0, 1)
