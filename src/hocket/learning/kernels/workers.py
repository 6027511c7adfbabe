"""Threads over blocks of lanes, each with one thread inside torch: results do not depend on how many there are."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import Generic, TypeVar

import torch

A = TypeVar("A")
B = TypeVar("B")


class Workers:
    """A pool that starts when it is first used and leaves the caller's number of torch threads alone."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None

    def map(self, function: Callable[[A], B], items: Iterable[A]) -> list[B]:
        """Results in the order of the items; the first error is raised when all have ended."""
        if self._pool is None:
            self._pool = self._start()
        futures = [self._pool.submit(function, item) for item in items]
        for future in futures:
            future.exception()
        return [future.result() for future in futures]

    def _start(self) -> ThreadPoolExecutor:
        before, ready = torch.get_num_threads(), Barrier(self.threads)

        def single() -> None:
            torch.set_num_threads(1)
            torch.set_grad_enabled(False)
            ready.wait()

        pool = ThreadPoolExecutor(self.threads, "hocket-lanes")
        for future in [pool.submit(single) for _ in range(self.threads)]:
            future.result()
        torch.set_num_threads(before)
        return pool


class Spare(Generic[A]):
    """Things that only one thread may use at a time, made when all are taken and kept for the next."""

    def __init__(self, make: Callable[[], A]) -> None:
        self._make = make
        self._free: list[A] = []

    @contextmanager
    def borrow(self) -> Iterator[A]:
        """One that nobody else has."""
        try:
            own = self._free.pop()
        except IndexError:
            own = self._make()
        yield own
        self._free.append(own)
