"""How long a client will wait for its download if it begins to fetch early, and when it had better begin.

Round 0 is now, round R the one that the client trains in. It fetches the model as it is at the start of round r (its
*base*), and whenever a fetch ends, what has been published since. With D the length of a round, B the client's rate,
s(k) the bytes that bring a client k versions forward, u what is left of the fetch under way, l the version it ends in:

    u = base(r), l = r;   in each round j = r .. R-1:
        D - u/B > 0 :  u <- max(0, s(j - l) - (D - u/B) B),  l <- j       it ends, the next one begins
        otherwise   :  u <- u - D B                                       it goes on
    T(r) = (u + s(R - l)) / B                                             what is left to wait for in round R

Starts are as late as they can be without making the round wait (Algorithm 1): T_limit is the (1 + beta (OC - 1))/OC
quantile of T(0) over the cohort, the time by which as many clients as are needed could be done; who meets it starts at
the last r such that T(r') <= T_limit for every r' <= r. The others are expected to be cut off.

| symbol | here |
|---|---|
| R | ``window`` |
| OC, beta | ``overcommit``, ``slack`` |

Yan et al., "FedFetch: faster federated learning with adaptive downstream prefetching", INFOCOM 2025 (arXiv 2504.15366).
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def fetch_times(base: Floats, sizes: Floats, rate: Floats, length: float, shortest: bool = False) -> Floats:
    """T(r), float64[clients, R + 1] seconds, for every start r = 0 .. R.

    Args:
        base: float64[clients, R + 1], bytes to fetch first when starting in round r.
        sizes: float64[R + 1], s(0) = 0 .. s(R) in bytes.
        rate: float64[clients], bytes per second.
        length: seconds of a round.
        shortest: a fetch that is under way in round R is given up where fetching anew is shorter, as devices do; the
            paper's rule finishes it, which may take longer than not to begin.

    >>> sizes = np.array([0.0, 20.0, 36.0, 48.8])
    >>> fetch_times(np.full((1, 4), 100.0), sizes, np.array([10.0]), 5.0).tolist()
    [[2.0, 3.6, 7.0, 10.0]]
    """
    clients, starts = base.shape
    window = starts - 1
    out = np.empty((clients, starts))
    for r in range(starts):
        left, at, anew = base[:, r].copy(), np.full(clients, r), base[:, window]
        for j in range(r, window):
            spare = length - left / rate
            ends = spare > 0
            with np.errstate(invalid="ignore"):
                left = np.where(ends, np.maximum(0.0, sizes[j - at] - spare * rate), left - length * rate)
            anew = np.where(ends, sizes[window - at], anew)
            at = np.where(ends, j, at)
        left = left + sizes[window - at]
        out[:, r] = (np.minimum(left, anew) if shortest else left) / rate
    return out


def limit(times: Floats, overcommit: float, slack: float = 0.0) -> float:
    """T_limit in seconds from T(0), float64[clients].

    >>> limit(np.array([1.0, 2.0, 3.0]), overcommit=2.0)
    2.0
    """
    return float(np.quantile(times, min(1.0, (1 + slack * (overcommit - 1)) / overcommit)))


def starts(times: Floats, most: float, strict: bool = False) -> NDArray[np.int64]:
    """The round to start in, int64[clients], for T(r) and T_limit; -1 for who does not meet it.

    ``strict``: who is exactly at the limit does not meet it, as in the released code.
    """
    meets = times <= most
    if strict:
        meets[:, 0] = times[:, 0] < most
    at: NDArray[np.int64] = np.logical_and.accumulate(meets, axis=1).sum(axis=1) - 1
    return at


def useful(times: Floats, within: float = 0.05) -> NDArray[np.int64]:
    """The last start whose T(r) is the least there is, or more by a share of it, int64[clients].

    >>> useful(np.array([[59.4, 58.0, 55.0, 50.0], [14.76, 17.2, 19.0, 20.0], [2.0, 2.01, 3.0, 4.0]])).tolist()
    [3, 0, 1]
    """
    good = times <= (1 + within) * times.min(axis=1, keepdims=True)
    last: NDArray[np.int64] = times.shape[1] - 1 - np.argmax(good[:, ::-1], axis=1)
    return last


def moving(mean: float, new: float, weight: float) -> float:
    """Exponentially weighted mean; ``mean`` below 0: there is none yet.

    >>> moving(20.0, 30.0, 0.125)
    21.25
    """
    return new if mean < 0 else weight * new + (1 - weight) * mean


def spans(mean: Floats, full: float) -> Floats:
    """Bytes of an update over k versions, float64[K + 1], from those seen (``mean``; -1: not seen, k = 0 is free).

    Between two that were seen it is on the line between them, beyond the last one it grows by the rate of the last,
    and it is never more than the whole model.

    >>> spans(np.array([0.0, 10.0, -1.0, 20.0, -1.0, -1.0]), 30.0).tolist()
    [0.0, 10.0, 15.0, 20.0, 26.666666666666668, 30.0]
    """
    seen = np.flatnonzero(mean >= 0)
    k = np.arange(len(mean))
    last = int(seen[-1])
    slope = mean[last] / last if last else full
    known = np.interp(k, seen, mean[seen])
    return np.minimum(np.where(k > last, mean[last] + slope * (k - last), known), full)
