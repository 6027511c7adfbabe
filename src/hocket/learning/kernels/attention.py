"""Scaled dot-product attention under ``torch.func.vmap``, where torch's own CPU operation has no batching rule."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_aten: Any = torch.ops.aten


class Attention(TorchFunctionMode):
    """As a context, computes attention in the products and the softmax that it is made of, in this thread alone."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        """What ``func`` is to return; torch asks for every function that is called in the context."""
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        if func is F.multi_head_attention_forward:  # with weights it makes the products itself
            wanted = kwargs.get("need_weights", True)
            out, weights = func(*args, **{**kwargs, "need_weights": True})
            return out, weights if wanted else None
        return func(*args, **kwargs)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    of = _aten._scaled_dot_product_attention_math
    out, _ = of(query, key, value, attn_mask, dropout_p, is_causal, None, scale=scale, enable_gqa=enable_gqa)
    found: Tensor = out
    return found
