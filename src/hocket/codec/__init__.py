"""Tensors to bytes and back: the only place that touches bits.

:data:`Coded` names every codec, for fields of policies that take one; a codec of one's own goes there as well.
"""

from hocket.codec.ecuq import ECUQ
from hocket.codec.eden import EDEN
from hocket.codec.float32 import Float32
from hocket.codec.glue import Glue
from hocket.codec.half import BFloat16, Float16
from hocket.codec.lfl import LFL
from hocket.codec.min_max import MinMax
from hocket.codec.power_sgd import PowerSGD
from hocket.codec.qsgd import QSGD
from hocket.codec.sparse import RandK, TopK, stc
from hocket.codec.ternary import Sign, Ternary
from hocket.codec.zstd import Single, Zstd

Coded = Single | Zstd

__all__ = [
    "ECUQ", "EDEN", "LFL", "QSGD", "BFloat16", "Coded", "Float16", "Float32", "Glue", "MinMax", "PowerSGD", "RandK",
    "Sign", "Ternary", "TopK", "Zstd", "stc",
]  # fmt: skip
