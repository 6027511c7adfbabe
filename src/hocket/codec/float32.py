"""Full precision: a 16-byte header and little-endian float32 values, lossless.

Header: magic ``hk``, format version 1, codec 0, number of values (uint32), schema digest (8 bytes).
"""

from struct import Struct as Layout

import numpy as np
from msgspec import Struct

from hocket.errors import InvalidInput
from hocket.schema import Schema, Vector
from hocket.strategy import policy

HEADER = Layout("<2sBBI8s")


@policy("codec")
class Float32(Struct, frozen=True, tag="float32", tag_field="kind", forbid_unknown_fields=True):
    """Values as they are.

    >>> import numpy as np
    >>> from hocket.schema import Schema, Segment
    >>> schema = Schema((Segment("w", (3,)),))
    >>> len(Float32().encode(np.ones(3, np.float32), schema, 0)) == Float32().size(schema)[0] == 28
    True
    """

    @property
    def lossless(self) -> bool:
        return True

    def size(self, schema: Schema) -> tuple[int, bool]:
        return HEADER.size + schema.nbytes, True

    def encode(self, x: Vector, schema: Schema, key: int) -> bytes:
        """Bytes of float32[size].

        Raises:
            InvalidInput: ``x`` is not float32 of the schema's size.
        """
        if x.shape != (schema.size,) or x.dtype != np.float32:
            raise InvalidInput(f"float32 codec: got {x.dtype}{list(x.shape)}, not float32[{schema.size}]")
        head = HEADER.pack(b"hk", 1, 0, schema.size, bytes.fromhex(schema.digest))
        return head + x.astype("<f4", copy=False).tobytes()

    def decode(self, data: bytes, schema: Schema) -> Vector:
        """float32[size] from bytes.

        Raises:
            InvalidInput: wrong length, header or schema.
        """
        want = self.size(schema)[0]
        if len(data) != want:
            raise InvalidInput(f"float32 codec: {len(data)} bytes; this schema takes exactly {want}")
        magic, version, codec, count, digest = HEADER.unpack_from(data)
        if (magic, version, codec) != (b"hk", 1, 0):
            raise InvalidInput(f"float32 codec: header {data[:4].hex()} is not 686b0100")
        if count != schema.size or digest.hex() != schema.digest:
            raise InvalidInput(
                f"float32 codec: {count} values of schema {digest.hex()}; this task has {schema.size} of "
                f"{schema.digest}"
            )
        return np.frombuffer(data, "<f4", offset=HEADER.size).astype(np.float32, copy=False)
