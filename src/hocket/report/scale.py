"""Units that make the numbers of an axis short."""

_TIMES = (
    (2 * 86400.0, 86400.0, "days"), (7200.0, 3600.0, "hours"), (120.0, 60.0, "minutes"), (1.0, 1.0, "seconds"),
    (1e-3, 1e-3, "milliseconds"), (0.0, 1e-6, "microseconds"),
)  # fmt: skip
_BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def time_unit(longest: float) -> tuple[float, str]:
    """Seconds of the unit for times up to ``longest`` seconds, and its name.

    >>> time_unit(0.02), time_unit(90), time_unit(3600)
    ((0.001, 'milliseconds'), (1.0, 'seconds'), (60.0, 'minutes'))
    """
    if longest <= 0:
        return 1.0, "seconds"
    return next((size, name) for least, size, name in _TIMES if longest >= least)


def byte_unit(most: float) -> tuple[float, str]:
    """Bytes of the unit for sizes up to ``most``, and its name; 1 kB is 1000 bytes.

    >>> byte_unit(999), byte_unit(25e6)
    ((1.0, 'bytes'), (1000000.0, 'MB'))
    """
    return next(((size, name) for size, name in _BYTES if most >= size), (1.0, "bytes"))
