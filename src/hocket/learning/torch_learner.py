"""Local SGD for any ``nn.Module``, many clients at once where that pays and the same bits wherever they run."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import inf, isfinite
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from hocket.chunks import finite
from hocket.errors import HocketError, InvalidInput, MissingExtra
from hocket.learning.data import ClientData
from hocket.learning.learner import Job, Trained, diverged
from hocket.learning.local import LocalSGD
from hocket.learning.order import width
from hocket.schema import Schema, Vector

try:
    import torch
except ImportError as error:
    raise MissingExtra("TorchLearner: torch is not installed; pip install 'hocket[torch]'") from error

from torch import Tensor

from hocket.learning.kernels.block import Block, lane_blocks
from hocket.learning.kernels.choice import Choice, Path
from hocket.learning.kernels.crew import SMALL, Crew, possible
from hocket.learning.kernels.kernel import Kernel, Span
from hocket.learning.kernels.mate import Ticket
from hocket.learning.kernels.net import Net, Source, Trainable
from hocket.learning.kernels.objective import Loss, Metrics, Objective
from hocket.learning.kernels.samples import Samples, as_input
from hocket.learning.kernels.single import Module
from hocket.learning.kernels.workers import Spare, Workers, single_threaded

_ROWS = 128
TOGETHER = 8
"""Jobs that other processes are given before a result is needed, unless more are faster together."""
FEW = 2
"""Jobs that are enough for one of them that has nothing to do."""
PATIENCE = 0.5
"""Seconds of training before other processes are started, if nobody said how many."""


class TorchLearner:
    """Trains an ``nn.Module`` on :class:`~hocket.learning.data.ClientData`, as a :class:`~hocket.learning.Learner`.

    Features go to the model as they are, float32 or int64[batch, ...]; uint8 ones become float32 divided by 255.
    Parameters that are not trained stay as the model has them and do not travel; running statistics travel as
    buffers; a tensor with several names travels once. Dropout layers draw from (lease, step), so they must be
    ``nn.Dropout`` modules. Modules with hooks, a mode or a forward pass of their own, and with tied tensors, are
    computed by themselves, one client after another.

    Args:
        model: a module, which is copied and starts from its own values, or a function that builds one from torch's
            (seeded) generator.
        loss: ``"cross_entropy"``, ``"next_character"`` (outputs [n, T, classes]), ``"mse"``, ``"bce"`` (logits), or a
            function of outputs and targets to float32[n].
        metrics: of an evaluation besides the loss; None: those that fit the loss.
        trainable: names of parameters, with ``*``, or a test of a name; None: all that require a gradient.
        device: where to compute.
        path: ``"compiled"`` (chains of linear layers in compiled loops), ``"delayed"`` or ``"stack"`` (chains of layers
            by hand, many clients at once), ``"vmap"`` (other modules, several clients at once by ``torch.func.vmap``),
            ``"single-last"`` (images in memory channels last), ``"single"`` (any model), ``"auto"``, the first of these
            but vmap that takes the model, ``"measured"``, the fastest by a short measurement, or what ``kernels`` of
            another run says. Paths differ by rounding: a measured run is repeated by pinning it.
        threads: clients or blocks of clients trained side by side, on Linux by other processes, elsewhere by threads;
            None: one per core. Results do not depend on it.

    Raises:
        InvalidInput: model and data do not fit, a model with hidden state, a path or a device that is not there.

    >>> import numpy as np
    >>> from torch import nn
    >>> from hocket.learning import ClientData, Examples, Job, LocalSGD
    >>> rows = Examples(np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1]))
    >>> learner = TorchLearner(lambda: nn.Linear(4, 2), ClientData(rows, np.array([0, 3, 4]), rows, rows))
    >>> learner.schema.size, learner.samples.tolist()
    (10, [3, 1])
    >>> x = learner.initial(0)
    >>> (done,) = learner.train([Job(0, 1, x, LocalSGD(lr=1.0, batch_size=2), seed=7, version=0)])
    >>> done.delta.shape, done.samples
    ((10,), 1)
    """

    def __init__(
        self,
        model: Source,
        data: ClientData,
        *,
        loss: str | Loss = "cross_entropy",
        metrics: Metrics = None,
        trainable: Trainable = None,
        device: str = "cpu",
        path: Path = "auto",
        threads: int | None = None,
    ) -> None:
        if threads is not None and threads < 1:
            raise InvalidInput(f"threads is {threads}; it must be 1 or more")
        if not isinstance(data, ClientData):
            raise InvalidInput(
                f"data: is a {type(data).__name__}; give ClientData, as ClientData.divided(Examples(features, labels), "
                "parts, validation, test) makes it"
            )
        where = _device(device)
        self._net = Net(model, trainable)
        self._size = self._net.schema.size
        self._objective = Objective.of(loss, metrics)
        self._data = data
        self._samples = Samples(data, where)
        for examples in (data.train, data.validation, data.test):
            features, _ = self._samples.split(examples.take(slice(0, 2)))
            self._objective.check(self._net.check(as_input(features).cpu(), examples.name), examples)
        self._two = self._net.needs_two(as_input(self._samples.features[:1]).cpu())
        self._workers = Workers((threads or os.cpu_count() or 1) if where.type == "cpu" else 1)
        self._crew: Crew | None = None
        self._spent = inf if threads else 0.0
        self._shared = True  # whether the newest jobs took a kernel that does several in the time of one
        sample = as_input(self._samples.features[:2]).cpu()
        sample = torch.cat([sample, sample])[:2]
        self._choice = Choice(path, self._net, self._objective, self._samples, sample)
        self._whole = Spare(lambda: Module(self._net, where))

    @property
    def schema(self) -> Schema:
        """What the model is made of: the tensors of its ``state_dict``."""
        return self._net.schema

    @property
    def samples(self) -> NDArray[np.int64]:
        """Samples that each client holds, int64[clients], read-only."""
        return self._samples.sizes

    @property
    def kernels(self) -> dict[str, str]:
        """The path that each kind of local work got so far, for the resolved experiment."""
        return dict(self._choice.chosen)

    def pin(self, kernels: Mapping[str, str]) -> None:
        """Take the paths that another run took, its ``kernels``.

        Raises:
            InvalidInput: a path that does not take this model here.
        """
        self._choice.pin(kernels)

    def initial(self, seed: int) -> Vector:
        """A first model, float32[size]: built under the seed, or the given module's own values."""
        return self._net.initial(seed)

    def state_dict(self, x: Vector) -> dict[str, Tensor]:
        """What the model's ``load_state_dict`` takes: ``x``, float32[size], by all names, and what does not travel."""
        self._check_vector("model", x)
        given = {name: torch.from_numpy(value.copy()) for name, value in self.schema.views(x).items()}
        given |= {name: given[known] for name, known in self._net.tied.items() if known in given}
        return {name: given.get(name, kept).clone() for name, kept in self._net.module.state_dict().items()}

    def train(self, jobs: Sequence[Job]) -> list[Trained]:
        """Results in the order of the jobs.

        Raises:
            InvalidInput: a client that does not exist, a start vector of another size or type, or a batch of one
                sample for a model that needs two.
            Diverged: a result is not finite; the message names the client.
        """
        if (begun := self.begin(jobs)) is not None:
            return [result() for result in begun]
        blocks, places = self._parts(jobs, self._workers.threads)
        began = perf_counter()
        done = self._workers.map(self._trained, blocks)
        self._spent += perf_counter() - began
        out: dict[int, Trained] = {}
        for at, results in zip(places, done, strict=True):
            out.update(zip(at, results, strict=True))
        return [out[i] for i in range(len(jobs))]

    @property
    def ahead(self) -> int:
        """See :class:`~hocket.learning.learner.Background`."""
        if self._crew is None or not self._crew.usable or self._shared:
            return 0
        return FEW if self._crew.idle() else TOGETHER

    def begin(self, jobs: Sequence[Job]) -> list[Callable[[], Trained]] | None:
        """Let other processes train the jobs, once the learner has had enough to do for them to be worth it.

        Raises:
            InvalidInput: as :meth:`train`; so do the calls, and Diverged.
        """
        mates = self._workers.threads - 1 if self._size <= SMALL else 0
        if mates and self._crew is None and len(jobs) > 1 and self._spent > PATIENCE and possible():
            self._crew = Crew(mates, self._size, self._trained, self._net.memory)
        crew = self._crew
        if crew is None or not crew.usable:
            return None
        blocks, places = self._parts(jobs, max(1, crew.idle()))
        tickets = zip(crew.begin(blocks), places, strict=True)
        lanes = {i: (ticket, lane) for ticket, at in tickets for lane, i in enumerate(at)}
        return [partial(self._collected, crew, *lanes[i], job) for i, job in enumerate(jobs)]

    def _collected(self, crew: Crew, ticket: Ticket, lane: int, job: Job) -> Trained:
        """The result of a job, which the ticket then lets go."""
        try:
            return crew.result(ticket, lane)
        except HocketError:  # of which job the block does not say
            (alone,) = self._workers.map(self._trained, [ticket.block._replace(jobs=[job])])
            return alone[0]

    def _parts(self, jobs: Sequence[Job], threads: int) -> tuple[list[Block], list[list[int]]]:
        """Jobs in blocks, enough for so many threads, and which jobs are in each."""
        kinds: dict[tuple[LocalSGD, int, bool, bool], list[int]] = {}
        for i, job in enumerate(jobs):
            self._check(job)
            kind = job.local, width(job.local, self._held(job.client)), job.covered is not None, job.squares
            kinds.setdefault(kind, []).append(i)
        blocks, places = list[Block](), list[list[int]]()
        with single_threaded():
            for (local, wide, *_), members in kinds.items():
                kernel = self._choice.at(local, wide, [jobs[i] for i in members])
                self._shared, most = kernel.least > 1, kernel.most(wide)
                count, least = (self._workers.threads, most) if most > TOGETHER else (threads, kernel.least)
                for alike in self._alike(kernel, local, wide, members, jobs):
                    for at in lane_blocks(alike, most, count, kernel.least):
                        blocks.append(Block(kernel.name, wide, [jobs[i] for i in at], least))
                        places.append(at)
        return blocks, places

    def _trained(self, block: Block, outs: Sequence[Vector] | None = None) -> list[Trained]:
        """Results of a block, all finite."""
        results = self._choice.train(block, outs)
        for job, result in zip(block.jobs, results, strict=True):
            if not isfinite(result.metrics["loss"]) or not finite(result.delta):
                raise diverged(job)
        return results

    def evaluate(self, x: Vector, split: str) -> dict[str, float]:
        """Mean ``"loss"`` and the metrics of ``"validation"`` or ``"test"``, in evaluation mode.

        Raises:
            InvalidInput: another split, or a model of another size or type.
        """
        self._check_vector("x", x)
        features, labels = self._samples.split(self._data.split(split))
        flat = self._samples.shared(x.copy())

        def rows(i: int) -> tuple[Tensor, Tensor]:
            with self._whole.borrow() as own:
                own.bind(flat)
                outputs = own.module.eval()(as_input(features[i : i + _ROWS].clone())).cpu()  # which it may write to
            return outputs, self._objective.loss(outputs, labels[i : i + _ROWS].cpu())

        parts = self._workers.map(rows, range(0, len(labels), _ROWS))
        outputs = torch.cat([o for o, _ in parts])
        losses = np.concatenate([loss.numpy() for _, loss in parts])
        metrics = {name: metric(outputs, labels.cpu()) for name, metric in self._objective.metrics.items()}
        return {**metrics, "loss": float(losses.mean(dtype=np.float64))}

    def _alike(
        self, kernel: Kernel, local: LocalSGD, wide: int, members: list[int], jobs: Sequence[Job]
    ) -> Iterable[list[int]]:
        """Jobs of one kind of work and one width by how their samples are loaded, those with most updates first."""
        spans: dict[Span, list[int]] = {}
        for i in sorted(members, key=lambda i: -local.updates(self._held(jobs[i].client))):
            spans.setdefault(kernel.span(local, self._held(jobs[i].client), wide), []).append(i)
        return spans.values()

    def _held(self, client: int) -> int:
        return int(self._samples.sizes[client])

    def _check(self, job: Job) -> None:
        clients = len(self._samples.sizes)
        if not 0 <= job.client < clients:
            raise InvalidInput(f"client {job.client} does not exist; the learner has clients 0 to {clients - 1}")
        self._check_vector(f"client {job.client}: start", job.start)
        if self._two and _makes_single(job.local, self._held(job.client)):
            raise InvalidInput(
                f"client {job.client}: {self._held(job.client)} samples leave it a batch of one, and the model's "
                "batch norm needs two; use another batch_size, steps instead of epochs, or a group norm"
            )

    def _check_vector(self, what: str, x: Vector) -> None:
        if x.shape != (self._size,) or x.dtype != np.float32:
            raise InvalidInput(f"{what} is {x.dtype}{list(x.shape)}; the model is float32[{self._size}]")


def _makes_single(local: LocalSGD, n: int) -> bool:
    batch = min(local.batch_size, n)
    return batch == 1 or (local.epochs is not None and n % batch == 1)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InvalidInput(f"device {name!r} is unknown; give 'cpu', 'cuda' or 'cuda:N'") from error
    if device.type not in ("cpu", "cuda"):
        raise InvalidInput(f"device {name!r} is not supported; give 'cpu', 'cuda' or 'cuda:N'")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InvalidInput(f"device {name!r} is not there (torch sees {torch.cuda.device_count()} GPUs); use 'cpu'")
    return device
