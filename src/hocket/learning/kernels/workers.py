"""Threads over blocks of lanes, each with one thread inside torch: results do not depend on how many there are."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

import torch

A = TypeVar("A")
B = TypeVar("B")
NAME = "hocket-lanes"
"""How the names of its threads begin."""


class Workers:
    """A pool that starts when it is first used; torch computes in one thread per worker while it works.

    Torch's number of threads is a setting of the process for some of its libraries and of each thread for others, so it
    is 1 everywhere during :meth:`map` and what the caller had afterwards.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None

    def map(self, function: Callable[[A], B], items: Sequence[A]) -> list[B]:
        """Results in the order of the items; the first error is raised when all have ended."""
        with single_threaded():
            if self.threads == 1 or len(items) == 1:
                with torch.no_grad():
                    return [function(item) for item in items]
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.threads, NAME, _settle)
            futures = [self._pool.submit(function, item) for item in items]
            for future in futures:
                future.exception()
        return [future.result() for future in futures]


def _settle() -> None:
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)


@contextmanager
def single_threaded() -> Iterator[None]:
    """Torch computes in one thread meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Spare(Generic[A]):
    """Things that only one thread may use at a time, made when all are taken and kept for the next."""

    def __init__(self, make: Callable[[], A]) -> None:
        self._make = make
        self._free: list[A] = []

    @contextmanager
    def borrow(self) -> Iterator[A]:
        """One that nobody else has."""
        own: A | None = None
        with suppress(IndexError):  # asking first would race with other threads
            own = self._free.pop()
        if own is None:
            own = self._make()
        try:
            yield own
        finally:
            self._free.append(own)
