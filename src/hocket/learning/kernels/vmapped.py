"""Any module, several clients at once by ``torch.func.vmap``: one pass over stacked parameters and batches.

A lane's bits may not depend on its mates or its place, so every block has :data:`LANES` lanes, whatever the number of
jobs, and batches have a multiple of four samples: what is computed of them then begins at a multiple of 16 bytes in
every lane, for products, and leaves no rest to the vector loops, whose last numbers are computed by other instructions.
Smaller batches are padded. Where a sample's loss depends on the samples beside it (batch norm) they cannot be: lanes
whose batches have the same size go through the module together, if all sizes are multiples of four. What has no
samples, as the gradients of weights, may still be uneven; a path on which lanes that change places change bits is none.

A module is taken if a step of its lanes is what autograd says of each alone. Some are not: torch has no batching rule
for recurrent layers and for embedding bags, and none can exist where the way through the module depends on values.
"""

import re
from collections.abc import Sequence
from contextlib import nullcontext
from copy import deepcopy
from functools import cache
from warnings import catch_warnings, filterwarnings, simplefilter

import numpy as np
import torch
from torch import Tensor, nn

from hocket.learning import order
from hocket.learning.kernels.attention import Attention
from hocket.learning.kernels.dropout import KeyedDropout, set_step
from hocket.learning.kernels.kernel import Span, Step, Work
from hocket.learning.kernels.memory import Scratch, subtract
from hocket.learning.kernels.net import Net
from hocket.learning.kernels.objective import Objective
from hocket.learning.kernels.samples import Drawn, Samples, as_input
from hocket.learning.kernels.single import Single
from hocket.learning.kernels.workers import single_threaded
from hocket.learning.local import LocalSGD
from hocket.schema import Kind

LANES = 8
CLOSE = 1e-3
"""How far a step may be from autograd's, by its length; rounding is a hundredth of that."""
EVEN = 4
"""What the samples of a batch are a multiple of."""
TRIALS = 3
"""How often lanes change places before a batch size is taken."""


class Vmapped:
    """The path of a module that can be mapped over lanes; :meth:`of` says whether one can.

    ``mixes``: a sample's loss depends on the samples beside it. ``attends``: its attention is taken apart.
    """

    name = "vmap"
    least = LANES

    def __init__(self, net: Net, objective: Objective, samples: Samples, mixes: bool, attends: bool) -> None:
        self.net = net
        self.loss = objective.loss
        self.mixes = mixes
        self.attends = attends
        self.keyed = net.keyed
        self._objective = objective
        self._samples = samples
        self._keeps = cache(self._in_any_place)

    @classmethod
    def of(cls, net: Net, objective: Objective, samples: Samples) -> "Vmapped | str":
        """The kernel of a model, or in a few words why it has none."""
        if samples.device.type != "cpu":
            return "it is for a CPU"
        why = ""
        for attends in (False, True):
            try:
                with torch.no_grad(), single_threaded(), catch_warnings():
                    simplefilter("ignore")
                    filterwarnings("error", "There is a performance drop")  # torch would go from lane to lane
                    found = cls(net, objective, samples, _mixes(net, objective, samples), attends)
                    if found._as_alone():
                        return found
                why = why or "mapped over clients it computes something else than for each alone"
            except Exception as error:  # a module can refuse to be mapped in many ways
                why = why or _reason(f"{error}")
        return why

    def takes(self, local: LocalSGD, width: int) -> bool:
        """Whether results are the same in every lane, for batches of all sizes that the clients have."""
        if not self.mixes:
            return self._keeps(_even(width))
        held: set[int] = set(np.unique(self._samples.sizes).tolist())
        sizes = {s for n in held if order.width(local, n) == width for s in _batches(local, n)}
        return all(size == _even(size) for size in sizes) and all(self._keeps(size) for size in sizes)

    def span(self, local: LocalSGD, size: int, width: int) -> Span:
        """See :class:`~hocket.learning.kernels.kernel.Kernel`."""
        return Span()

    def most(self, width: int) -> int:
        """As many as there are anyway."""
        return LANES

    def work(self, lanes: int, width: int, velocity: bool) -> "Mapped":
        """See :class:`~hocket.learning.kernels.kernel.Kernel`."""
        return Mapped(self, width, velocity)

    def _as_alone(self) -> bool:
        """Whether steps of the first and the last lane are what autograd says of them."""
        single = Single(self.net, self._objective, self._samples.device).work(1, 2, False)
        together = self._step(self.work(LANES, 2, False), 2, [*range(LANES)])
        for lane in (0, LANES - 1):
            for a, b in zip(together, self._step(single, 2, [lane]), strict=True):
                if not torch.linalg.vector_norm(a[lane] - b[0]) <= CLOSE * torch.linalg.vector_norm(b) + 1e-9:
                    return False
        return True

    def _in_any_place(self, size: int) -> bool:
        """Whether steps with batches of this size are the same bits when each job moves on to the next lane."""
        work = self.work(LANES, size, False)
        for first in range(0, TRIALS * LANES, LANES):
            jobs = [*range(first, first + LANES)]
            try:
                with torch.no_grad(), single_threaded():
                    a, b = self._step(work, size, jobs), self._step(work, size, [jobs[-1], *jobs[:-1]])
            except (RuntimeError, ValueError):  # a size that the module refuses, as batch norm does one sample
                return False
            if not all(torch.equal(x, y.roll(-1, 0)) for x, y in zip(a, b, strict=True)):
                return False
        return True

    def _step(self, work: Work, size: int, jobs: list[int]) -> tuple[Tensor, Tensor]:
        """How far a first step of made-up jobs moves, float32[jobs, model], and its losses, float32[jobs, size]."""
        state = self.net.module.state_dict()
        flat = torch.cat([state[s.name].flatten() for s in self.net.schema.travelling])
        starts = [flat * (1 + job / 64) for job in jobs]
        client = int(self._samples.sizes.argmax())
        rows = np.add.outer(np.array(jobs) * size, np.arange(size)) % self._samples.sizes[client]
        work.begin(starts, starts, Span())  # which it never ends
        work.load(Drawn(self._samples, np.full(len(jobs), client), rows[None], 0))
        losses = work.step(0, len(jobs), torch.full(rows.shape, 1 / size), Step([size] * len(jobs), jobs))
        return work.x - torch.stack(starts), losses


class Mapped:
    """Lanes, and a copy of the module that is mapped over them; see :class:`~hocket.learning.kernels.kernel.Work`."""

    def __init__(self, kernel: Vmapped, width: int, velocity: bool) -> None:
        net, loss = kernel.net, kernel.loss
        self.x = net.rows(LANES)
        self.out = net.rows(LANES) if velocity else self.x
        self._sign = 1 if velocity else -1
        self._room = Scratch()
        self._mixes = kernel.mixes
        self._column = torch.arange(_even(width)) % width  # samples in their batch, and again what it lacks
        self._scale = torch.zeros(LANES, len(self._column))
        self._mode = Attention() if kernel.attends else nullcontext()
        module: nn.Module = deepcopy(net.module)
        self._dropout = [m for m in module.modules() if isinstance(m, KeyedDropout)]
        views, places = net.views(self.x), net.views(self.out)
        kinds = {s.name: s.kind for s in net.schema.travelling}
        self._trained = {n: t.detach().requires_grad_() for n, t in views.items() if kinds[n] is Kind.TRAINABLE}
        self._buffers = {n: t for n, t in views.items() if kinds[n] is Kind.BUFFER}
        self._places = [places[n] for n in self._trained]

        def lane(tensors: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
            return loss(torch.func.functional_call(module, tensors, (inputs,)), targets)

        self._losses = torch.func.vmap(lane)
        self._inputs = self._targets = self.x
        self._starts: Sequence[Tensor] = []
        self._outs: Sequence[Tensor] = []

    def begin(self, starts: Sequence[Tensor], outs: Sequence[Tensor], span: Span) -> None:
        """See :class:`~hocket.learning.kernels.kernel.Work`."""
        self._starts, self._outs = starts, outs
        for x, start in zip(self.x, starts, strict=True):
            x.copy_(start)

    def load(self, drawn: Drawn) -> None:
        """See :class:`~hocket.learning.kernels.kernel.Work`."""
        self._inputs, self._targets = drawn.inputs(self._room), drawn.targets()
        if not self._mixes and len(self._column) > self._inputs.shape[2]:
            self._inputs, self._targets = self._inputs[:, :, self._column], self._targets[:, :, self._column]

    def step(self, s: int, k: int, scale: Tensor, step: Step) -> Tensor:
        """See :class:`~hocket.learning.kernels.kernel.Work`."""
        set_step(self._dropout, [*step.keys, *[0] * (LANES - len(step.keys))])
        active = range(len(step.counts))
        if not self._mixes:
            width = scale.shape[1]
            self._scale[:, :width] = scale
            return self._pass(s, self._scale, list(active))[:, :width]
        losses = torch.zeros_like(scale)
        for n in sorted(set(step.counts)):
            lanes = [i for i in active if step.counts[i] == n]
            losses[lanes, :n] = self._pass(s, scale[:, :n], lanes)[lanes]
        return losses

    def _pass(self, s: int, scale: Tensor, lanes: list[int]) -> Tensor:
        """Gradients and running statistics of some lanes; the losses of all, float32[LANES, samples]."""
        n = scale.shape[1]
        buffers = {name: t.clone() for name, t in self._buffers.items()}  # in a row each, to be written in place
        with torch.enable_grad(), self._mode:
            losses = self._losses({**self._trained, **buffers}, self._inputs[:, s, :n], self._targets[:, s, :n])
            found = torch.autograd.grad(losses, list(self._trained.values()), scale, allow_unused=True)
        pairs = [(place, g) for place, g in zip(self._places, found, strict=True) if g is not None]
        if len(lanes) == LANES:
            torch._foreach_add_([place for place, _ in pairs], [g for _, g in pairs], alpha=self._sign)
        else:  # those that are done stay as they are, even where nothing times infinity is added
            for place, g in pairs:
                place[lanes] += self._sign * g[lanes]
        for name, t in buffers.items():
            self._buffers[name][lanes] = t[lanes]
        return losses.detach()

    def end(self) -> None:
        """See :class:`~hocket.learning.kernels.kernel.Work`."""
        for x, start, out in zip(self.x, self._starts, self._outs, strict=False):
            subtract(x, start, out)
        self._starts = self._outs = []


def _even(size: int) -> int:
    return -(-size // EVEN) * EVEN


def _batches(local: LocalSGD, n: int) -> set[int]:
    """Sizes of the batches of a client that holds n samples."""
    size = min(local.batch_size, n)
    return {size, n % size or size} if local.epochs is not None else {size}


def _mixes(net: Net, objective: Objective, samples: Samples) -> bool:
    """Whether the loss of a sample changes with the one beside it, or a buffer with any; yes if none can be tried."""
    module = deepcopy(net.module)
    set_step([m for m in module.modules() if isinstance(m, KeyedDropout)], 0)
    inputs, targets = as_input(samples.features[:2]), samples.labels[:2]
    if len(inputs) < 2 or torch.equal(inputs[0], inputs[1]):
        return True
    apart = objective.loss(module(inputs), targets)
    twice = objective.loss(module(inputs[[0, 0]]), targets[[0, 0]])
    before, after = net.module.state_dict(), module.state_dict()
    moved = [s.name for s in net.schema.travelling if not torch.equal(before[s.name], after[s.name])]
    return bool(moved) or not torch.equal(apart[0], twice[0])


def _reason(said: str) -> str:
    """Why a module was refused, from what torch said."""
    if rule := re.search(r"atching rule .*?(aten::\w+)", said, re.DOTALL):
        return f"torch has no batching rule for {rule[1]}"
    first = re.split(r"[.:]?\s*\n|\. ", said.strip())[0]
    return first.removeprefix("vmap: It looks like you're ")
