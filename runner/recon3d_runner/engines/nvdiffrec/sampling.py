"""S and its transpose: look-ups into a mip-mapped texture (trilinear), and their values handed back to its texels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numba import njit

from recon3d_runner.bands import in_bands
from recon3d_runner.raster.shading import halve
from recon3d_runner.types import F32


@njit(cache=True, nogil=True)
def _footprint(u: float, v: float, level: int, side: int) -> tuple[int, int, int, int, float, float]:
    """Columns and rows of the four texels of a level around (u, v) in texels of level 0, and the second ones' share."""
    scale = np.float32(1.0 / (1 << level))
    x, y = u * scale - np.float32(0.5), v * scale - np.float32(0.5)
    i, j = int(np.floor(x)), int(np.floor(y))
    return (
        min(max(i, 0), side - 1),
        min(max(i + 1, 0), side - 1),
        min(max(j, 0), side - 1),
        min(max(j + 1, 0), side - 1),
        x - i,
        y - j,
    )


@njit(cache=True, nogil=True)
def residual(
    place: F32, colour: F32, weight: F32, target: bool, levels: tuple[F32, ...], sums: tuple[F32, ...]
) -> float:
    """Add S' W (C - S T) with `target`, else S' W S T, per mip level to `sums`; returns the weighted sum of squares.

    place: (N, 3), colour C: (N, 3), the diagonal `weight` W: (N,), see texture.Samples; levels: the texture's T.
    """
    top = len(levels) - 1
    total = 0.0
    value = np.empty(3, np.float32)
    for k in range(place.shape[0]):
        u, v = place[k, 0], place[k, 1]
        level = min(place[k, 2], np.float32(top))
        low = int(level)
        part = np.float32(level - low)
        value[:] = 0.0
        for s in range(1 if part == 0.0 else 2):
            w = 1 - part if s == 0 else part
            texture = levels[low + s]
            i0, i1, j0, j1, fx, fy = _footprint(u, v, low + s, texture.shape[0])
            for q in range(3):
                value[q] += w * (
                    (1 - fy) * ((1 - fx) * texture[j0, i0, q] + fx * texture[j0, i1, q])
                    + fy * ((1 - fx) * texture[j1, i0, q] + fx * texture[j1, i1, q])
                )
        for q in range(3):
            if target:
                value[q] = colour[k, q] - value[q]
            total += weight[k] * value[q] * value[q]
            value[q] *= weight[k]
        for s in range(1 if part == 0.0 else 2):
            w = 1 - part if s == 0 else part
            texture = sums[low + s]
            i0, i1, j0, j1, fx, fy = _footprint(u, v, low + s, texture.shape[0])
            for q in range(3):
                given = w * value[q]
                texture[j0, i0, q] += given * (1 - fy) * (1 - fx)
                texture[j0, i1, q] += given * (1 - fy) * fx
                texture[j1, i0, q] += given * fy * (1 - fx)
                texture[j1, i1, q] += given * fy * fx
    return total


def pyramid(texture: F32, depth: int) -> tuple[F32, ...]:
    """`depth` levels, each the means of 2 x 2 texels of the one before."""
    levels = [texture]
    while len(levels) < depth:
        side = levels[-1].shape[0] // 2
        levels.append(np.empty((side, side, 3), np.float32))
        halve(levels[-2], levels[-1])
    return tuple(levels)


def pyramid_transpose(levels: Sequence[F32], others: Sequence[F32]) -> F32:
    """Transpose of `pyramid`: hand every coarse texel's sum down to its four children; consumes `levels`.

    Both are added up on the way.
    """
    levels[-1][:] += others[-1]
    for fine, other, coarse in zip(levels[-2::-1], others[-2::-1], levels[:0:-1], strict=True):
        in_bands(partial(_hand_down, fine, other, coarse), len(coarse))
    return levels[0]


@njit(cache=True, nogil=True)
def _hand_down(fine: F32, other: F32, coarse: F32, first: int, last: int) -> None:
    """Add `other`, and a quarter of each of the rows [first, last) of `coarse`, to `fine`."""
    for j in range(2 * first, 2 * last):
        for i in range(fine.shape[1]):
            for q in range(3):
                fine[j, i, q] += other[j, i, q] + np.float32(0.25) * coarse[j // 2, i // 2, q]
