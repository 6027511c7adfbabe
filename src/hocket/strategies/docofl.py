"""DoCoFL: clients fetch an anchor before their round and a small correction in it.

    x_{v+1} = x_v + mean of Q_u(d_i) over the K fastest,   d_i from  h_v = A_a + Q_c(x_v - A_a),   A_a = Q_a(x_a)

| symbol | argument | meaning |
|---|---|---|
| K, OC | ``cohort``, ``overcommit`` | updates that make a round, clients asked for each |
| Q_a, Q_c, Q_u | ``anchor``, ``down``, ``up`` | codecs of anchors, corrections and updates |
| E | ``every`` | rounds from one anchor to the next |
|  | ``keep`` | anchors in use at once; the oldest is used |
| R | ``prefetch_window`` | rounds before its own that a client fetches its anchor; 0: in its round, like all the rest |

``scheduled`` is DoCoFL under FedFetch: each client begins when its bandwidth asks for it, from the freshest anchor, and
follows the corrections until its round (:mod:`hocket.downlink.anchors`). Of FedFetch's methods this is the one whose
models depend on the prefetching, since what clients train from does.

Dorfman, Vargaftik, Ben-Itzhak, Levy, "DoCoFL: downlink compression for cross-device federated learning", ICML 2023
(arXiv 2302.00543); with two bits everywhere as in Yan et al., FedFetch, INFOCOM 2025 (arXiv 2504.15366).
"""

from hocket.codec import ECUQ, EDEN, Coded
from hocket.downlink import Anchors
from hocket.matching import Presample, Uniform
from hocket.pacing import Rounds
from hocket.policies import Matching, Prefetch
from hocket.prefetch import Calendar, NoPrefetch, Once
from hocket.strategy import Strategy, TaskPart
from hocket.uplink import Plain

TWO_BITS, TWO_BITS_OF_ENTROPY = EDEN(2), ECUQ(2.0)


def docofl(
    cohort: int = 30,
    overcommit: float = 1.3,
    prefetch_window: int = 3,
    anchor: Coded = TWO_BITS_OF_ENTROPY,
    down: Coded = TWO_BITS,
    up: Coded = TWO_BITS,
    every: int = 10,
    keep: int = 3,
    slack: float = 0.0,
    *,
    scheduled: bool = False,
) -> Strategy:
    """Rounds that start from an anchor and a correction.

    Args:
        scheduled: fetch on FedFetch's schedule, from the freshest anchor; ``keep`` then means nothing.
        slack: of that schedule.

    >>> docofl().prefetch, docofl(scheduled=True).task.downlink.follow
    (Once(), True)
    """
    matching: Matching = Uniform("skip")
    prefetch: Prefetch = NoPrefetch()
    if prefetch_window:
        matching = Presample(Uniform("skip"), prefetch_window)
        prefetch = Calendar(overcommit, slack) if scheduled else Once()
    downlink = Anchors(anchor, down, every, keep, prefetch_window, scheduled)
    return Strategy(
        "docofl", Rounds(cohort, overcommit), matching, prefetch, task=TaskPart(downlink=downlink, uplink=Plain(up))
    )
