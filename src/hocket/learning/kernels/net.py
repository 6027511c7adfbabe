"""A module seen from outside: which of its tensors travel, in which order, and whether it keeps its promises."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hocket.errors import InvalidInput
from hocket.keyed import key
from hocket.learning.kernels.dropout import KeyedDropout, set_step, with_keyed_dropout
from hocket.learning.kernels.layers.plane import ALIGN
from hocket.learning.kernels.memory import Recycler
from hocket.schema import Kind, Schema, Segment, Vector

Trainable = Sequence[str] | Callable[[str], bool] | None
Ints = NDArray[np.int64]
Source = nn.Module | Callable[[], nn.Module]


class Net:
    """A model and its flat vector.

    The segments are the module's tensors in the order of ``state_dict``: parameters that are trained are
    trainable, running statistics (floating-point buffers) are buffers, everything else is frozen. A tensor with several
    names, as an embedding that is the output layer, too, is one segment under the first of them; ``tied``: the others,
    and what each of them is.

    Args:
        source: a module, which starts from its own values whatever the seed, or a function that builds one, which
            is called with torch's generator seeded; what is frozen has the values of seed 0.
        trainable: names of parameters (``*`` and ``?`` allowed) or a test of a name; None: all that require a gradient.

    Raises:
        InvalidInput: no module, one that cannot be copied, nothing to train, a parameter that is not float32 or has a
            gradient hook, or two that share memory.
    """

    def __init__(self, source: Source, trainable: Trainable = None) -> None:
        self._source = source
        self.memory = Recycler()
        built = self._build(0)
        _check_apart(built)
        self.module = with_keyed_dropout(_copied(built).cpu()).train()
        state: dict[str, Tensor] = self.module.state_dict(keep_vars=True)
        first: dict[int, str] = {}
        names = {name: first.setdefault(id(tensor), name) for name, tensor in state.items()}
        self.tied = {name: known for name, known in names.items() if name != known}
        parameters = dict(self.module.named_parameters(remove_duplicate=False))
        chosen = {names.get(name, name) for name in _chosen(parameters, trainable)}
        buffers = {n for n, b in self.module.named_buffers() if b.dtype == torch.float32}
        segments = []
        for name in first.values():
            tensor = state[name]
            kind = Kind.TRAINABLE if name in chosen else Kind.BUFFER if name in buffers else Kind.FROZEN
            if kind is Kind.TRAINABLE and tensor.dtype != torch.float32:
                raise InvalidInput(f"model: parameter {name!r} is {tensor.dtype}; it must be float32: model.float()")
            segments.append(Segment(name, tuple(tensor.shape), kind))
        self.schema = Schema(tuple(segments))
        for name, parameter in parameters.items():
            parameter.requires_grad_(names.get(name, name) in chosen)
        for name, child in self.module.named_modules():
            if isinstance(child, nn.modules.batchnorm._BatchNorm) and child.momentum is None:
                raise InvalidInput(f"model: {name!r} averages over all its steps; give its norm a momentum, as 0.1")

    @property
    def keyed(self) -> bool:
        """Whether the model draws random numbers in training."""
        return any(isinstance(m, KeyedDropout) for m in self.module.modules())

    def initial(self, seed: int) -> Vector:
        """The travelling tensors of a fresh model, float32[size]."""
        with torch.no_grad():
            state = self._build(seed).state_dict()
        return self.schema.flatten({s.name: state[s.name].cpu().numpy() for s in self.schema.travelling})

    def _build(self, seed: int) -> nn.Module:
        if isinstance(self._source, nn.Module):
            return self._source
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key(seed, "initial") >> 1)
            built = self._source()
        if not isinstance(built, nn.Module):
            raise InvalidInput(f"model: the function returned {type(built).__name__}; it must build an nn.Module")
        return built

    @cached_property
    def trained(self) -> Tensor | None:
        """1 for coordinates with a gradient and 0 for buffers, float32[size]; None without buffers."""
        parts = [np.full(s.size, s.kind is Kind.TRAINABLE, np.float32) for s in self.schema.travelling]
        mask = np.concatenate(parts)
        return None if mask.all() else torch.from_numpy(mask)

    @cached_property
    def frozen(self) -> dict[str, Tensor]:
        """Parameters that do not travel, by name."""
        kept = {s.name for s in self.schema.segments if s.kind is Kind.FROZEN}
        return {n: p.detach() for n, p in self.module.named_parameters() if n in kept}

    def rows(self, lanes: int) -> Tensor:
        """Room for the flat vectors of lanes, float32[lanes, size], each beginning where a lane may."""
        size = self.schema.size
        return self.memory.take((lanes, -(-size // ALIGN) * ALIGN), torch.float32, torch.device("cpu"))[:, :size]

    def views(self, x: Tensor) -> dict[str, Tensor]:
        """The travelling tensors in flat vectors float32[lanes, size], each [lanes, ...], by name."""
        parts = torch.split(x, [s.size for s in self.schema.travelling], 1)
        pairs = zip(self.schema.travelling, parts, strict=True)
        return {s.name: x.as_strided((len(x), *s.shape), _strides(x, s.shape), p.storage_offset()) for s, p in pairs}

    def check(self, inputs: Tensor, name: str) -> Tensor:
        """Outputs of a few samples, from two identical training passes.

        Raises:
            InvalidInput: a shape that the model does not take; outputs that change, or an attribute that did.
        """
        module = deepcopy(self.module)
        before = _attributes(module)
        outputs = []
        for _ in range(2):
            module.load_state_dict(self.module.state_dict())
            outputs.append(forward(module, inputs, name))
        if changed := sorted(n for n, v in _attributes(module).items() if not _same(before.get(n), v)):
            raise InvalidInput(
                f"model: {changed[0]!r} changes during a forward pass; state must be a parameter or a registered "
                "buffer (register_buffer), or it would leak from client to client"
            )
        if not _same(*outputs):
            raise InvalidInput(
                "model: two identical training passes differ; randomness must come from nn.Dropout layers, which "
                "are keyed by client, and state must be in parameters or registered buffers"
            )
        return outputs[0]

    def needs_two(self, inputs: Tensor) -> bool:
        """Whether training refuses a batch of one sample, as batch norm over features does."""
        try:
            deepcopy(self.module)(inputs[:1].clone())
        except ValueError:
            return True
        return False


def _copied(module: nn.Module) -> nn.Module:
    """A copy that behaves as the module does."""
    for name, parameter in module.named_parameters():
        if parameter._backward_hooks:
            raise InvalidInput(
                f"model: parameter {name!r} has a gradient hook, which copies of it lose; change the gradient in the "
                "forward pass (torch.autograd.Function) or by a hook of its module"
            )
    try:
        return deepcopy(module)
    except (RuntimeError, TypeError) as error:
        said = str(error).strip().partition("\n")[0]
        raise InvalidInput(f"model: it cannot be copied, and every client needs a copy: {said}") from error


def forward(module: nn.Module, inputs: Tensor, name: str) -> Tensor:
    """Outputs of a batch.

    Raises:
        InvalidInput: the model cannot take inputs of this shape or type, or returns something else than a tensor.
    """
    set_step([m for m in module.modules() if isinstance(m, KeyedDropout)], 0)
    try:
        with torch.no_grad():
            out = module(inputs.clone())  # it may write to what it is given
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        said = str(error).strip().partition("\n")[0]
        kind = str(inputs.dtype).removeprefix("torch.")
        raise InvalidInput(f"{name}: the model does not take {kind}{list(inputs.shape)}: {said}") from error
    if not isinstance(out, Tensor) or not out.ndim or len(out) != len(inputs):
        what = f"outputs {list(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
        raise InvalidInput(f"model: it returns {what} for {len(inputs)} samples; return one tensor [samples, ...]")
    return out


def _check_apart(module: nn.Module) -> None:
    """Refuse two tensors on the same memory: they would be trained apart."""
    known: dict[int, list[tuple[str, Tensor]]] = {}
    for name, tensor in {id(t): (n, t) for n, t in module.state_dict(keep_vars=True).items()}.values():
        others = known.setdefault(tensor.untyped_storage().data_ptr(), [])
        if twin := next((n for n, t in others if np.intersect1d(_places(t), _places(tensor)).size), None):
            raise InvalidInput(
                f"model: {twin!r} and {name!r} share memory and are two tensors, which would be trained apart; "
                "give both names the same nn.Parameter (b.weight = a.weight)"
            )
        others.append((name, tensor))


def _places(x: Tensor) -> Ints:
    """Where the numbers of a tensor lie in its memory, int64[numel]."""
    length = x.untyped_storage().nbytes() // x.element_size()
    return torch.arange(length).as_strided(x.shape, x.stride(), x.storage_offset()).numpy().ravel()


def _strides(x: Tensor, shape: tuple[int, ...]) -> tuple[int, ...]:
    return (x.stride(0), *torch.empty(shape, device="meta").stride())


def _chosen(parameters: dict[str, nn.Parameter], trainable: Trainable) -> set[str]:
    if trainable is None:
        chosen = {n for n, p in parameters.items() if p.requires_grad}
    elif callable(trainable):
        chosen = {n for n in parameters if trainable(n)}
    else:
        chosen = {n for n in parameters if any(fnmatchcase(n, t) for t in trainable)}
        if unused := [t for t in trainable if not any(fnmatchcase(n, t) for n in parameters)]:
            raise InvalidInput(f"trainable: {unused[0]!r} matches none of {', '.join(parameters)}")
    if not chosen:
        raise InvalidInput(f"model: nothing is trainable among {', '.join(parameters) or 'no parameters'}")
    return chosen


def _attributes(module: nn.Module) -> dict[str, Any]:
    out = {}
    for path, child in module.named_modules():
        if type(child).__module__.startswith("torch.nn."):
            continue
        known = {"_parameters", "_buffers", "_modules", "training"}
        for name, value in vars(child).items():
            if name not in known and isinstance(value, int | float | str | Tensor | list | tuple | dict | set | None):
                out[f"{path}.{name}".lstrip(".")] = deepcopy(value)
    return out


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return type(a) is type(b) and a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num())
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    return bool(a == b)
