"""Ten classes of links from fast to slow, thirteen-fold apart, as PR-FL was simulated on.

Nominal rates in units of 10^6 bytes per second, down and up; per transfer, the rate is the nominal one times the mean
of 20 log-normal draws of sigma 0.3, which is close to log-normal itself: mean exp(0.3^2/2), relative spread 0.069.

Ma, "Federated learning based on pruning and recovery", 2024 (arXiv 2403.15439), the simulator of the released code.
"""

from math import exp, expm1, log1p, sqrt

import numpy as np

from hocket.errors import InvalidInput
from hocket.fleet.fleet import Fleet
from hocket.fleet.law import Deterministic, Law, LogNormal

DOWN = (20.0, 18.0, 12.0, 10.0, 6.0, 4.0, 2.5, 2.0, 2.0, 1.5)
UP = (5.0, 4.0, 3.0, 2.5, 1.5, 1.0, 0.6, 0.5, 0.5, 0.4)
SIGMA, DRAWS = 0.3, 20


def ten_links(
    clients: int = 10,
    *,
    compute: float = 0.005,
    server: float | None = 10e6,
    scale: float = 1.0,
    jitter: bool = True,
) -> Fleet:
    """Client i has the link of class 10 i / clients.

    Args:
        clients: their number.
        compute: seconds per sample, for all alike.
        server: bytes per second that the server sends to one client at most; None: no limit.
        scale: all rates are multiplied by it, so that a small model stands for a large one.
        jitter: whether rates vary.

    Raises:
        InvalidInput: clients or scale not above 0.

    >>> (ten_links(20, server=None).down[[0, 1, 19]] / 1e6).round(3).tolist()
    [20.921, 20.921, 1.569]
    """
    if clients < 1 or not scale > 0:
        raise InvalidInput(f"ten links: clients = {clients}, scale = {scale}; both are above 0")
    kind = np.arange(clients) * 10 // clients
    gain = exp(SIGMA**2 / 2) if jitter else 1.0
    down = np.array(DOWN)[kind] * 1e6 * gain
    if server is not None:
        down = np.minimum(down, server)
    law: Law = LogNormal(sqrt(log1p(expm1(SIGMA**2) / DRAWS))) if jitter else Deterministic()
    return Fleet(
        compute=np.full(clients, compute),
        down=down * scale,
        up=np.array(UP)[kind] * 1e6 * gain * scale,
        down_law=law,
        up_law=law,
        kind=kind.astype(np.int8),
        kinds=tuple(f"link {i}" for i in range(10)),
    )
