"""Undo the rounding of coarse depth codes: the smoothest surface inside every pixel's rounding interval.

Minimises the squared second differences along rows and columns subject to |g - code| <= 1/2 by accelerated
projected gradient (Beck & Teboulle 2009, FISTA), coarse to fine. Second differences never cross the
silhouette or a depth edge, so creases at occlusions stay.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recon3d_runner.types import F32, Bool


@njit(cache=True, nogil=True)
def _gradient(g: F32, inside: Bool, jump: float, out: F32) -> None:
    """Gradient of half the sum of squared second differences, into `out`."""
    n, m = g.shape
    out[:] = 0.0
    for j in range(n):
        for i in range(1, m - 1):
            if inside[j, i - 1] and inside[j, i] and inside[j, i + 1]:
                a, b, c = g[j, i - 1], g[j, i], g[j, i + 1]
                if abs(b - a) < jump and abs(c - b) < jump:
                    d = a - 2 * b + c
                    out[j, i - 1] += d
                    out[j, i] -= 2 * d
                    out[j, i + 1] += d
    for j in range(1, n - 1):
        for i in range(m):
            if inside[j - 1, i] and inside[j, i] and inside[j + 1, i]:
                a, b, c = g[j - 1, i], g[j, i], g[j + 1, i]
                if abs(b - a) < jump and abs(c - b) < jump:
                    d = a - 2 * b + c
                    out[j - 1, i] += d
                    out[j, i] -= 2 * d
                    out[j + 1, i] += d


@njit(cache=True, nogil=True)
def _solve(start: F32, code: F32, half: F32, inside: Bool, jump: float, iterations: int, x: F32) -> None:
    """FISTA from `start` into `x`; `half` is each pixel's half interval."""
    x[:] = start
    y = start.copy()
    grad = np.zeros_like(x)
    step = np.float32(1.0 / 32.0)  # The operator's norm: 16 per direction.
    t = 1.0
    n, m = x.shape
    for _ in range(iterations):
        _gradient(y, inside, jump, grad)
        t_next = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * t * t))
        momentum = np.float32((t - 1.0) / t_next)
        t = t_next
        for j in range(n):
            for i in range(m):
                if inside[j, i]:
                    lo = code[j, i] - half[j, i]
                    hi = code[j, i] + half[j, i]
                    v = min(max(y[j, i] - step * grad[j, i], lo), hi)
                    y[j, i] = v + momentum * (v - x[j, i])
                    x[j, i] = v


def _coarser(code: F32, half: F32, inside: Bool) -> tuple[F32, F32, Bool]:
    """Half the resolution: block means; a coarse interval is as wide as its block's spread plus rounding."""
    n = code.shape[0] // 2
    blocks = code.reshape(n, 2, n, 2)
    keep = inside.reshape(n, 2, n, 2)
    full: Bool = np.asarray(keep.all((1, 3)))
    mean = blocks.mean((1, 3))
    return mean.astype(np.float32), half.reshape(n, 2, n, 2).mean((1, 3)).astype(np.float32), full


def dequantize(code: F32, inside: Bool, jump: float, iterations: int = 120, levels: int = 3) -> F32:
    """Smooth depth codes within +-1/2.

    code: (h, h) depth codes; inside: (h, h) object pixels; jump: a larger step between neighbours is a depth
    edge. Returns (h, h) float32 codes with fractions; pixels outside keep their code.
    """
    code = np.ascontiguousarray(code, np.float32)
    half = np.full_like(code, 0.5)
    pyramid = [(code, half, inside)]
    while len(pyramid) < levels and pyramid[-1][0].shape[0] % 2 == 0:
        pyramid.append(_coarser(*pyramid[-1]))
    x = pyramid[-1][0]
    for k in range(len(pyramid) - 1, -1, -1):
        c, h, keep = pyramid[k]
        if x.shape != c.shape:
            up = _upsample(x, pyramid[k + 1][2])
            x = np.where(np.isfinite(up), up, c).astype(np.float32)
            x = np.clip(x, c - h, c + h)
        solved = np.empty_like(c)
        _solve(x, c, h, keep, float(jump * 2**k), iterations, solved)
        x = solved
    return x


def _upsample(x: F32, keep: Bool) -> F32:
    """Bilinear x2 where all four coarse neighbours are inside, else NaN."""
    n = x.shape[0]
    padded = np.pad(np.where(keep, x, np.nan), 1, mode="edge")
    out = np.empty((2 * n, 2 * n), np.float32)
    c = padded[1:-1, 1:-1]
    for dj in (0, 1):
        for di in (0, 1):
            vertical = padded[(0 if dj == 0 else 2) : (n if dj == 0 else n + 2), 1:-1]
            horizontal = padded[1:-1, (0 if di == 0 else 2) : (n if di == 0 else n + 2)]
            diagonal = padded[
                (0 if dj == 0 else 2) : (n if dj == 0 else n + 2), (0 if di == 0 else 2) : (n if di == 0 else n + 2)
            ]
            out[dj::2, di::2] = 0.5625 * c + 0.1875 * (vertical + horizontal) + 0.0625 * diagonal
    return out
