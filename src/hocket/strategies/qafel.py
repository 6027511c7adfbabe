"""QAFeL: buffered asynchronous steps, quantized both ways around a hidden state that everybody shares.

    x_{t+1} = x_t + (lr / K) sum_{i in buffer} s(tau_i) Q_c(d_i)                    whenever K updates are in
    m_t = Q_s(x_{t+1} - h_t),   h_{t+1} = h_t + m_t,   h_0 = x_0                    m_t is all that is published

| symbol | argument | meaning |
|---|---|---|
| Q_c | ``up`` | codec of the updates; unbiased, since nothing corrects what it does to them |
| Q_s | ``down`` | codec of the differences; a contraction, biased or not: the hidden state feeds its error back |
| K | ``buffer`` | updates per step |
| M_c | ``in_flight`` | clients at work at once |
| s(tau) | ``decay`` | 1, as in the paper's tables |
| eta_g | ``lr`` | server learning rate |

Clients train from h and never see x. ``refill_first`` restarts a client before the step that its update triggers, as
the released code does. With codecs that lose nothing this is FedBuff; ``direct`` publishes Q_s(x_t) instead, one draw
per version and no memory: the control that the hidden state is measured against.

Ortega, Jafarkhani, "Quantized and asynchronous federated learning", IEEE Transactions on Communications 73(4), 2025
(arXiv 2410.00242).
"""

from msgspec.structs import replace

from hocket.codec import QSGD, Coded
from hocket.downlink import Direct, HiddenState
from hocket.errors import InvalidInput
from hocket.guard import Constant
from hocket.guard.staleness import Decay
from hocket.strategies.fedbuff import fedbuff
from hocket.strategy import Strategy
from hocket.uplink import ErrorFeedback, Plain
from hocket.wire import tag


def qafel(
    buffer: int = 10,
    in_flight: int = 20,
    up: Coded | None = None,
    down: Coded | None = None,
    lr: float | None = None,
    decay: Decay | None = None,
    staleness_limit: int | None = None,
    refill_first: bool = False,
    timeout: float | None = None,
    *,
    bits: int = 4,
    direct: bool = False,
    error_feedback: bool = False,
    biased: bool = False,
    monitor: bool = False,
) -> Strategy:
    """Quantized buffered steps.

    Args:
        bits: per number, of QSGD where ``up`` or ``down`` are left out.
        error_feedback: clients add what ``up`` left out to their next update.
        biased: take a biased ``up`` without error feedback, to see it stall.
        monitor: take a ``down`` that is not known to be a contraction, and stop once it shows that it is none.

    Raises:
        InvalidInput: ``up`` is biased and nothing corrects it.

    >>> qafel(bits=3).task.downlink.codec.width
    3
    """
    up, down = up or QSGD(bits=bits), down or QSGD(bits=bits)
    if not (up.unbiased or error_feedback or biased):
        raise InvalidInput(
            f"qafel: up = {tag(up)} is biased and nothing corrects a biased update; set error_feedback, or biased to "
            "see what happens"
        )
    base = fedbuff(buffer, in_flight, lr, decay or Constant(), "count", staleness_limit, refill_first, timeout)
    task = replace(
        base.task,
        uplink=ErrorFeedback(up) if error_feedback else Plain(up),
        downlink=Direct(down) if direct else HiddenState(down, monitor),
    )
    return replace(base, name="direct" if direct else "qafel", task=task)
