"""A model as a chain of layers, found in the module's traced graph and never by name."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from msgspec import Struct
from torch import Tensor, fx, nn

from hocket.learning.kernels.dropout import KeyedDropout, set_step

Shape = tuple[int, ...]


class Link(Struct, frozen=True, eq=False):
    """One layer: the prefix of its tensors' names, the module, and the shapes of one sample before and after."""

    prefix: str
    module: nn.Module
    before: Shape
    after: Shape


_ACTIVATIONS: dict[Any, Callable[[], nn.Module]] = {
    F.relu: nn.ReLU, torch.relu: nn.ReLU, "relu": nn.ReLU,
    F.tanh: nn.Tanh, torch.tanh: nn.Tanh, "tanh": nn.Tanh,
    F.sigmoid: nn.Sigmoid, torch.sigmoid: nn.Sigmoid, "sigmoid": nn.Sigmoid,
}  # fmt: skip
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_WITH_ARGUMENTS: dict[Any, Callable[..., nn.Module]] = {
    F.gelu: nn.GELU, F.silu: nn.SiLU, F.elu: nn.ELU, F.leaky_relu: nn.LeakyReLU, F.softplus: nn.Softplus,
    F.max_pool2d: nn.MaxPool2d, F.avg_pool2d: nn.AvgPool2d, F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    torch.flatten: nn.Flatten, "flatten": nn.Flatten,
}  # fmt: skip


def chain(module: nn.Module, sample: Tensor) -> list[Link] | None:
    """The layers in order, by the path of two samples [2, ...].

    None if the model is no chain, uses a layer or a tensor twice, or if a module does something else in training than
    others of its type: hooks, a forward pass or a mode of its own.
    """
    if not all(_usual(child) for child in module.modules()):
        return None
    tensors = len(dict(module.named_parameters())), len(dict(module.named_parameters(remove_duplicate=False)))
    if tensors[0] < tensors[1]:
        return None
    found = _traced(module) if list(module.children()) else [("", module)]
    if found is None:
        return None
    named = [name for name, child in found if child.state_dict()]
    if len(set(named)) < len(named):
        return None
    set_step([child for _, child in found if isinstance(child, KeyedDropout)], 0)
    links, x = [], sample
    held = {n: b.clone() for n, b in module.named_buffers()}
    with torch.no_grad():
        for name, child in found:
            y = child(x)
            if not isinstance(y, Tensor) or y.ndim < 2:
                return None
            links.append(Link(f"{name}." if name else "", child, tuple(x.shape[1:]), tuple(y.shape[1:])))
            x = y
        for n, b in module.named_buffers():
            b.copy_(held[n])
    return links


def _usual(module: nn.Module) -> bool:
    """Whether a call of a module in training is its type's forward pass and nothing else."""
    return module.training and not any(vars(module).get(name) for name in ("forward", *_HOOKS))


def _traced(module: nn.Module) -> list[tuple[str, nn.Module]] | None:
    try:
        graph = _Leaves().trace(module)
    except Exception:  # a forward pass that depends on values cannot be traced, in many ways
        return None
    modules = dict(module.named_modules())
    found: list[tuple[str, nn.Module]] = []
    for before, node in pairwise(graph.nodes):
        if node.op == "output":
            return found if node.args == (before,) else None
        if not node.args or node.args[0] is not before or len(before.users) != 1:
            return None
        if node.op == "call_module":
            found.append((str(node.target), modules[str(node.target)]))
            continue
        layer = _functional(node)
        if layer is None:
            return None
        found.append(("", layer))
    return None


class _Leaves(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, KeyedDropout) or super().is_leaf_module(m, module_qualified_name)


def _functional(node: fx.Node) -> nn.Module | None:
    rest, named = node.args[1:], {k: v for k, v in node.kwargs.items() if k != "inplace"}
    if node.target in _ACTIVATIONS and not rest and not named:
        return _ACTIVATIONS[node.target]()
    if node.target in _WITH_ARGUMENTS:
        try:
            return _WITH_ARGUMENTS[node.target](*rest, **named)
        except TypeError:
            return None
    return None
