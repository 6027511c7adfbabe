"""Every error hocket raises on purpose, as one tree.

A message names the thing, the value it had, what is allowed and what to do about it. The command line
prints the message alone and leaves with the class's ``exit_code``.
"""


class HocketError(Exception):
    """Root of the tree: catch this to catch everything hocket raises on purpose."""

    exit_code = 1


class InvalidInput(HocketError, ValueError):
    """A value from outside (argument, file, strategy, update) that cannot be used as it is."""

    exit_code = 2


class MissingData(InvalidInput):
    """A file of a data set is not where it was looked for; the message says where to get it."""


class MissingExtra(HocketError, ImportError):
    """An optional dependency is needed and not installed; the message names the extra."""

    exit_code = 2


class Stalled(HocketError):
    """Nothing can happen any more although the run has not met its stop condition."""

    exit_code = 3


class Diverged(HocketError):
    """A client's result or the model stopped being finite."""

    exit_code = 2


class Damaged(HocketError):
    """A file hocket wrote is torn, truncated or of an unknown format."""

    exit_code = 5


class Differs(HocketError):
    """A replay came to another result than the run that wrote the journal."""

    exit_code = 6


class StoreFailed(HocketError):
    """A store could not make something durable (disk full, I/O error); it takes no more writes."""

    exit_code = 7


class Fenced(StoreFailed):
    """Another writer has opened the store; this one must stop."""

    exit_code = 8


class Violated(HocketError):
    """An invariant did not hold in a world with faults; the message says which, and how to see it again."""

    exit_code = 9
