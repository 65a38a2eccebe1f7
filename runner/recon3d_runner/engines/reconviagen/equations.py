"""The compiled loops of the continuous alignment: one view's residuals as normal equations, or as sums.

Each function walks one view's drawn pixels in order and looks at nothing else, so that six of them may run at once and
the sums do not depend on how many do. `face`, `depth`, `bary` are a rasteriser's Fragments; an array of no size stands
for what a view or a mesh does not have (observed depth, colours).

A point p of the surface moves by w x (p - c) + t + s (p - c), so that a residual's derivative along a direction h
is [(p - c) x h, h, h . (p - c)].
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recon3d_runner.types import F32, F64, I32

OUTLINE_WEIGHT = 2.0
COLOUR_NOISE = 0.12
"""sRGB difference that counts as much as one pixel."""
FLAT = 0.1
"""Least viewing cosine at which a depth residual counts."""
WITHIN = -1.5
"""Distance to the outline from which on a pixel's colour is the object's alone."""


@njit(cache=True, nogil=True)
def _huber(residual: float, limit: float) -> float:
    return limit / max(abs(residual), limit)


@njit(cache=True, nogil=True)
def _own(face: I32, bary: F32, faces: I32, colours: F64, i: int, j: int, channel: int) -> float:
    """The mesh's own colour in a pixel."""
    f = face[i, j]
    b, c = bary[i, j, 0], bary[i, j, 1]
    return float(
        (1.0 - b - c) * colours[faces[f, 0], channel]
        + b * colours[faces[f, 1], channel]
        + c * colours[faces[f, 2], channel]
    )


@njit(cache=True, nogil=True)
def add(arm: F64, h: F64, residual: float, weight: float, row: F64, matrix: F64, vector: F64) -> None:
    """Ask for motion by -residual along `h` at the point `arm` off the centre; `row` is a place to work in."""
    row[0] = arm[1] * h[2] - arm[2] * h[1]
    row[1] = arm[2] * h[0] - arm[0] * h[2]
    row[2] = arm[0] * h[1] - arm[1] * h[0]
    row[3], row[4], row[5] = h[0], h[1], h[2]
    row[6] = arm[0] * h[0] + arm[1] * h[1] + arm[2] * h[2]
    for a in range(7):
        vector[a] -= weight * residual * row[a]
        for b in range(a, 7):
            matrix[a, b] += weight * row[a] * row[b]


@njit(cache=True, nogil=True)
def moments(face: I32, bary: F32, faces: I32, colours: F64, rgb: F32, distance: F32, limit: float, sums: F64) -> None:
    """Add to `sums` (7, 7) the products of (own colour, 1, the picture's colour), of pixels with distance < limit."""
    row = np.ones(7)
    for i in range(face.shape[0]):
        for j in range(face.shape[1]):
            if face[i, j] < 0 or not distance[i, j] < limit:
                continue
            for k in range(3):
                row[k] = _own(face, bary, faces, colours, i, j, k)
                row[4 + k] = rgb[i, j, k]
            for a in range(7):
                for b in range(7):
                    sums[a, b] += row[a] * row[b]


@njit(cache=True, nogil=True)
def misfit(face: I32, depth: F32, distance: F32, observed: F32, cut: float) -> tuple[float, float, float, float]:
    """Pixels covered by both, by either; the sum of depth differences in units of `cut`, at most 1; how many."""
    both = either = count = 0
    error = 0.0
    for i in range(face.shape[0]):
        for j in range(face.shape[1]):
            solid = distance[i, j] < 0
            drawn = face[i, j] >= 0
            both += solid and drawn
            either += solid or drawn
            if drawn and observed.size and np.isfinite(observed[i, j]):
                error += min(abs(float(depth[i, j]) - float(observed[i, j])) / cut, 1.0)
                count += 1
    return float(both), float(either), error, float(count)


@njit(cache=True, nogil=True)
def normal_equations(
    face: I32,
    depth: F32,
    bary: F32,
    rotation: F64,
    origin: F64,
    focal: float,
    faces: I32,
    colours: F64,
    tone: F64,
    distance: F32,
    slopes: F32,
    observed: F32,
    tilts: F32,
    rgb: F32,
    rgb_slopes: F32,
    gate: float,
    soft: float,
    pixel: float,
    centre: F64,
    matrix: F64,
    vector: F64,
) -> None:
    """Add one view's depth, outline and colour residuals to the upper half of `matrix` (7, 7) and to `vector` (7,).

    Residuals of shape count in full up to `soft` pixels, less beyond, and not at all beyond `gate`.
    """
    n = face.shape[0]
    point = np.empty(3)
    ray = np.empty(3)
    h = np.empty(3)
    row = np.empty(7)
    own = np.empty(3)
    for i in range(n):
        for j in range(n):
            f = face[i, j]
            if f < 0:
                continue
            z = float(depth[i, j])
            x, y = (j + 0.5 - n / 2) / focal, (i + 0.5 - n / 2) / focal
            for k in range(3):
                ray[k] = x * rotation[0, k] + y * rotation[1, k] + rotation[2, k]
                point[k] = origin[k] + ray[k] * z - centre[k]
            if observed.size:
                difference = z - float(observed[i, j])
                # How the difference changes with the point: straight away by 1, and by what it slides over.
                _along(rotation, focal, x, y, z, float(tilts[0, i, j]), float(tilts[1, i, j]), 1.0, h)
                steep = 0.0
                for k in range(3):
                    h[k] = rotation[2, k] - h[k]
                    steep += h[k] * h[k]
                steep = np.sqrt(steep)  # NaN beside the background
                if abs(difference) < gate * pixel and steep < 1.0 / FLAT:
                    residual = difference / (steep * pixel)
                    for k in range(3):
                        h[k] /= steep * pixel
                    add(point, h, residual, _huber(residual, soft), row, matrix, vector)
            for side in range(4):
                di, dj = (0, 0, 1, -1)[side], (1, -1, 0, 0)[side]
                r, c = i + di, j + dj
                if r < 0 or c < 0 or r >= n or c >= n or face[r, c] >= 0:
                    continue
                gap = (float(distance[i, j]) + float(distance[r, c])) / 2
                u = (float(slopes[0, i, j]) + float(slopes[0, r, c])) / 2
                v = (float(slopes[1, i, j]) + float(slopes[1, r, c])) / 2
                outward = u * dj + v * di
                if abs(gap) < gate and outward > 0.2:
                    _along(rotation, focal, x, y, z, u, v, 1.0, h)
                    # A slanting outline is crossed by more pairs than its length in pixels.
                    add(point, h, gap, OUTLINE_WEIGHT * abs(outward) * _huber(gap, soft), row, matrix, vector)
            if colours.size and distance[i, j] < WITHIN:
                for k in range(3):
                    own[k] = _own(face, bary, faces, colours, i, j, k)
                for k in range(3):
                    wanted = tone[3, k] + own[0] * tone[0, k] + own[1] * tone[1, k] + own[2] * tone[2, k]
                    residual = (float(rgb[i, j, k]) - wanted) / COLOUR_NOISE
                    u, v = float(rgb_slopes[0, i, j, k]), float(rgb_slopes[1, i, j, k])
                    _along(rotation, focal, x, y, z, u, v, 1.0 / COLOUR_NOISE, h)
                    add(point, h, residual, _huber(residual, 1.0) / 3, row, matrix, vector)


@njit(cache=True, nogil=True)
def _along(rotation: F64, focal: float, x: float, y: float, z: float, u: float, v: float, unit: float, h: F64) -> None:
    """The world gradient of an image quantity with slope (u, v) per pixel, at depth z along the ray (x, y, 1)."""
    gx, gy = u * unit * focal / z, v * unit * focal / z
    gz = -(gx * x + gy * y)
    for k in range(3):
        h[k] = gx * rotation[0, k] + gy * rotation[1, k] + gz * rotation[2, k]
