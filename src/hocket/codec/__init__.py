"""Tensors to bytes and back: the only place that touches bits."""

from hocket.codec.float32 import Float32

__all__ = ["Float32"]
