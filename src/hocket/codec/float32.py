"""Full precision: little-endian float32 values, lossless."""

from typing import Any, ClassVar

import numpy as np
from msgspec import Struct

from hocket.codec.body import exactly
from hocket.schema import Schema, Vector
from hocket.strategy import policy


@policy("codec")
class Float32(Struct, frozen=True, tag="float32", tag_field="kind", forbid_unknown_fields=True):
    """Values as they are.

    >>> import numpy as np
    >>> from hocket.schema import Schema, Segment
    >>> schema = Schema((Segment("w", (3,)),))
    >>> len(Float32().encode(np.ones(3, np.float32), schema, 0)) == Float32().size(schema)[0] == 12
    True
    """

    id: ClassVar[int] = 0
    lossless: ClassVar[bool] = True
    unbiased: ClassVar[bool] = True
    merges: ClassVar[bool] = True

    def size(self, schema: Schema) -> tuple[int, bool]:
        return schema.nbytes, True

    def distortion(self, schema: Schema) -> float:
        return 0.0

    def encode(self, x: Vector, schema: Schema, key: int) -> bytes:
        return x.astype("<f4", copy=False).tobytes()

    def decode(self, body: Any, schema: Schema) -> Vector:
        exactly(self, body, schema)
        return np.frombuffer(body, "<f4").astype(np.float32, copy=False)
