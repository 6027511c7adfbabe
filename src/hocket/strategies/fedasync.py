"""FedAsync: x <- (1 - a_t) x + a_t y, a_t = alpha s(tau), after every single update.

| symbol | argument | meaning |
|---|---|---|
| alpha | ``mixing`` | mixing rate |
| s(tau) | ``decay`` | staleness weight: constant, hinge or polynomial (:mod:`hocket.guard.staleness`) |
| rho | ``proximal`` | proximal term of the local work |
|  | ``in_flight`` | clients at work at once |

y is the model a client returns, tau the number of versions since it was handed out.
Xie, Koyejo, Gupta, "Asynchronous federated optimization", 2019 (arXiv 1903.03934).
"""

from hocket.guard import Polynomial, Staleness
from hocket.guard.staleness import Decay
from hocket.matching import Uniform
from hocket.merge import Mixing
from hocket.pacing import InFlight
from hocket.strategy import Local, Strategy, TaskPart


def fedasync(
    in_flight: int = 10,
    mixing: float = 0.6,
    decay: Decay | None = None,
    staleness_limit: int | None = None,
    proximal: float = 0.0,
    timeout: float | None = None,
) -> Strategy:
    """One model mixed in at a time; ``decay`` defaults to the polynomial with exponent 1/2.

    Args:
        mixing: alpha, the share of a fresh client's model in the new one.
        proximal: rho, the pull towards the start in the local work.

    >>> fedasync(in_flight=5).pacing.buffer
    1
    """
    return Strategy(
        name="fedasync",
        pacing=InFlight(in_flight, buffer=1, timeout=timeout),
        matching=Uniform("skip"),
        task=TaskPart(
            merge=Mixing(mixing),
            guard=Staleness(decay or Polynomial(), staleness_limit),
            local=Local(proximal=proximal) if proximal else None,
        ),
    )
