import io
from collections.abc import Callable

import pytest

from hocket.progress import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def drive(p: Progress, clock: Clock, seconds: float, step: float, each: Callable[[float], None]) -> None:
    """Call ``each`` with the wall seconds spent, every ``step`` seconds, from 0 to ``seconds``."""
    for i in range(round(seconds / step) + 1):
        clock.now = 100.0 + i * step
        each(i * step)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_short_run_prints_nothing(clock: Clock, stream: io.StringIO, terminal: bool) -> None:
    with Progress({"a": "A"}, stream=stream, terminal=terminal, clock=clock) as p:
        drive(p, clock, 1.9, 0.1, lambda s: p.update("a", now_s=s, updates=int(s)))
    assert stream.getvalue() == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_to_show_is_fine(clock: Clock, stream: io.StringIO, terminal: bool) -> None:
    with Progress({}, stream=stream, terminal=terminal, clock=clock):
        clock.now += 60
    assert stream.getvalue() == ""


def test_plain_lines_every_ten_seconds_and_one_at_the_end(clock: Clock, stream: io.StringIO) -> None:
    def each(s: float) -> None:
        p.update("a", now_s=60 * s, updates=int(100 * s), accuracy=s / 100, target=0.9, fraction=s / 50)

    with Progress({"a": "FedBuff"}, stream=stream, clock=clock) as p:
        drive(p, clock, 25, 0.5, each)
    assert stream.getvalue().splitlines() == [
        "FedBuff: 0:10:00 virtual, 1,000 updates, accuracy 0.100 of 0.9, 100 updates/s, 40.0 s left",
        "FedBuff: 0:20:00 virtual, 2,000 updates, accuracy 0.200 of 0.9, 100 updates/s, 30.0 s left",
        "FedBuff: 0:25:00 virtual, 2,500 updates, accuracy 0.250 of 0.9, 100 updates/s, 25.0 s left",
    ]


def test_a_plain_line_leaves_out_what_is_not_known(clock: Clock, stream: io.StringIO) -> None:
    with Progress({}, stream=stream, clock=clock) as p:
        drive(p, clock, 3, 1, lambda s: p.update("size only", now_s=s, updates=int(5 * s)))
    assert stream.getvalue() == "size only: 3.00 s virtual, 15 updates, 5 updates/s\n"


def test_a_resumed_run_counts_rate_and_time_left_from_where_it_began(clock: Clock, stream: io.StringIO) -> None:
    with Progress({}, stream=stream, clock=clock) as p:
        drive(p, clock, 10, 1, lambda s: p.update("a", now_s=0, updates=1000 + int(s), fraction=0.5 + s / 100))
    assert stream.getvalue().splitlines()[-1] == "a: 0 s virtual, 1,010 updates, 1 updates/s, 40.0 s left"


def test_a_finished_run_keeps_its_rate_while_the_next_goes_on(clock: Clock, stream: io.StringIO) -> None:
    def each(s: float) -> None:
        p.update("a" if s <= 4 else "b", now_s=s, updates=int(s))

    with Progress({"a": "A", "b": "B"}, stream=stream, clock=clock) as p:
        drive(p, clock, 9, 1, each)
    assert stream.getvalue().splitlines() == [
        "A: 4.00 s virtual, 4 updates, 1 updates/s",
        "B: 9.00 s virtual, 9 updates, 1 updates/s",
    ]


def test_the_table_is_redrawn_at_most_four_times_a_second(clock: Clock, stream: io.StringIO) -> None:
    sizes = []

    def each(s: float) -> None:
        p.update("a", now_s=3600 * s, updates=int(1000 * s), accuracy=0.5, target=0.9, fraction=s / 10)
        sizes.append(len(stream.getvalue()))

    with Progress({"a": "Fed[b]Buff"}, stream=stream, terminal=True, clock=clock) as p:
        drive(p, clock, 4, 0.01, each)
        assert sizes[199] == 0
        assert 7 <= len(set(sizes[200:])) <= 9
    text = stream.getvalue()
    assert "Fed[b]Buff" in text and "0.500 of 0.9" in text and "1,000" in text
    assert text.rstrip("\x1b[?25h\n").splitlines()[-1].endswith("6.00 s")


def test_an_error_in_the_run_goes_through_and_the_cursor_comes_back(clock: Clock, stream: io.StringIO) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        Progress({}, stream=stream, terminal=True, clock=clock) as p,
    ):
        p.update("a", now_s=0, updates=0)
        clock.now += 3
        p.update("a", now_s=0, updates=1)
        raise KeyboardInterrupt
    assert "\x1b[?25h" in stream.getvalue()
