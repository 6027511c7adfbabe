"""The steps of one client in compiled loops: a chain of linear layers whose first one moves once in many steps.

For a few samples per step the products are too small for a library to be worth its calls. Notation and equations are
those of :mod:`hocket.learning.kernels.layers.delayed`. Rows are padded to multiples of ``PAD`` zeros, so that no loop
has a remainder.
"""

from functools import partial
from typing import Any

import numpy as np

from hocket.compiled import compiled
from hocket.learning.kernels.compiled import RELU, SIGMOID, TANH

PAD = 16
_compiled: Any = partial(compiled, fastmath={"contract", "reassoc", "nsz", "arcp"})
_ZERO, _ONE = np.float32(0), np.float32(1)


@_compiled("int64(int64)")
def padded(n):
    """A number rounded up to a multiple of ``PAD``."""
    return (n + PAD - 1) // PAD * PAD


@_compiled()
def _add4(z, r, n, a0, a1, a2, a3, x, q0, q1, q2, q3):
    """z[r] += a0 x[q0] + a1 x[q1] + a2 x[q2] + a3 x[q3]"""
    for i in range(n):
        z[r, i] += a0 * x[q0, i] + a1 * x[q1, i] + a2 * x[q2, i] + a3 * x[q3, i]


@_compiled()
def _dot4(h, r, n, w, j):
    """h[r] times w[j], w[j + 1], w[j + 2] and w[j + 3]"""
    a0 = a1 = a2 = a3 = _ZERO
    for i in range(n):
        v = h[r, i]
        a0 += v * w[j, i]
        a1 += v * w[j + 1, i]
        a2 += v * w[j + 2, i]
        a3 += v * w[j + 3, i]
    return a0, a1, a2, a3


@_compiled()
def _exp(x, r, n, bits):
    """x[r] = exp(x[r]) by a polynomial of Cephes, for numbers up to 88; ``bits``: int32[n] to work with"""
    powers = bits.view(np.float32)
    for i in range(n):
        v = min(max(x[r, i], np.float32(-87)), np.float32(88))
        k = np.floor(v * np.float32(1.44269504) + np.float32(0.5))
        f = v - k * np.float32(0.693359375)
        f = f + k * np.float32(2.12194440e-4)
        p = np.float32(1.9875691500e-4)
        p = p * f + np.float32(1.3981999507e-3)
        p = p * f + np.float32(8.3334519073e-3)
        p = p * f + np.float32(4.1665795894e-2)
        p = p * f + np.float32(1.6666665459e-1)
        p = p * f + np.float32(5.0000001201e-1)
        x[r, i] = p * f * f + f + _ONE
        bits[i] = (np.int32(k) + np.int32(127)) << np.int32(23)
    for i in range(n):
        x[r, i] = x[r, i] * powers[i]


@_compiled()
def _activate(z, r, units, kind, bits):
    """The activation of row r, whose padding stays zero"""
    n = padded(units)
    if kind == RELU:
        for i in range(n):
            z[r, i] = max(z[r, i], _ZERO)
    elif kind == TANH:
        for i in range(n):
            z[r, i] = np.float32(2) * min(max(z[r, i], np.float32(-10)), np.float32(10))
        _exp(z, r, n, bits)
        for i in range(n):
            z[r, i] = _ONE - np.float32(2) / (z[r, i] + _ONE)
    elif kind == SIGMOID:
        for i in range(n):
            z[r, i] = -z[r, i]
        _exp(z, r, n, bits)
        for i in range(units):
            z[r, i] = _ONE / (z[r, i] + _ONE)
        for i in range(units, n):
            z[r, i] = _ZERO


@_compiled()
def _activate_back(d, z, r, n, kind):
    """d[r] times the derivative where the outcome is z[r]"""
    if kind == RELU:
        for i in range(n):
            if z[r, i] <= 0:
                d[r, i] = _ZERO
    elif kind == TANH:
        for i in range(n):
            d[r, i] *= _ONE - z[r, i] * z[r, i]
    elif kind == SIGMOID:
        for i in range(n):
            d[r, i] *= z[r, i] * (_ONE - z[r, i])


@_compiled()
def _cross_entropy(z, g, r, n, label, scale, bits):
    """The loss of row r, and its gradient times ``scale`` in g[r]"""
    most = z[r, 0]
    for i in range(n):
        most = max(most, z[r, i])
    for i in range(n):
        g[r, i] = z[r, i] - most
    _exp(g, r, n, bits)
    total, odd = _ZERO, _ZERO
    for i in range(n):
        total += g[r, i]
        odd += z[r, i] - z[r, i]  # not a number if one of them is none
    each = scale / total
    for i in range(n):
        g[r, i] *= each
    g[r, label] -= scale
    return np.log(total) + most - z[r, label] + odd


@_compiled()
def _back(w, below, above, under, n, m, live, kind):
    """Gradients below a layer, and a step of its weights."""
    for r in range(live):
        for i in range(n):
            under[r, i] = _ZERO
        for j in range(0, m, 4):
            _add4(
                under, r, n, above[r, j], above[r, j + 1], above[r, j + 2], above[r, j + 3], w, j, j + 1, j + 2, j + 3
            )
        _activate_back(under, below, r, n, kind)
    for j in range(m):
        for r in range(0, live - 3, 4):
            _add4(
                w, j, n, -above[r, j], -above[r + 1, j], -above[r + 2, j], -above[r + 3, j],
                below, r, r + 1, r + 2, r + 3,
            )  # fmt: skip
        for r in range(live // 4 * 4, live):
            a = above[r, j]
            for i in range(n):
                w[j, i] -= a * below[r, i]


@_compiled()
def _copy_weights(x, layers, weights, out):
    """Weights of all layers but the first, from x to rows that are padded, or back."""
    at = 0
    for k in range(1, len(layers)):
        n, m, place = layers[k - 1, 0], layers[k, 0], layers[k, 2]
        wide = padded(n)
        for j in range(m):
            for i in range(n):
                if out:
                    weights[at + j * wide + i] = x[place + j * n + i]
                else:
                    x[place + j * n + i] = weights[at + j * wide + i]
        at += wide * padded(m)


@compiled("u8(u8)")
def _mix(x):
    """:func:`hocket.keyed.mix`"""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@compiled("void(u8, u8, i8, i8, i8, i8, f4, i8[:,::1], f4[:,::1])")
def draw(seed, order, size, batch, lap, updates, rate, rows, scale):
    """The steps of a job, as :func:`hocket.learning.order.segments` gives them.

    Args:
        seed: of the job.
        order: ``hocket.learning.order.ORDER``.
        size: samples that the client holds, below 2**32.
        batch: batch size.
        lap: steps of a pass, the last of which may be short; 0 if one pass goes over into the next.
        updates: steps of the job.
        rate: what a step counts for.
        rows: where the positions of samples go, int64[steps, width]; steps after the last update repeat it.
        scale: where ``rate`` / (samples in the batch) goes, 0 for padding, float32[steps, width].
    """
    full, low = min(batch, size), np.uint64(0xFFFFFFFF)
    base, now, keyed = _mix(seed ^ order), -1, np.empty(size, np.uint64)
    for s in range(len(rows)):
        step = min(s, updates - 1)
        at = step // lap * size + step % lap * full if lap else step * full
        count = min(full, size - at % size) if lap else full
        for i in range(count):
            if (at + i) // size != now:
                now = (at + i) // size
                key = _mix(base ^ np.uint64(now))
                for p in range(size):
                    keyed[p] = (_mix(key ^ np.uint64(p)) & ~low) | np.uint64(p)  # ties in the order of places
                keyed.sort()
            rows[s, i] = np.int64(keyed[(at + i) % size] & low)
        each = rate * (_ONE / np.float32(count)) if s < updates else _ZERO
        scale[s, :count], scale[s, count:] = each, _ZERO
        rows[s, count:] = rows[s, count - 1]


@_compiled(
    "void(f4[:,::1], f4[:,::1], f4, i8[:,::1], f4[:,::1], i8[::1], f4[::1], i8[:,::1], f4[:,::1], f4[:,::1])",
)
def descend(z0, gram, one, rows, scale, labels, x, layers, moved, losses):
    """All steps of a client.

    Args:
        z0: what the first layer gives for each sample before the steps, float32[samples, units].
        gram: inner products of the samples.
        one: 1 if the first layer has a bias, else 0.
        rows: samples in each step, int64[steps, width].
        scale: what each counts for, rate included; 0 for padding, float32[steps, width].
        labels: classes of the samples, int64[samples].
        x: parameters, float32[size]; all but the weights of the first layer are moved.
        layers: units, activation, place of weights and place of bias (-1: none) of each layer, int64[layers, 4].
        moved: -D' float32[units of the first layer, samples]: times the samples it is what the first weights change by.
        losses: of each row, float32[steps, width].
    """
    steps, width = rows.shape
    samples, depth = z0.shape[0], len(layers)
    widest, total = 0, 0
    for k in range(depth):
        widest = max(widest, padded(layers[k, 0]))
        if k:
            total += padded(layers[k - 1, 0]) * padded(layers[k, 0])
    h = np.zeros((depth, width, widest), np.float32)
    g = np.zeros((2, width, widest), np.float32)
    bits = np.empty(widest, np.int32)
    first, n0 = layers[0, 0], padded(layers[0, 0])
    d = np.zeros((samples, n0), np.float32)
    weights = np.zeros(total, np.float32)
    _copy_weights(x, layers, weights, True)
    seen = np.zeros(samples, np.bool_)
    touched = np.zeros(samples + 4, np.int64)
    c = np.zeros(samples + 4, np.float32)
    count = 0
    for s in range(steps):
        live = 0
        for r in range(width):
            if scale[s, r] != 0:
                live = r + 1
        for r in range(live):
            p, z = rows[s, r], h[0]
            for i in range(first):
                z[r, i] = z0[p, i]
            for i in range(first, n0):
                z[r, i] = _ZERO
            for t in range(count):
                c[t] = -(gram[p, touched[t]] + one)
            for t in range(count, count + 4):
                c[t], touched[t] = _ZERO, 0
            for t in range(0, count, 4):
                _add4(
                    z, r, n0, c[t], c[t + 1], c[t + 2], c[t + 3],
                    d, touched[t], touched[t + 1], touched[t + 2], touched[t + 3],
                )  # fmt: skip
            _activate(z, r, first, layers[0, 1], bits)
        at = 0
        for k in range(1, depth):
            n, m = padded(layers[k - 1, 0]), padded(layers[k, 0])
            w, below, z, bias = weights[at : at + n * m].reshape(m, n), h[k - 1], h[k], layers[k, 3]
            at += n * m
            for r in range(live):
                for j in range(0, m, 4):
                    z[r, j], z[r, j + 1], z[r, j + 2], z[r, j + 3] = _dot4(below, r, n, w, j)
                if bias >= 0:
                    for j in range(layers[k, 0]):
                        z[r, j] += x[bias + j]
                _activate(z, r, layers[k, 0], layers[k, 1], bits)
        for r in range(live):
            top, classes = g[(depth - 1) & 1], layers[depth - 1, 0]
            losses[s, r] = _cross_entropy(h[depth - 1], top, r, classes, labels[rows[s, r]], scale[s, r], bits)
            for j in range(classes, padded(classes)):
                top[r, j] = _ZERO
        for k in range(depth - 1, 0, -1):
            n, m = padded(layers[k - 1, 0]), padded(layers[k, 0])
            at -= n * m
            w, below, above, under = weights[at : at + n * m].reshape(m, n), h[k - 1], g[k & 1], g[(k - 1) & 1]
            _back(w, below, above, under, n, m, live, layers[k - 1, 1])
            bias = layers[k, 3]
            if bias >= 0:
                for r in range(live):
                    for j in range(layers[k, 0]):
                        x[bias + j] -= above[r, j]
        for r in range(live):
            p, under = rows[s, r], g[0]
            if not seen[p]:
                seen[p], touched[count] = True, p
                count += 1
            for j in range(n0):
                d[p, j] += under[r, j]
    _copy_weights(x, layers, weights, False)
    bias = layers[0, 3]
    for p in range(samples):
        for j in range(first):
            moved[j, p] = -d[p, j]
        if bias >= 0:
            for j in range(first):
                x[bias + j] -= d[p, j]
