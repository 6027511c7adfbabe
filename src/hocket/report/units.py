"""Numbers as people read them. Bytes are decimal: 1 kB is 1000 bytes, as links and disks are sold."""

from math import floor, isfinite, log10


def human_bytes(n: float) -> str:
    """Say a number of bytes with three significant digits.

    >>> human_bytes(0), human_bytes(999), human_bytes(1000), human_bytes(1_234_567), human_bytes(25.4e9)
    ('0 B', '999 B', '1.00 kB', '1.23 MB', '25.4 GB')
    >>> human_bytes(999_999)
    '1.00 MB'
    """
    if not isfinite(n) or abs(n) < 1000:
        return f"{n:.0f} B"
    value = float(n)
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        value /= 1000
        if abs(value) < 999.5 or unit == "PB":
            break
    return f"{_three_digits(value)} {unit}"


def human_seconds(s: float) -> str:
    """Say a duration as h:mm:ss; below a minute in seconds, from two days on with days.

    >>> human_seconds(0), human_seconds(2.5), human_seconds(59.99), human_seconds(3723)
    ('0 s', '2.50 s', '0:01:00', '1:02:03')
    >>> human_seconds(47 * 3600), human_seconds(3 * 86400 + 61)
    ('47:00:00', '3 d 0:01:01')
    """
    if not isfinite(s) or s == 0:
        return f"{s:.0f} s"
    if s < 0:
        return "-" + human_seconds(-s)
    if s < 59.95:
        return f"{_three_digits(s)} s"
    minutes, seconds = divmod(round(s), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24) if hours >= 48 else (0, hours)
    return f"{f'{days} d ' if days else ''}{hours}:{minutes:02}:{seconds:02}"


def _three_digits(value: float) -> str:
    rounded = float(f"{value:.3g}")
    return f"{rounded:.{max(0, 2 - floor(log10(abs(rounded))))}f}"
