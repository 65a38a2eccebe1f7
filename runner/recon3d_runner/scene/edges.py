"""Where between pixels an edge lies, from the colours across it: to a few hundredths of a pixel.

A renderer's filter is narrower than two pixels, so that an edge shows in one or two of them only, and reading the half
way point off between neighbours is wrong by up to a sixth of a pixel, the same along all of an edge that runs with the
rows. So the edge's profile is fitted: a step under a filter (Blackman-Harris, whose width fits others as well), whose
width all edges of a picture share and tell together.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numba import njit

from recon3d_runner.types import F32, F64, U8, Bool

NOISE: Final = 1.5 / 255
"""Of a colour, where the background shows less."""
WITHIN: Final = 2.0
"""Pixels inside the edge at which the object's own colour is taken: what the renderer's filter leaves alone."""
DEEPER: Final = 3.25
"""Where it is taken again: unless both are alike, print begins beside the edge."""
INNERMOST, OUTERMOST = -9.0, 4.5
"""Pixels outward of a place between which its edge is sought."""
STRIDE: Final = 0.5
REACH: Final = 3
"""Pixels around a place that are looked at."""
STRIP: Final = 1.5
"""Pixels along the edge that belong to a place."""
NEAR: Final = 1.5
"""Pixels from the edge that are fitted."""
WIDTHS: Final = (1.5, 1.25, 1.0, 1.75, 2.0, 2.5, 3.0)
"""Of the filter, in pixels; the first is what most renderers have."""
BETTER: Final = 0.98
"""Share of the first width's residual that another must not exceed to be taken."""
SAMPLE: Final = 400
"""Clear edges, spread over the outline, by which the width is told."""
STEPS: Final = 4
SURE: Final = 0.04
"""Pixels: no edge is taken to be better known than that."""
PROFILE: Final = (0.35875, 0.48829, 0.14128, 0.01168)
"""Of the Blackman-Harris window."""


class Beside(NamedTuple):
    """Edges beside given places."""

    offset: F64
    """(N,) how far outside its place an edge lies."""
    sigma: F64
    """(N,) standard deviation of that; infinite where the colours show none."""


def locate(rgb: U8, place: F64, normal: F64, background: F32, noise: float) -> Beside:
    """The edges beside `place` (N, 2; row, column) along the outward `normal` (N, 2), in pixels.

    noise: of a colour in [0, 1].
    """
    where = (rgb, place, normal, background.astype(np.float64))
    offset, found = _half_way(*where)
    own, uneven = _inside(*where, offset)
    contrast = np.maximum(np.linalg.norm(own, axis=1), 1e-9)
    clear = np.flatnonzero(found & (contrast > 20 * max(noise, NOISE)) & (uneven < 0.05 * contrast))
    clear = clear[:: max(1, len(clear) // SAMPLE)]
    width = WIDTHS[0]
    if len(clear):
        some = (rgb, place[clear], normal[clear], where[3], own[clear], offset[clear])
        typical = [float(np.median(_fit(*some, w)[1])) for w in WIDTHS]
        best = int(np.argmin(typical))
        width = WIDTHS[best] if typical[best] < BETTER * typical[0] else width
    fitted, residual = _fit(*where, own, offset, width)
    own, uneven = _inside(*where, fitted)
    contrast = np.maximum(np.linalg.norm(own, axis=1), 1e-9)
    sigma = np.sqrt(
        SURE**2 + (max(noise, NOISE) / contrast) ** 2 + (0.3 * uneven / contrast) ** 2 + (2 * residual) ** 2
    )
    return Beside(fitted, np.where(found, sigma, np.inf))


@njit(cache=True, nogil=True)
def _colour(rgb: U8, y: float, x: float, background: F64, out: F64) -> None:
    """What the picture shows at a place, between its pixels' centres, less the background."""
    size = rgb.shape[0]
    y, x = min(max(y, 0.0), size - 1.0), min(max(x, 0.0), size - 1.0)
    j, i = min(int(y), size - 2), min(int(x), size - 2)
    down, right = y - j, x - i
    for k in range(3):
        upper = (1 - right) * rgb[j, i, k] + right * rgb[j, i + 1, k]
        lower = (1 - right) * rgb[j + 1, i, k] + right * rgb[j + 1, i + 1, k]
        out[k] = ((1 - down) * upper + down * lower) / 255 - background[k]


@njit(cache=True, nogil=True)
def _inside(rgb: U8, place: F64, normal: F64, background: F64, offset: F64) -> tuple[F64, F64]:
    """(N, 3) the object's own colours inside the edges, less the background's, and by how much they change there."""
    own, uneven, deep = np.empty((len(place), 3)), np.empty(len(place)), np.empty(3)
    for n in range(len(place)):
        (y, x), (down, right) = place[n], normal[n]
        _colour(rgb, y + (offset[n] - WITHIN) * down, x + (offset[n] - WITHIN) * right, background, own[n])
        _colour(rgb, y + (offset[n] - DEEPER) * down, x + (offset[n] - DEEPER) * right, background, deep)
        uneven[n] = np.sqrt(((own[n] - deep) ** 2).sum())
    return own, uneven


@njit(cache=True, nogil=True)
def _half_way(rgb: U8, place: F64, normal: F64, background: F64) -> tuple[F64, Bool]:
    """(N,) where the object's colour falls through a half, and whether it does."""
    count = int((OUTERMOST - INNERMOST) / STRIDE) + 1
    line, own = np.empty((count, 3)), np.empty(3)
    offset, found = np.zeros(len(place)), np.zeros(len(place), np.bool_)
    for n in range(len(place)):
        (y, x), (down, right) = place[n], normal[n]
        for m in range(count):
            out = INNERMOST + STRIDE * m
            _colour(rgb, y + out * down, x + out * right, background, line[m])
        for _ in range(3):
            at = offset[n] - WITHIN
            _colour(rgb, y + at * down, x + at * right, background, own)
            square = max((own**2).sum(), 1e-9)
            inner, nearest = (line[0] * own).sum() / square, np.inf
            found[n], offset[n] = False, 0.0
            # The nearest such place: another edge may be beside this one.
            for m in range(1, count):
                outer = (line[m] * own).sum() / square
                if inner >= 0.5 and outer < 0.5:
                    falls = INNERMOST + STRIDE * (m - 1 + (inner - 0.5) / (inner - outer))
                    if abs(falls) < nearest:
                        nearest, found[n], offset[n] = abs(falls), True, min(max(falls, -5.0), 3.0)
                inner = outer
    return offset, found


@njit(cache=True, nogil=True)
def _fit(rgb: U8, place: F64, normal: F64, background: F64, own: F64, start: F64, width: float) -> tuple[F64, F64]:
    """Gauss-Newton on the places of steps under a filter: (N,) places and root mean squares of what is left."""
    size = rgb.shape[0]
    p0, p1, p2, p3 = PROFILE
    offset, residual = start.copy(), np.zeros(len(place))
    outward, share = np.empty((2 * REACH + 1) ** 2), np.empty((2 * REACH + 1) ** 2)
    for n in range(len(place)):
        (y, x), (down, right) = place[n], normal[n]
        square = max((own[n] ** 2).sum(), 1e-18)
        # The pixels around: their distance outward from the place, and how much of the object's colour they show.
        count = 0
        for j in range(int(np.round(y)) - REACH, int(np.round(y)) + REACH + 1):
            for i in range(int(np.round(x)) - REACH, int(np.round(x)) + REACH + 1):
                if abs((j - y) * right - (i - x) * down) > STRIP:
                    continue
                r, c = min(max(j, 0), size - 1), min(max(i, 0), size - 1)
                shown = 0.0
                for k in range(3):
                    shown += (rgb[r, c, k] / 255 - background[k]) * own[n, k]
                outward[count], share[count] = (j - y) * down + (i - x) * right, shown / square
                count += 1
        for _ in range(STEPS):
            gain, known, squares, used = 0.0, 0.0, 0.0, 0
            for m in range(count):
                away = outward[m] - offset[n]
                if abs(away) > NEAR:
                    continue
                used += 1
                t = min(max(away / width + 0.5, 0.0), 1.0)
                c1, s1 = np.cos(2 * np.pi * t), np.sin(2 * np.pi * t)
                c2, s2 = 2 * c1 * c1 - 1, 2 * s1 * c1
                c3, s3 = c1 * (2 * c2 - 1), s1 * (2 * c2 + 1)
                # Height of the filter there, and what of it lies inside the edge.
                height = (p0 - p1 * c1 + p2 * c2 - p3 * c3) / (p0 * width)
                below = t - (p1 * s1 - p2 / 2 * s2 + p3 / 3 * s3) / (2 * np.pi * p0)
                wrong = share[m] - (1 - below)
                gain += wrong * height
                known += height * height
                squares += wrong * wrong
            residual[n] = np.sqrt(squares / max(used, 1))
            offset[n] += min(max(gain / max(known, 1e-3), -0.3), 0.3)
    return offset, residual
