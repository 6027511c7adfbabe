"""GlueFL: sticky sampling and a shared mask, so that clients that come back soon have little to catch up on.

    w_{t+1} = w_t + sum_{i kept} nu_i Q_M(d_i),   Q_M keeps the coordinates in M and the largest others, q in all;
    M <- the q_s largest of what was applied; every tenth round M is left out and chosen anew

| symbol | argument | meaning |
|---|---|---|
| K, OC | ``cohort``, ``overcommit`` | updates that make a round, clients asked for each |
| S, C | ``group``, ``newcomers`` | the sticky group, and how many of a round come from outside |
| q, q_s | ``share``, ``shared`` | densities of an update and of the mask |
| nu_i | | K S/(N (K - C)) for members, K (N - S)/(N C) for newcomers, over K |

Updates of clients are top-q with error feedback: here they do not know the mask. Its positions would have to be sent to
them, since a combined update does not tell which coordinates the last one changed most: 2.0 % of the model at densities
0.2 and 0.16, to save 1.6 % of it in the positions of what they send.

He, Yan, et al., "GlueFL: reconciling client sampling and model masking for bandwidth efficient federated learning",
MLSys 2023 (arXiv 2212.01523).
"""

from hocket.codec import Glue, TopK
from hocket.downlink import Combined
from hocket.matching import Presample, Sticky
from hocket.merge import MeanByCount
from hocket.pacing import StickyRounds
from hocket.policies import Matching
from hocket.prefetch import Calendar, NoPrefetch
from hocket.strategy import Strategy, TaskPart
from hocket.uplink import ErrorFeedback


def gluefl(
    cohort: int = 30,
    newcomers: int = 6,
    group: int = 120,
    share: float = 0.2,
    shared: float = 0.16,
    overcommit: float = 1.3,
    prefetch_window: int = 0,
    slack: float = 0.0,
) -> Strategy:
    """Rounds of sparse updates by a sticky group.

    Args:
        prefetch_window: rounds that cohorts are drawn ahead, to fetch on FedFetch's schedule; 0: not at all.
        slack: of that schedule.

    >>> gluefl().matching.group, gluefl(prefetch_window=3).matching.sampler == gluefl().matching
    (120, True)
    """
    sticky = Sticky(group, cohort, newcomers)
    matching: Matching = sticky
    if prefetch_window:
        matching = Presample(sticky, prefetch_window)
    return Strategy(
        "gluefl",
        StickyRounds(cohort, newcomers, overcommit),
        matching,
        Calendar(overcommit, slack) if prefetch_window else NoPrefetch(),
        task=TaskPart(
            downlink=Combined(Glue(share), shared=shared),
            uplink=ErrorFeedback(TopK(share)),
            merge=MeanByCount(),
        ),
    )
