"""Normal numbers that nobody can foretell who does not have the key, and everybody can repeat who has.

The key and the number of a block go through SHAKE-256 (FIPS 202); 53 bits each are two uniform numbers u, v in (0, 1),
and sqrt(-2 log u) (cos, sin)(2 pi v) two normal ones (Box and Muller). They are floating-point numbers: attacks on
their last bits (Mironov, "On significance of the least significant bits for differential privacy", CCS 2012) are not
defended against beyond the rounding of the model to float32.
"""

from hashlib import shake_256
from math import pi

import numpy as np
from numpy.typing import NDArray

from hocket.chunks import chunks
from hocket.snapshot import pack


def add_normal(x: NDArray[np.float64], scale: float, key: bytes) -> None:
    """Add normal numbers of a standard deviation to ``x`` in place; the same for the same key.

    >>> x = np.zeros(20_000)
    >>> add_normal(x, 2.0, b"key")
    >>> abs(float(x.mean())) < 0.05, round(float(x.std()), 1)
    (True, 2.0)
    """
    for block, part in enumerate(chunks(len(x))):
        n = part.stop - part.start
        half = (n + 1) // 2
        words = np.frombuffer(shake_256(pack((key, block))).digest(16 * half), "<u8")
        u = ((words >> 11).astype(np.float64) + 0.5) * 2.0**-53
        radius, angle = np.sqrt(-2.0 * np.log(u[:half])), 2.0 * pi * u[half:]
        x[part] += scale * np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:n]
