"""T19: a codec's bytes mean the same bits on every host, with NumPy and with torch.

``golden/codecs.json`` has bytes and the digest of what they decode to, as made on Linux x86-64 with AVX-512; wherever
these tests run they must come to it. Processors without wide vectors are had by switching NumPy's code for them off.
A codec whose bytes change on purpose: ``python -m tests.core.test_codec_hosts > tests/core/golden/codecs.json``.
"""

import json
import os
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hocket.plain
from hocket import wire
from hocket.keyed import generator, key
from hocket.policies import Codec
from hocket.schema import Schema, Segment, Vector
from hocket.strategy import registry
from tests.core import composition

assert hocket.plain  # it fills the registry
GOLDEN = Path(__file__).parent / "golden" / "codecs.json"
SCHEMA = Schema((Segment("w", (7, 11)), Segment("b", (5,))))
LARGE = Schema((Segment("w", (40, 23)), Segment("b", (37,))))
CODECS: dict[str, Codec] = {
    composition.name(v): v for tag in sorted(registry["codec"]) for v in composition.variants(registry["codec"][tag])
}
HOSTS = {  # what NumPy and its linear algebra are told not to find
    "no AVX": {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL", "OPENBLAS_CORETYPE": "Prescott"},
    "no AVX-512, two threads": {
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL", "OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "2",
    },
}  # fmt: skip


def vector(schema: Schema, i: int) -> Vector:
    """Noise of one of nine scales."""
    noise: Vector = (generator(key(19, i)).standard_normal(schema.size) * 10.0 ** (i % 9 - 4)).astype(np.float32)
    return noise


def digests(count: int) -> dict[str, list[str]]:
    """Of the bytes that each codec makes of so many vectors, and of what those decode to."""
    found = {}
    for name, codec in CODECS.items():
        sent, read = blake2b(digest_size=16), blake2b(digest_size=16)
        for i in range(count):
            data = wire.encode(codec, vector(LARGE, i), LARGE, key(i))
            sent.update(data)
            read.update(wire.decode(codec, data, LARGE).tobytes())
        found[name] = [sent.hexdigest(), read.hexdigest()]
    return found


def elsewhere(count: int, host: dict[str, str]) -> dict[str, list[str]]:
    """The same in a process that has less of a processor; NumPy warns of features that are not there to be disabled."""
    code = f"import json; from tests.core.test_codec_hosts import digests; print(json.dumps(digests({count})))"
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, env={**os.environ, **host}, capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def golden() -> dict[str, dict[str, Any]]:
    """Three vectors per codec."""
    found = {}
    for name, codec in CODECS.items():
        sent = [wire.encode(codec, vector(SCHEMA, i), SCHEMA, key(i)) for i in range(3)]
        found[name] = {"sent": [s.hex() for s in sent], "decoded": [_decoded(codec, s) for s in sent]}
    return found


def _decoded(codec: Codec, data: bytes) -> str:
    return blake2b(wire.decode(codec, data, SCHEMA).tobytes(), digest_size=8).hexdigest()


@pytest.mark.parametrize("name", CODECS)
def test_t19_bytes_decode_to_the_bits_that_they_did_elsewhere(name: str) -> None:
    said = json.loads(GOLDEN.read_text())[name]
    assert [_decoded(CODECS[name], bytes.fromhex(sent)) for sent in said["sent"]] == said["decoded"]


@pytest.mark.parametrize("host", HOSTS)
def test_t19_a_lesser_processor_makes_and_reads_the_same_bytes(host: str) -> None:
    assert elsewhere(20, HOSTS[host]) == digests(20)


@pytest.mark.soak
@pytest.mark.parametrize("host", HOSTS)
def test_t19_ten_thousand_vectors(host: str) -> None:
    assert elsewhere(10_000, HOSTS[host]) == digests(10_000)


@pytest.mark.parametrize("name", CODECS)
def test_t19_a_tensor_of_torch_is_encoded_like_an_array(name: str) -> None:
    torch = pytest.importorskip("torch")
    codec = CODECS[name]
    places = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for i in range(9):
        x = vector(LARGE, i)
        want = wire.encode(codec, x, LARGE, key(i))
        for place in places:
            assert wire.encode(codec, torch.tensor(x, device=place).cpu(), LARGE, key(i)) == want


if __name__ == "__main__":
    print(json.dumps(golden(), indent=1, sort_keys=True))
