"""PR-FL: every client trains a pruned sub-model of the size that its time allows, and gets the rest back later.

    rho_i     density of client i: its sub-model keeps the top rho_i of one global ranking by squared gradients
    stage 1   rho_i <- rho_i - gain (t_i - t) / slope_i until all round times are alike (hocket.submodel.density)
    stage 2   rho_i <- min(rho_i + step, 1) when client i stops getting better (hocket.submodel.pruning)
    W <- (1 - lr) W + lr sum_i p_i m_i W_i / sum_i p_i m_i          whenever a window closes; i over all clients

| symbol | argument | meaning |
|---|---|---|
| rho_i at the start | ``start`` | densities by part of the fleet |
| rho_min | ``least`` | no density is below |
| base share | ``base`` | share of every layer that everybody keeps |
| I | ``interval`` | rounds of the fastest client between rankings |
| Delta rho, patience | ``step``, ``patience`` | how densities are raised; ``recovery=False`` never does |
| s(t) | ``decay`` | staleness weight of a model, asked again at every step (of an update: 1) |
| eta_g | ``lr`` | server rate |
| asyn_interval | ``window`` | seconds that a step waits for others after the first arrival; 0: nobody waits |
| Q, B | ``buffer`` | whether the latest model of every client is averaged, or what has arrived alone |
| | ``of`` | average models (published), or add updates |

``cohort`` makes it synchronous: every step waits for so many clients. ``average`` "plain" counts what a client was not
sent as 0. Sub-models are published in bands, each once. No proof of convergence exists for this method, and what
squared gradients and the choice of coordinates reveal of a client's data is not accounted for: it does not combine
with secure aggregation (masks differ) nor with a privacy guarantee as it is.

Ma, "Federated learning based on pruning and recovery", 2024 (arXiv 2403.15439).
"""

from typing import Literal

from hocket.codec import Coded, Float32
from hocket.downlink import Bands, HiddenBands
from hocket.errors import InvalidInput
from hocket.guard import Constant, Polynomial, Staleness
from hocket.guard.staleness import Decay
from hocket.matching import Uniform
from hocket.merge import MaskedDeltas, MaskedModels
from hocket.optimizer import SGD
from hocket.pacing import Rounds, Windows
from hocket.strategy import Strategy, TaskPart
from hocket.submodel import Controller, Pruning, Recovery
from hocket.submodel.pruning import START
from hocket.uplink import Banded


def prfl(
    window: float = 1.0,
    start: tuple[float, ...] = START,
    least: float = 0.1,
    base: float = 0.05,
    interval: int = 50,
    patience: int = 10,
    step: float = 0.2,
    decay: Decay | None = None,
    lr: float | None = None,
    up: Coded | None = None,
    down: Coded | None = None,
    timeout: float | None = None,
    *,
    recovery: bool = True,
    rollback: bool = True,
    rebalance: bool = False,
    buffer: bool = True,
    average: Literal["covered", "common", "plain"] = "covered",
    importance: Literal["gradient", "weight"] = "gradient",
    every: int = 5,
    cohort: int | None = None,
    of: Literal["models", "updates"] = "models",
) -> Strategy:
    """Sub-models by time, all clients at work, a step a ``window`` after the first arrival.

    Args:
        window: seconds; 0 is a step, and a version published, per arrival.
        up: codec of the updates, one scale per band.
        down: publish differences of a hidden state per band through this codec (QAFeL's, ``downlink.HiddenBands``)
            instead of values in full precision.
        rollback: go back to the best model before the least density is raised.
        rebalance: balance times in stage two as well.
        importance: rank by squared gradients, which are uploaded and charged, or by the size of the weights.
        every: jobs of a client from one upload of squared gradients to the next.
        of: average the latest models of all clients, as published, or add updates, each for what its client is among
            those that cover a coordinate; the latter moves the model further per round where clients are out of step.

    Raises:
        InvalidInput: a choice among averages of models, of updates.

    >>> prfl(window=0.5).task.downlink
    Bands()
    """
    pacing = Windows(window, timeout=timeout, opened=True) if cohort is None else Rounds(cohort, timeout=timeout)
    if of == "updates" and (average != "covered" or not buffer):
        raise InvalidInput(f"prfl: of = 'updates', average = {average!r}, buffer = {buffer}; those are of models")
    raised = Recovery(step, patience, rollback) if recovery else None
    return Strategy(
        name="prfl",
        pacing=pacing,
        matching=Uniform("skip"),
        task=TaskPart(
            submodel=Pruning(start, least, base, interval, Controller(), raised, rebalance, importance, every),
            downlink=Bands() if down is None else HiddenBands(down),
            uplink=Banded(up or Float32()),
            merge=MaskedModels(average, buffer) if of == "models" else MaskedDeltas(over="fleet"),
            optimizer=None if lr is None else SGD(lr),
            guard=Staleness(decay or (Polynomial(0.6) if of == "models" else Constant())),
        ),
    )
