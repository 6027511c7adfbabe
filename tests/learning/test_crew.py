"""Other processes train blocks: same results, whoever trains and whatever happens to them."""

import os
import signal
import time
from collections.abc import Sequence
from sys import platform

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hocket.errors import InvalidInput  # noqa: E402
from hocket.learning import Job, LocalSGD, Trained  # noqa: E402
from hocket.learning.kernels.block import Block  # noqa: E402
from hocket.learning.kernels.crew import Crew  # noqa: E402
from hocket.learning.kernels.mate import MOST_JOBS, Ticket  # noqa: E402
from hocket.learning.kernels.memory import Recycler  # noqa: E402
from hocket.schema import Vector  # noqa: E402

SIZE = 5
LOCAL = LocalSGD(lr=1.0, batch_size=1)
pytestmark = pytest.mark.skipif(platform != "linux", reason="processes are forked on Linux only")


def jobs(n: int) -> list[Job]:
    starts = [np.full(SIZE, v, np.float32) for v in range(3)]
    return [Job(i, i, starts[i % 3], LOCAL, seed=i, version=i % 3) for i in range(n)]


def blocks(*sizes: int) -> list[Block]:
    some = jobs(sum(sizes))
    ends = np.cumsum(sizes)
    return [Block("k", 8, some[e - n : e]) for n, e in zip(sizes, ends.tolist(), strict=True)]


def train(block: Block, outs: Sequence[Vector] | None) -> list[Trained]:
    """Client and start, and whose work it was; slow enough that mates take part."""
    time.sleep(0.002)
    mine, places = float(os.getpid()), outs if outs is not None else np.empty((len(block.jobs), SIZE), np.float32)
    for job, out in zip(block.jobs, places, strict=False):
        out[:] = job.start + job.client
    return [Trained(out, j.seed, {"loss": 1.0, "process": mine}) for j, out in zip(block.jobs, places, strict=False)]


def mapped(crew: Crew, given: Sequence[Block]) -> list[list[Trained]]:
    tickets = crew.begin(given)
    return [results(crew, ticket, len(block.jobs)) for ticket, block in zip(tickets, given, strict=True)]


def results(crew: Crew, ticket: Ticket, jobs: int) -> list[Trained]:
    return [crew.result(ticket, job) for job in range(jobs)]


def idle(crew: Crew) -> bool:
    """Whether a mate has nothing to do, once what is finished was collected."""
    crew._feed()
    return any(not mate.busy for mate in crew._mates)


def processes(done: Sequence[Sequence[Trained]]) -> set[float]:
    return {t.metrics["process"] for block in done for t in block}


def check(given: Sequence[Block], done: Sequence[Sequence[Trained]]) -> None:
    for block, results in zip(given, done, strict=True):
        for job, result in zip(block.jobs, results, strict=True):
            np.testing.assert_array_equal(result.delta, job.start + job.client)
            assert result.samples == job.seed


@pytest.mark.parametrize("mates", [0, 1, 3])
def test_results_in_order_whoever_trains(mates: int) -> None:
    crew = Crew(mates, SIZE, train, Recycler())
    for sizes in ((3,), (4, 1, 7, 2, 2, 5, 1), (), (1,) * 40, (MOST_JOBS + 1, 2, 3)):
        given = blocks(*sizes)
        check(given, mapped(crew, given))
    others = processes(mapped(crew, blocks(*(1,) * 40))) - {float(os.getpid())}
    assert min(1, mates) <= len(others) <= mates
    crew.close()


def test_results_outlive_the_memory_they_came_through() -> None:
    crew = Crew(1, SIZE, train, Recycler())
    given = blocks(2, 2, 2, 2)
    first = mapped(crew, given)
    for _ in range(5):
        mapped(crew, blocks(*(3,) * 8))
    check(given, first)
    crew.close()


def test_results_may_be_asked_for_late_in_any_order_or_never() -> None:
    crew = Crew(2, SIZE, train, Recycler())
    given = [blocks(*(2,) * 9), blocks(*(3,) * 5), blocks(1)]
    rounds = [crew.begin(some) for some in given]
    for i in (2, 0):
        pairs = list(zip(rounds[i], given[i], strict=True))
        found = {t: results(crew, t, len(block.jobs)) for t, block in pairs[::-1]}
        check(given[i], [found[t] for t in rounds[i]])
    crew.close()
    check(given[1], [results(crew, t, 3) for t in rounds[1]])  # what mates had is trained here


def test_mates_work_while_nobody_waits() -> None:
    crew = Crew(1, SIZE, train, Recycler())
    tickets = crew.begin(blocks(1, 1, 1))
    deadline = time.monotonic() + 30
    while not idle(crew) and time.monotonic() < deadline:
        time.sleep(0.001)
    assert processes([results(crew, t, 1) for t in tickets[::-1]]) != {float(os.getpid())}
    crew.close()


def test_a_mate_that_dies_loses_nothing() -> None:
    def deadly(block: Block, outs: Sequence[Vector] | None) -> list[Trained]:
        if os.getpid() != parent and block.jobs[0].client % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return train(block, outs)

    parent = os.getpid()
    crew = Crew(2, SIZE, deadly, Recycler())
    given = blocks(*(1,) * 20)
    for _ in range(3):
        check(given, mapped(crew, given))
    assert processes(mapped(crew, given)) == {float(parent)}


def test_an_error_of_a_mate_is_raised_here() -> None:
    def strict(block: Block, outs: Sequence[Vector] | None) -> list[Trained]:
        if block.jobs[0].client == 0:
            raise InvalidInput("client 0 is not allowed")
        return train(block, outs)

    crew = Crew(1, SIZE, strict, Recycler())
    for sizes in ((1, 1, 1, 1), (1,)):  # by a mate, and here
        with pytest.raises(InvalidInput, match="client 0 is not allowed"):
            mapped(crew, blocks(*sizes))
    while not idle(crew):  # others of those blocks are still under way
        time.sleep(0.001)
    given = blocks(1, *(2,) * 40)[1:]
    check(given, done := mapped(crew, given))
    assert processes(done) - {float(os.getpid())}


def test_a_last_block_is_divided_with_the_mates() -> None:
    crew = Crew(1, SIZE, train, Recycler())
    given = blocks(4, 9)
    first, last = crew.begin(given)
    found = results(crew, last, 9)  # while the mate is at the first, this process begins with the other one
    check(given[1:], [found])
    check(given[:1], [results(crew, first, 4)])
    assert last.rest is not None
    crew.close()


def test_a_block_is_divided_into_parts_that_are_worth_it() -> None:
    (block,) = blocks(9)
    ticket = Ticket(block._replace(least=3))
    assert ticket.divide() == [ticket.rest] and len(ticket.block.jobs) == 5
    assert ticket.divide() == []
    found = [part.block.jobs[place].lease for part, place in map(ticket.at, range(9))]
    assert found == [job.lease for job in block.jobs]


def test_mates_end_with_their_crew() -> None:
    crew = Crew(2, SIZE, train, Recycler())
    seen = {int(p) for p in processes(mapped(crew, blocks(*(1,) * 60)))} - {os.getpid()}
    assert seen
    del crew
    for pid in seen:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
