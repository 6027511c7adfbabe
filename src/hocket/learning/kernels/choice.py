"""Which path a model takes: the first of those that can, the fastest by a short measurement, or the one asked for.

By default ("auto") the order is fixed, so that the same run takes the same path every time: compiled loops, delayed
stacks, stacks (these two the other way round where samples have few features), then one client after another; models
with images in groups of 8 up to half a million parameters, alone beyond. A measured choice may differ from run to run,
and paths differ in the last bits: pin it to repeat a run. Modules are mapped over clients only by measurement or by
name: a job alone costs as much as a full block, which pays if there are many. A path must
also keep the lane rule on this machine, with these shapes: it is dropped if jobs in another order and another number
give other bits.
"""

import time
from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from msgspec.structs import replace
from torch import Tensor

from hocket.errors import InvalidInput
from hocket.learning.kernels.block import Block, train_block
from hocket.learning.kernels.kernel import Kernel, Whole, Work
from hocket.learning.kernels.net import Net
from hocket.learning.kernels.objective import Objective
from hocket.learning.kernels.samples import Samples
from hocket.learning.kernels.single import Single
from hocket.learning.kernels.stack import Stack
from hocket.learning.kernels.vmapped import Vmapped
from hocket.learning.kernels.workers import Spare
from hocket.learning.learner import Job, Trained
from hocket.learning.local import LocalSGD
from hocket.schema import Vector

PATHS = ("auto", "measured", "compiled", "delayed", "stack", "stack-8", "stack-1", "vmap", "single-last", "single")
Path = str | Mapping[str, str]
_DELAYED = ("compiled", "delayed")
"""Those whose first layer moves once in many steps; nothing of a sub-model, or with momentum, can be put off."""
_MEASURED: dict[tuple[str, ...], str] = {}
"""What was the fastest in this process, so that equal learners agree: by model, loss and kind of work."""
SMALL = 500_000
"""Parameters up to which clients with images are stacked by eights, and mapping over clients is measured."""
STEPS = 12
"""Most steps of a job that is measured."""
MARGIN = 1.1
"""How much faster than those before it a path must be."""


class Choice:
    """The kernels of a model, and which was in use for each kind of work.

    Args:
        path: one for everything, or names by kind of work as in ``chosen``.
        net: the model.
        objective: the loss.
        samples: the data.
        sample: two samples as the model sees them.

    Raises:
        InvalidInput: an unknown path, or one that does not take this model.
    """

    def __init__(self, path: Path, net: Net, objective: Objective, samples: Samples, sample: Tensor) -> None:
        for name in {path} if isinstance(path, str) else set(path.values()):
            if name not in PATHS:
                raise InvalidInput(f"path is {name!r}; it must be one of {', '.join(PATHS)}")
        self._stacks = Stack.all_of(net, objective, samples.device, sample)
        if net.schema.size > SMALL and any(k.name == "stack-1" for k in self._stacks):
            self._stacks.reverse()
        lasts = (True, False) if sample.ndim == 4 else (False,)
        self._alone = [Single(net, objective, samples.device, last) for last in lasts]
        self._net = net
        self._samples = samples
        self._objective = objective
        self._works: dict[tuple[str, int, bool], Spare[Work | Whole]] = {}
        self._pinned = {} if isinstance(path, str) else dict(path)
        self._path = path if isinstance(path, str) else "auto"
        for name in {self._path, *self._pinned.values()} - {"auto", "measured"}:
            self._named(name)
        self.chosen: dict[str, str] = {}

    def pin(self, chosen: Mapping[str, str]) -> None:
        """Take these paths from now on, by kind of work."""
        for name in chosen.values():
            self._named(name)
        self._pinned |= chosen
        self.chosen.clear()

    def at(self, local: LocalSGD, wide: int, jobs: Sequence[Job]) -> Kernel:
        """The kernel for work of this kind and batches of this width, measured on these jobs if it must be.

        The jobs are all of sub-models or with squares, or none is.
        """
        parts = jobs[0].covered is not None or jobs[0].squares
        kind = _kind(local, wide) + (", parts" if parts else "")
        if kind not in self.chosen:
            name = self._pinned.get(kind, self._path)
            free = name in ("auto", "measured")
            able = [k for k in (self._free(name) if free else self._named(name)) if k.takes(local, wide)]
            if parts:  # a layer that moves once in many steps has no last step, and cannot stay zero in between
                able = [k for k in able if k.name not in _DELAYED]
            able = able or [self._alone[-1]]
            if free and len(able) > 1:
                choose = self._fastest if name == "measured" else self._first
                self.chosen[kind] = choose(able, kind, wide, jobs)
            else:
                self.chosen[kind] = able[0].name
        return self._named(self.chosen[kind])[0]

    def train(self, block: Block, outs: Sequence[Vector] | None = None) -> list[Trained]:
        """Results of a block of jobs; ``outs``: where the deltas go, if they have a place."""
        kernel = self._named(block.kernel)[0]
        wide, jobs = block.wide, block.jobs
        velocity = jobs[0].local.momentum > 0
        at = (kernel.name, wide, velocity)
        if at not in self._works:
            lanes = max(kernel.least, kernel.most(wide))
            self._works.setdefault(at, Spare(lambda: kernel.work(lanes, wide, velocity)))
        with self._works[at].borrow() as work:
            return train_block(kernel, work, self._samples, wide, jobs, self._net.trained, outs)

    @cached_property
    def _mapped(self) -> Vmapped | str:
        return Vmapped.of(self._net, self._objective, self._samples)

    def _free(self, name: str) -> list[Kernel]:
        """All kernels to choose from, in the fixed order."""
        mapped = self._mapped if name == "measured" and self._net.schema.size <= SMALL else ""
        return [*self._stacks, *(() if isinstance(mapped, str) else (mapped,)), *self._alone]

    def _named(self, name: str) -> list[Kernel]:
        """The kernels of a name; "stack" is any of them that does not delay, and what stands in where it cannot."""
        if name == "vmap":
            if isinstance(self._mapped, str):
                raise InvalidInput(
                    f"path is 'vmap', which does not take this model: {self._mapped}; use 'auto' or 'single'"
                )
            return [self._mapped]
        wanted = {"stack": ("stack", "stack-8"), **{n: (n, "stack") for n in _DELAYED}}.get(name, (name,))
        known: list[Kernel] = [*self._stacks, *self._alone]
        found = sorted((k for k in known if k.name in wanted), key=lambda k: k.name != name)
        if not found or (name in _DELAYED and found[0].name != name):
            raise InvalidInput(
                f"path is {name!r}, which takes chains of Linear, Conv2d, pooling, activations and Flatten with "
                "cross_entropy, mse or bce on a CPU (delayed: Linear first; compiled: all Linear, with ReLU, Tanh or "
                "Sigmoid, and cross_entropy; stack-8, stack-1: with images), none with the tensors of another; "
                "this is something else: use 'auto' or 'single'"
            )
        return found if name in _DELAYED else found[:1]

    def _first(self, able: Sequence[Kernel], kind: str, wide: int, jobs: Sequence[Job]) -> str:
        """The first path that keeps the lane rule; the last one always does."""
        with torch.no_grad():
            best = next((k for k in able[:-1] if self._measure(k, wide, jobs) < float("inf")), able[-1])
        for at in [at for at in self._works if at[0] != best.name]:
            del self._works[at]
        return best.name

    def _fastest(self, able: Sequence[Kernel], kind: str, wide: int, jobs: Sequence[Job]) -> str:
        key = (
            f"{self._net.module} {self._net.schema.digest}",
            f"{self._objective.loss!r}",
            kind,
            *(k.name for k in able),
        )
        if key in _MEASURED:
            return _MEASURED[key]
        best, least = able[-1], float("inf")
        with torch.no_grad():
            for kernel in able:
                spent = self._measure(kernel, wide, jobs)
                if spent * MARGIN < least:
                    best, least = kernel, spent
        for at in [at for at in self._works if at[0] != best.name]:
            del self._works[at]
        _MEASURED[key] = best.name
        return best.name

    def _measure(self, kernel: Kernel, wide: int, jobs: Sequence[Job]) -> float:
        """Seconds of this thread per job, the least of two; infinite for a path that breaks the lane rule."""
        most = kernel.most(wide)
        sizes = [int(self._samples.sizes[j.client]) for j in jobs]
        steps = min(STEPS, *(j.local.updates(n) for j, n in zip(jobs, sizes, strict=True)))
        local = replace(jobs[0].local, epochs=None, steps=steps)
        spans = [kernel.span(local, n, wide) for n in sizes]
        short = [replace(j, local=local) for j, at in zip(jobs, spans, strict=True) if at == spans[0]][:most]
        if most > 2 and len(short) == 1:
            short = [*short, replace(short[0], seed=short[0].seed ^ 1), replace(short[0], seed=short[0].seed ^ 2)]
        spent, found = [], []
        for some in (short, short[::-1][: max(1, len(short) - 1)], short):
            began = time.thread_time()
            found.append(self.train(Block(kernel.name, wide, some)))
            spent.append((time.thread_time() - began) / len(some))
        for a, b in zip(found[0][::-1], found[1], strict=False):
            if a.delta.tobytes() != b.delta.tobytes() or a.metrics != b.metrics:
                return float("inf") if most > 1 else min(spent[1:])
        return min(spent[1:])


def _kind(local: LocalSGD, wide: int) -> str:
    """What a choice is made for."""
    extras = [n for n in ("momentum", "weight_decay", "proximal") if getattr(local, n)]
    return " ".join([f"width {wide}", *(e.replace("_", " ") for e in extras)])
