"""STC: top-k both ways, with error feedback at the clients, in synchronous rounds.

    w_{t+1} = w_t + top_q(mean of top_q(d_i + e_i)),   e_i <- d_i + e_i - top_q(d_i + e_i)

Values travel in full precision, as FedFetch's authors run it; ``ternary`` sends signs at their mean magnitude, as in
the paper, and then missed updates travel one by one.

Sattler, Wiedemann, Müller, Samek, "Robust and communication-efficient federated learning from non-iid data", IEEE TNNLS
31(9), 2020 (arXiv 1903.02891).
"""

from msgspec.structs import replace

from hocket.codec import TopK
from hocket.codec import stc as signs
from hocket.strategies.fedfetch import fedfetch
from hocket.strategy import Strategy


def stc(
    share: float = 0.2,
    ternary: bool = False,
    cohort: int = 30,
    overcommit: float = 1.3,
    prefetch_window: int = 0,
    slack: float = 0.0,
) -> Strategy:
    """Rounds of sparse updates.

    Args:
        share: q, of the coordinates that an update keeps.
        ternary: signs only.
        prefetch_window: rounds that cohorts are drawn ahead, to fetch on FedFetch's schedule; 0: not at all.
        slack: of that schedule.

    >>> stc().task.downlink.codec.share
    0.2
    """
    return replace(
        fedfetch(cohort, overcommit, prefetch_window, signs(share) if ternary else TopK(share), slack=slack), name="stc"
    )
