"""x <- x + (lr/K) (sum_i cut(w_i d_i) + N(0, (z C)^2 I)): differential privacy in the server's step.

| symbol | argument | meaning |
|---|---|---|
| C | ``clip`` | what all updates of one client may add to one step, as a norm |
| z | ``noise`` | standard deviation of the noise, over C |
| delta | ``delta`` | at which epsilon is stated |
| epsilon | ``epsilon`` | the run ends before more is spent (None: it is only counted) |
| | ``participations`` | steps that a client may take part in; what it sends later counts as zero (None: all) |

The unit is a client, all its data and all its updates. Two runs are neighbours if in one of them every update of one
client is zero (Kairouz et al., "Practical and private (deep) learning without sampling or shuffling", ICML 2021,
section 2): who worked when is the same in both and is not hidden. A client's updates of one step are cut one after the
other to what is left of C, so together they add C at most. T steps, or as many as ``participations`` allows, are then
one Gaussian mechanism of sensitivity C sqrt(T); with times that depend on what was released before, too (Smith,
Thakurta, "Fully adaptive composition for Gaussian differential privacy", 2022).

Amplification by sampling is not claimed. In an asynchronous run nobody is sampled: who is fast takes part more often.
Cohorts are not claimed to be uniform either, since who is online, and not the server, decides who can be drawn.

Abadi et al., "Deep learning with differential privacy", CCS 2016 (arXiv 1607.00133); McMahan et al., "Learning
differentially private recurrent language models", ICLR 2018 (arXiv 1710.06963). The server itself is trusted.
"""

from collections.abc import Sequence
from math import inf
from typing import ClassVar, Self

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from hocket.actions import Request
from hocket.chunks import norm
from hocket.errors import InvalidInput
from hocket.events import Event, Stepped
from hocket.policies import Contribution
from hocket.privacy.noise import add_normal
from hocket.privacy.sensitivity import unbounded
from hocket.strategy import FullStrategy, FullTask, policy
from hocket.view import View


class Spent(Struct, tag=True):
    """The ledger of a task: how many noisy steps were made."""

    task: str
    releases: int = 0


class Taken(Struct):
    """``steps``: those that each client took part in, int32[clients]; ``left``: of C in the step that is being made."""

    steps: np.ndarray
    left: dict[int, float] = {}

    @classmethod
    def of(cls, clients: int) -> Self:
        """Before the first step."""
        return cls(np.zeros(clients, np.int32))


@policy("privacy")
class Gaussian(Struct, frozen=True, tag="gaussian", tag_field="kind", forbid_unknown_fields=True):
    """The Gaussian mechanism; see the module for what it promises.

    Raises:
        InvalidInput: a norm or a noise that is not positive and finite, a delta that is no small chance.
    """

    clip: float = 1.0
    noise: float = 1.0
    delta: float = 1e-6
    epsilon: float | None = None
    participations: int | None = None
    observes: ClassVar[tuple[type[Event], ...]] = (Stepped,)

    def __post_init__(self) -> None:
        for name in ("clip", "noise"):
            if not 0 < (value := getattr(self, name)) < inf:
                raise InvalidInput(f"privacy.{name} = {value}: must be above 0 and finite")
        if not 0 < self.delta < 0.1:
            raise InvalidInput(f"privacy.delta = {self.delta}: must be above 0 and far below one over the clients")
        if self.epsilon is not None and not 0 < self.epsilon < inf:
            raise InvalidInput(f"privacy.epsilon = {self.epsilon}: must be above 0 and finite, or left out")
        if self.participations is not None and self.participations < 1:
            raise InvalidInput(f"privacy.participations = {self.participations}: must be 1 or more, or left out")

    def init(self, view: View, task: str) -> Spent:
        return Spent(task)

    def observe(self, state: Spent, fact: Event, view: View, now: int) -> Sequence[Request]:
        if isinstance(fact, Stepped) and fact.task == state.task and fact.count:
            state.releases += 1
        return ()

    def cut(self, memory: Taken, c: Contribution) -> Contribution:
        """A contribution within what its client may still add to this step."""
        client = c.lease.client
        left = memory.left.get(client)
        if left is None:
            left = 0.0
            if self.participations is None or memory.steps[client] < self.participations:
                memory.steps[client] += 1
                left = self.clip
        length = norm(c.delta) * abs(c.weight)
        kept = min(length, left)
        memory.left[client] = left - kept
        return replace(c, weight=c.weight * (kept / length)) if kept < length else c

    def noised(self, memory: Taken, step: NDArray[np.float64], count: int, key: bytes) -> NDArray[np.float64]:
        """The step of ``count`` updates with its noise (in place), which is a function of the key; a new one begins."""
        memory.left.clear()
        add_normal(step, self.noise * self.clip / count, key)
        return step

    def objection(self, strategy: FullStrategy, task: FullTask | None) -> str | None:
        """Whatever lets one client move a step by more than C/K."""
        return None if task is None else unbounded(strategy, task)
