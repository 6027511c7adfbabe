"""One thread that writes what nobody has to wait for, in the order in which it was given.

A journal must be synced before an answer leaves. A checkpoint, a segment of the event log and the move of the
write-ahead log into the database need not be: they only spare a later recovery some work. What a job relies on was
given before it, so after one that failed none is done any more.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def at_once(job: Callable[[], T]) -> Future[T]:
    """Do a job here and now, as an :class:`Aside` would give it back."""
    done: Future[T] = Future()
    done.set_result(job())
    return done


class Aside:
    """Does jobs until one fails; after it is closed, at once.

    >>> aside, done = Aside(), []
    >>> [aside.give(lambda i=i: done.append(i)).result() for i in range(3)], done
    ([None, None, None], [0, 1, 2])
    >>> aside.close()
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "aside")
        self._failure: BaseException | None = None
        self._closed = False

    def give(self, job: Callable[[], T]) -> Future[T]:
        """Have a job done after those before it; one thread at a time gives them.

        Raises:
            Exception: what an earlier job raised.
        """
        self.check()
        return at_once(job) if self._closed else self._pool.submit(self._do, job)

    def check(self) -> None:
        """Raise what a job raised."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Wait until all is done that was given."""
        self._closed = True
        self._pool.shutdown()

    def _do(self, job: Callable[[], T]) -> T:
        self.check()
        try:
            return job()
        except BaseException as e:
            self._failure = e
            raise
