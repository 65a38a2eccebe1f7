"""Undo the rounding of coarse depth codes: the smoothest surface inside every pixel's rounding interval.

Minimises the squared second differences along rows and columns subject to |g - code| <= 1/2 by accelerated
projected gradient (Beck & Teboulle 2009, FISTA), coarse to fine. Second differences never cross the
silhouette or a depth edge, so creases at occlusions stay.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recon3d_runner.crop import around
from recon3d_runner.types import F32, Bool


@njit(cache=True, nogil=True)
def _pairs(inside: Bool) -> tuple[F32, F32]:
    """1 where a pixel and its right (lower) neighbour are both inside, else 0; the last column (row) is 0."""
    across, down = np.zeros(inside.shape, np.float32), np.zeros(inside.shape, np.float32)
    for j in range(inside.shape[0]):
        for i in range(inside.shape[1]):
            if inside[j, i]:
                if i + 1 < inside.shape[1] and inside[j, i + 1]:
                    across[j, i] = 1.0
                if j + 1 < inside.shape[0] and inside[j + 1, i]:
                    down[j, i] = 1.0
    return across, down


@njit(cache=True, nogil=True)
def _bend(before: F32, here: F32, after: F32, first: F32, second: F32, jump: float, out: F32) -> None:
    """Second differences of three neighbouring rows, 0 across a jump; first, second: whether pairs of them count.

    Plain loops without branches in single precision, which the compiler turns into vector instructions. Differences
    of neighbours are exact, so that single precision loses nothing.
    """
    nothing = np.float32(0)
    for i in range(out.shape[0]):
        low, high = here[i] - before[i], after[i] - here[i]
        keep = (first[i] if abs(low) < jump else nothing) * (second[i] if abs(high) < jump else nothing)
        out[i] = (high - low) * keep


@njit(cache=True, nogil=True)
def _gradient(bend: F32, above: F32, middle: F32, below: F32, out: F32) -> None:
    """Of half the sum of squared second differences, for a row: of its own, and of the columns at it and beside it."""
    left, centre, right = bend[:-2], bend[1:-1], bend[2:]
    for i in range(out.shape[0]):
        along, across = centre[i] + centre[i], middle[i] + middle[i]
        out[i] = (left[i] + right[i] - along) + (above[i] + below[i] - across)


@njit(cache=True, nogil=True)
def _descend(x: F32, y: F32, gradient: F32, low: F32, high: F32, step: float, momentum: float) -> None:
    """One row's step against the gradient, into its interval."""
    for i in range(x.shape[0]):
        v = min(max(y[i] - step * gradient[i], low[i]), high[i])
        y[i] = v + momentum * (v - x[i])
        x[i] = v


@njit(cache=True, nogil=True)
def _solve(start: F32, code: F32, half: F32, inside: Bool, jump: float, iterations: int, x: F32) -> None:
    """FISTA from `start` into `x`; `half` is each pixel's half interval. What is not inside stays at its start."""
    n, m = x.shape
    across, down = _pairs(inside)
    low, high = np.empty_like(x), np.empty_like(x)
    for j in range(n):
        for i in range(m):
            low[j, i] = code[j, i] - half[j, i] if inside[j, i] else start[j, i]
            high[j, i] = code[j, i] + half[j, i] if inside[j, i] else start[j, i]
    x[:] = start
    y = start.copy()
    # Second differences down the columns, with an empty row more on either side; of one row, with two columns more.
    columns, row = np.zeros((n + 2, m), np.float32), np.zeros(m + 2, np.float32)
    gradient = np.empty(m, np.float32)
    step, limit = np.float32(1.0 / 32.0), np.float32(jump)  # The operator's norm: 16 per direction.
    t = 1.0
    for _ in range(iterations):
        for j in range(1, n - 1):
            _bend(y[j - 1], y[j], y[j + 1], down[j - 1], down[j], limit, columns[j + 1])
        t_next = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * t * t))
        momentum = np.float32((t - 1.0) / t_next)
        t = t_next
        for j in range(n):
            line, pairs = y[j], across[j]
            _bend(line[:-2], line[1:-1], line[2:], pairs[:-2], pairs[1:-1], limit, row[2:-2])
            _gradient(row, columns[j], columns[j + 1], columns[j + 2], gradient)
            _descend(x[j], y[j], gradient, low[j], high[j], step, momentum)


def _coarser(code: F32, half: F32, inside: Bool) -> tuple[F32, F32, Bool]:
    """Half the resolution: block means; a coarse interval is as wide as its block's spread plus rounding."""
    n, m = code.shape[0] // 2, code.shape[1] // 2
    blocks = code.reshape(n, 2, m, 2)
    keep = inside.reshape(n, 2, m, 2)
    full: Bool = np.asarray(keep.all((1, 3)))
    mean = blocks.mean((1, 3))
    return mean.astype(np.float32), half.reshape(n, 2, m, 2).mean((1, 3)).astype(np.float32), full


def dequantize(code: F32, inside: Bool, jump: float, iterations: int = 120, levels: int = 3) -> F32:
    """Smooth depth codes within +-1/2.

    code: (h, h) depth codes; inside: (h, h) object pixels; jump: a larger step between neighbours is a depth
    edge. Returns (h, h) float32 codes with fractions; pixels outside keep their code.
    """
    out: F32 = np.array(code, np.float32)
    coarsest = 1
    while coarsest < 1 << (levels - 1) and len(code) % (2 * coarsest) == 0:
        coarsest *= 2
    place = around(inside, coarsest, coarsest)
    code, inside = np.ascontiguousarray(out[place]), np.ascontiguousarray(inside[place])
    pyramid = [(code, np.full_like(code, 0.5), inside)]
    while coarsest > 1:
        pyramid.append(_coarser(*pyramid[-1]))
        coarsest //= 2
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
    out[place] = np.where(inside, x, code)
    return out


def _upsample(x: F32, keep: Bool) -> F32:
    """Bilinear x2 where all four coarse neighbours are inside, else NaN."""
    n, m = x.shape
    padded = np.pad(np.where(keep, x, np.nan), 1, mode="edge")
    out = np.empty((2 * n, 2 * m), np.float32)
    c = padded[1:-1, 1:-1]
    for dj in (0, 1):
        for di in (0, 1):
            rows, columns = slice(2 * dj, n + 2 * dj), slice(2 * di, m + 2 * di)
            vertical, horizontal, diagonal = padded[rows, 1:-1], padded[1:-1, columns], padded[rows, columns]
            out[dj::2, di::2] = 0.5625 * c + 0.1875 * (vertical + horizontal) + 0.0625 * diagonal
    return out


def noise_of(code: F32, inside: Bool, jump: float) -> float:
    """Standard deviation of the noise of (h, h) codes, from the median of their second differences within surfaces.

    Rounding of codes makes them -1, 0 or 1 and counts as .6 at most.
    """
    found = []
    for c, keep in ((code, inside), (code.T, inside.T)):
        steps = np.diff(c, axis=1)
        near = np.abs(steps) < jump
        held = keep[:, 2:] & keep[:, 1:-1] & keep[:, :-2] & near[:, 1:] & near[:, :-1]
        found.append(np.abs(np.diff(steps, axis=1))[held])
    bend = np.concatenate(found)
    return float(np.median(bend)) / (0.6745 * float(np.sqrt(6))) if len(bend) else 0.0
