"""FedFetch: cohorts are drawn R rounds early and fetch ahead, each client from when its bandwidth asks for it.

    S_{t+R} drawn at t, OC K of them;   P_i = last round with T_i(P_i) <= T_limit;   i fetches w_{P_i}, and what follows
    m_t = C_down(mean of C_up(d_i) over the K fastest),   w_{t+1} = w_t + m_t         on the server and on every client

| symbol | argument | meaning |
|---|---|---|
| K | ``cohort`` | updates that make a round |
| OC | ``overcommit`` | clients drawn per update wanted |
| R | ``prefetch_window`` | rounds between draw and training; 0: the method without prefetch |
| beta | ``slack`` | of the time limit; more of it saves bytes and costs time |
| C_up, C_down | ``up``, ``down`` | codecs; clients feed back what ``up`` leaves out (``error_feedback``) |

The baselines that the paper speeds up are the same with their codec: :func:`stc`, :func:`gluefl`, :func:`qsgd`,
:func:`lfl`, :func:`eden`, :func:`powersgd`.

Yan et al., "FedFetch: faster federated learning with adaptive downstream prefetching", INFOCOM 2025 (arXiv 2504.15366).
"""

from typing import Literal

from hocket.codec import Coded, TopK
from hocket.downlink import Combined
from hocket.matching import Presample, Uniform
from hocket.pacing import Rounds
from hocket.policies import Matching, Prefetch, Uplink
from hocket.prefetch import Calendar, NoPrefetch
from hocket.strategy import Strategy, TaskPart
from hocket.uplink import ErrorFeedback, Plain

TOP_FIFTH = TopK(0.2)


def fedfetch(
    cohort: int = 30,
    overcommit: float = 1.3,
    prefetch_window: int = 3,
    down: Coded = TOP_FIFTH,
    up: Coded | None = None,
    slack: float = 0.0,
    *,
    reach: float | None = None,
    by: Literal["download", "finish"] = "download",
    tail: Literal["first", "useful"] = "first",
    naive: bool = False,
    rates: Literal["measured", "known"] = "measured",
    warm_up: int = 5,
    weight: float = 0.125,
    replace: bool = True,
    error_feedback: bool = True,
    log: int = 49,
    overlap: float | None = 1.6,
    deadline: float | None = None,
    code_compat: bool = False,
) -> Strategy:
    """Synchronous rounds of compressed updates with scheduled prefetch.

    Args:
        up: the codec of ``down`` if left out.
        by, reach, tail: on what the time limit is, how far beyond it fetching ahead is given up, and when those in
            between begin; see :class:`hocket.prefetch.Calendar`. The paper's are "download", None and "first".
        naive: everybody starts when drawn; nothing is scheduled.
        rates: bandwidths as "measured" from transfers, or "known".
        warm_up, weight, code_compat: see :class:`hocket.prefetch.Calendar`.
        replace: draw another client for one that leaves before its round.
        log, overlap: see :class:`hocket.downlink.Combined`.
        error_feedback: clients add what the codec left out to their next update.
        deadline: seconds after which a round ends with what it has.

    >>> fedfetch().prefetch.overcommit, fedfetch(prefetch_window=0).prefetch
    (1.3, NoPrefetch())
    """
    matching: Matching = Uniform("skip")
    if prefetch_window:
        matching = Presample(Uniform("skip"), prefetch_window, replace)
    fetch = _calendar(prefetch_window, overcommit, slack, weight, warm_up, reach, by, tail, naive, rates, code_compat)
    pacing = Rounds(cohort, overcommit, deadline)
    return Strategy("fedfetch", pacing, matching, fetch, task=_task(down, up, error_feedback, log, overlap))


def _calendar(
    window: int,
    overcommit: float,
    slack: float = 0.0,
    weight: float = 0.125,
    warm_up: int = 5,
    reach: float | None = None,
    by: Literal["download", "finish"] = "download",
    tail: Literal["first", "useful"] = "first",
    naive: bool = False,
    rates: Literal["measured", "known"] = "measured",
    code_compat: bool = False,
) -> Prefetch:
    if not window:
        return NoPrefetch()
    ahead = window if naive else None
    return Calendar(overcommit, slack, weight, warm_up, reach, by, tail, ahead, rates, code_compat, max(64, window))


def _task(down: Coded, up: Coded | None, error_feedback: bool, log: int = 49, overlap: float | None = 1.6) -> TaskPart:
    up = down if up is None else up
    uplink: Uplink = Plain(up)
    if error_feedback:
        uplink = ErrorFeedback(up)
    return TaskPart(downlink=Combined(down, log, overlap), uplink=uplink)
