"""S and its transpose: look-ups into a mip-mapped texture (trilinear), and their values handed back to its texels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

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
def apply(place: F32, levels: tuple[F32, ...], out: F32) -> None:
    """out = S T: (N, 3)."""
    top = len(levels) - 1
    for k in range(place.shape[0]):
        level = min(place[k, 2], np.float32(top))
        low = int(level)
        part = np.float32(level - low)
        for q in range(3):
            out[k, q] = 0.0
        for s in range(2):
            w = 1 - part if s == 0 else part
            m = min(low + s, top)
            if w == 0.0:
                continue
            texture = levels[m]
            i0, i1, j0, j1, fx, fy = _footprint(place[k, 0], place[k, 1], m, texture.shape[0])
            for q in range(3):
                out[k, q] += w * (
                    (1 - fy) * ((1 - fx) * texture[j0, i0, q] + fx * texture[j0, i1, q])
                    + fy * ((1 - fx) * texture[j1, i0, q] + fx * texture[j1, i1, q])
                )


@njit(cache=True, nogil=True)
def apply_transpose(place: F32, value: F32, levels: tuple[F32, ...]) -> None:
    """Add S' value, per mip level, to `levels`."""
    top = len(levels) - 1
    for k in range(place.shape[0]):
        level = min(place[k, 2], np.float32(top))
        low = int(level)
        part = np.float32(level - low)
        for s in range(2):
            w = 1 - part if s == 0 else part
            m = min(low + s, top)
            if w == 0.0:
                continue
            texture = levels[m]
            i0, i1, j0, j1, fx, fy = _footprint(place[k, 0], place[k, 1], m, texture.shape[0])
            for q in range(3):
                v = w * value[k, q]
                texture[j0, i0, q] += v * (1 - fy) * (1 - fx)
                texture[j0, i1, q] += v * (1 - fy) * fx
                texture[j1, i0, q] += v * fy * (1 - fx)
                texture[j1, i1, q] += v * fy * fx


def pyramid(texture: F32, depth: int) -> tuple[F32, ...]:
    """`depth` levels, each the means of 2 x 2 texels of the one before."""
    levels = [texture]
    while len(levels) < depth:
        last = levels[-1]
        h = last.shape[0] // 2
        levels.append(
            np.ascontiguousarray(
                0.25 * (last[0::2, 0::2] + last[1::2, 0::2] + last[0::2, 1::2] + last[1::2, 1::2])[:h, :h]
            )
        )
    return tuple(levels)


def pyramid_transpose(levels: Sequence[F32]) -> F32:
    """Transpose of `pyramid`: hand every coarse texel's sum down to its four children; consumes `levels`."""
    for fine, coarse in zip(levels[-2::-1], levels[:0:-1], strict=True):
        quarter = np.float32(0.25) * coarse
        for dj in (0, 1):
            for di in (0, 1):
                fine[dj::2, di::2] += quarter
    return levels[0]
