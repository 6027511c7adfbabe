"""The settings of the papers and of the derived reference values."""

from math import sqrt

import numpy as np

from hocket.queueing import Learning, Network

A, A_ROUTING = Network(compute=[1.0, 0.5, 0.25]), np.array([0.2, 0.3, 0.5])
B = Network(compute=[2.0, 1.0, 1.0, 1 / 3, 1 / 8])
C = Network(compute=[1.0], clients=[4])
G, G_ROUTING = Network(compute=[1.0, 0.25], clients=[3, 3]), np.array([0.1, 0.7 / 3])

COUNTS = [15, 15, 20, 40, 10]
"""Clients of types A to E, 2603.26231 Table 1."""


def table_1(together: bool = True) -> Network:
    """The 100 clients of Table 1, in five classes or one by one."""
    rates = ([10, 0.3, 5, 0.15, 12], [2.5, 10, 7, 0.12, 11], [2, 9, 6, 0.1, 10])
    times = [1.0 / np.repeat(rate, 1 if together else COUNTS) for rate in rates]
    return Network(*times, clients=COUNTS if together else 1)


TABLE_1_WATTS = {
    "compute": [80, 5.4, 31.3, 48.6, 2592],
    "upload": [5, 15, 4, 0.5, 50],
    "download": [3, 10, 3, 0.2, 40],
}
TABLE_6 = Network(
    compute=1.0 / np.array([10, 2.5, 5, 0.5, 15]),
    download=1.0 / np.array([2.5, 9, 6, 1.1, 11]),
    upload=1.0 / np.array([2, 8, 5, 0.8, 10]),
    clients=[15, 35, 30, 15, 5],
)


def ratio(r: float) -> Learning:
    """Constants with (4 + B/eps)/sqrt(C/eps) = r, scaled as the figures of 2603.26231 read."""
    sampling = r * sqrt(6.0) - 4.0
    return Learning(
        smoothness=19.92 / sqrt(6.0), noise=1.0, dissimilarity=sqrt((sampling / 6.0 - 1.0) / 2.0), gradient=0.0
    )
