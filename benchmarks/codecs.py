"""Speed of the codecs on one core: ``python -m benchmarks.codecs`` (``OMP_NUM_THREADS=1``).

Ten million float32 values (normal, a 2,500 x 4,000 matrix), body only, against copying them (into memory in use, and
into new memory). Every round times the copies and the codec one after the other; medians of the rounds. Where FedLab is
installed its compressors are timed beside ours: they leave their codes in int32 and int64 tensors, no bytes are packed.
"""

import argparse
import importlib
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hocket import wire
from hocket.codec import (
    ECUQ,
    EDEN,
    LFL,
    QSGD,
    BFloat16,
    Float16,
    Float32,
    MinMax,
    PowerSGD,
    RandK,
    Sign,
    Ternary,
    TopK,
    Zstd,
    stc,
)  # fmt: skip
from hocket.errors import InvalidInput
from hocket.keyed import generator
from hocket.policies import Codec
from hocket.schema import Schema, Segment

DOCS = Path(__file__).parent.parent / "docs" / "benchmarks"
SHAPE = (2500, 4000)
CODECS: dict[str, Codec] = {
    "float32": Float32(), "float16": Float16(), "bfloat16": BFloat16(), "QSGD 4 bits, bucket 128": QSGD(),
    "QSGD 8 bits, bucket 128": QSGD(8), "QSGD 4 bits, one norm": QSGD(bucket=None), "LFL 4 bits": LFL(),
    "min-max 4 bits": MinMax(), "ternary": Ternary(), "sign": Sign(), "EDEN 4 bits": EDEN(4), "EDEN 1 bit": EDEN(1),
    "ECUQ 2 bits": ECUQ(), "top-k 1%": TopK(0.01), "top-k 10%": TopK(0.1), "STC 1%": stc(0.01),
    "rand-k 10%": RandK(0.1), "PowerSGD rank 4": PowerSGD(4), "QSGD 4 bits, zstd": Zstd(QSGD()),
}  # fmt: skip
TARGETS = {"QSGD 4 bits, bucket 128": 20, "top-k 1%": 8, "EDEN 4 bits": 4, "EDEN 1 bit": 4}


def seconds(call: Callable[[], object]) -> float:
    """Of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def measure(codec: Codec, x: np.ndarray, schema: Schema, rounds: int) -> dict[str, Any]:
    """Seconds of encoding, decoding and copying, and the size."""
    body, room = codec.encode(x, schema, 1), np.empty_like(x)
    size, exact = codec.size(schema)
    assert len(body) == size if exact else len(body) <= size
    taken = [
        (
            seconds(lambda: np.copyto(room, x)),
            seconds(lambda: x.copy()),
            seconds(lambda: codec.encode(x, schema, 1)),
            seconds(lambda: codec.decode(body, schema)),
        )
        for _ in range(rounds)
    ]
    copy, fresh, encode, decode = (statistics.median(t) for t in zip(*taken, strict=True))
    return {"bytes": len(body), "exact": exact, "copy": copy, "fresh": fresh, "encode": encode, "decode": decode}


def peers(x: np.ndarray, rounds: int) -> dict[str, dict[str, float]]:
    """FedLab's QSGD and top-k, where it is installed."""
    try:
        quantization = importlib.import_module("fedlab.contrib.compressor.quantization")
        topk = importlib.import_module("fedlab.contrib.compressor.topk")
        torch = importlib.import_module("torch")
    except ImportError:
        return {}
    t = torch.from_numpy(x)
    qsgd, top = quantization.QSGDCompressor(3), topk.TopkCompressor(0.01)
    coded, kept = qsgd.compress(t), top.compress(t)
    timed = {
        "FedLab QSGD": (lambda: qsgd.compress(t), lambda: qsgd.decompress(coded)),
        "FedLab top-k 1%": (lambda: top.compress(t), lambda: top.decompress(*kept, t.shape)),
    }
    return {
        name: {
            "encode": statistics.median(seconds(e) for _ in range(rounds)),
            "decode": statistics.median(seconds(d) for _ in range(rounds)),
        }
        for name, (e, d) in timed.items()
    }


def refusals(codec: Codec, count: int) -> float:
    """Seconds per malformed message of a model of 10,000 values: a byte flipped, or cut."""
    schema = Schema((Segment("w", (100, 100)),))
    good = wire.encode(codec, generator(1).standard_normal(10_000).astype(np.float32), schema, 1)
    rng, cases = generator(2), []
    for i in range(count):
        bad = bytearray(good)
        bad[int(rng.integers(len(bad)))] ^= 1 + int(rng.integers(255))
        cases.append(bytes(bad) if i % 3 else bytes(bad[: int(rng.integers(len(bad)))]))
    began = time.perf_counter()
    for bad in cases:
        try:
            wire.decode(codec, bad, schema)
        except InvalidInput:
            continue
        raise AssertionError("a malformed message was taken")
    return (time.perf_counter() - began) / count


def main() -> None:
    """Measure, print, and write docs/benchmarks/codecs.json and codecs.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    a = parser.parse_args()
    schema = Schema((Segment("w", SHAPE),))
    x = generator(0).standard_normal(schema.size).astype(np.float32)
    found, lines = {}, []
    for name, codec in CODECS.items():
        r = found[name] = {**measure(codec, x, schema, a.rounds), "refusal": refusals(codec, 300)}
        rate = {k: x.nbytes / r[k] / 1e9 for k in ("encode", "decode", "copy", "fresh")}
        target = f"{TARGETS[name]}%" if name in TARGETS else ""
        lines.append(
            f"| {name} | {r['bytes']:,}{'' if r['exact'] else ' at most ' + format(codec.size(schema)[0], ',')} | "
            f"{rate['encode']:.2f} | {rate['decode']:.2f} | {rate['encode'] / rate['copy']:.1%} | "
            f"{rate['decode'] / rate['copy']:.1%} | {target} | {rate['encode'] / rate['fresh']:.0%} | "
            f"{rate['decode'] / rate['fresh']:.0%} | {r['refusal'] * 1e6:.0f} |"
        )
        print(lines[-1], flush=True)
    for name, timed in peers(x, a.rounds).items():
        found[name] = timed
        rates = " | ".join(f"{x.nbytes / timed[way] / 1e9:.2f}" for way in ("encode", "decode"))
        lines.append(f"| {name} |  | {rates} | | | | | | |")
        print(lines[-1], flush=True)
    copy, fresh = (statistics.median(r[k] for r in found.values() if k in r) for k in ("copy", "fresh"))
    DOCS.mkdir(parents=True, exist_ok=True)
    (DOCS / "codecs.json").write_text(json.dumps(found, indent=1) + "\n")
    (DOCS / "codecs.md").write_text(
        PAGE.format(table="\n".join(lines), copy=x.nbytes / copy / 1e9, fresh=x.nbytes / fresh / 1e9)
    )


PAGE = """# Speed of the codecs

`OMP_NUM_THREADS=1 python -m benchmarks.codecs` wrote this page and `codecs.json`: ten million float32 values, one core,
medians. In GB of float32 per second, and as a share of copying the values into memory that is in use ({copy:.1f} GB/s
here) and into new memory ({fresh:.1f} GB/s), which is what a decoder has to do. The last column is what it takes to
refuse a malformed message of 10,000 values, in microseconds.

| codec | bytes | encode | decode | encode / copy | decode / copy | target | encode / new | decode / new | refuse |
|---|---|---|---|---|---|---|---|---|---|
{table}
"""

if __name__ == "__main__":
    main()
