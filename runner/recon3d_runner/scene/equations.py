"""The compiled loops of calibration's solver: normal equations of the residuals of kernels.py, one view j at a time.

Numbers in `normal` and `rhs` are those of solve.py: log F, a, b, then the plateaus' offsets. Derivatives are numeric,
point by point, with the correspondences kept.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recon3d_runner.scene.kernels import behind, lift, move, trust
from recon3d_runner.types import F32, F64, I64, U8, Bool

STEP = 1e-5
"""Of the numeric derivatives: relative for the focal length, in camera distances for depth."""
JUMP = 5e4
"""A residual that changes faster than this, in pixels per unit, has jumped to another surface."""


@njit(cache=True, nogil=True)
def _add(normal: F64, rhs: F64, index: I64, row: F64, count: int, r: float, weight: float) -> None:
    for m in range(count):
        rhs[index[m]] -= weight * row[m] * r
        for n in range(count):
            normal[index[m], index[n]] += weight * row[m] * row[n]


@njit(cache=True, nogil=True)
def depth_normal(
    points: F32,
    start: I64,
    turn: F64,
    shift: F64,
    target: int,
    code: F32,
    slope: F32,
    inside: Bool,
    plateau: U8,
    focal: float,
    a: float,
    b: float,
    offsets: F64,
    ray: bool,
    near: float,
    width: float,
    normal: F64,
    rhs: F64,
    total: F64,
) -> None:
    """Add the normal equations of the depth residuals within `near`; total: weights, weighted squares."""
    index = np.zeros(5, np.int64)
    index[1], index[2] = 1, 2
    row = np.zeros(5)
    h = code.shape[0]
    for i in range(len(start) - 1):
        if i == target:
            continue
        for k in range(start[i], start[i + 1]):
            u, v, g = points[k, 0], points[k, 1], points[k, 2] + offsets[int(points[k, 3])]
            p = move(lift(u, v, g, focal, a, b, ray), turn[i], shift[i])
            if p[2] <= 0.0:
                continue
            r = behind(p, code, slope, inside, plateau, focal, a, b, offsets, ray)
            if not abs(r) < near:
                continue
            # Three nudges: the focal length, the source's depth, the target's; the others follow from these.
            wider = focal * (1.0 + STEP)
            q = move(lift(u, v, g, wider, a, b, ray), turn[i], shift[i])
            by_focal = (behind(q, code, slope, inside, plateau, wider, a, b, offsets, ray) - r) / STEP
            q = move(lift(u, v, g, focal, a + STEP, b, ray), turn[i], shift[i])
            by_source = (behind(q, code, slope, inside, plateau, focal, a, b, offsets, ray) - r) / STEP
            by_target = (behind(p, code, slope, inside, plateau, focal, a + STEP, b, offsets, ray) - r) / STEP
            q = move(lift(u, v, g, focal, a, b + STEP * abs(b), ray), turn[i], shift[i])
            more = b + STEP * abs(b)
            by_gain = (behind(q, code, slope, inside, plateau, focal, a, more, offsets, ray) - r) / (STEP * abs(b))
            if not (abs(by_focal) < JUMP and abs(by_source) < JUMP and abs(by_target) < JUMP):
                continue  # also where one of them is not a number
            if not abs(by_gain * b) < JUMP:
                continue
            row[0], row[1], row[2] = by_focal, by_source + by_target, by_gain
            row[3], row[4] = b * by_source, b * by_target
            x, y = (focal * p[0] / p[2] + 1.0) * h / 2 - 0.5, (focal * p[1] / p[2] + 1.0) * h / 2 - 0.5
            index[3], index[4] = 3 + int(points[k, 3]), 3 + plateau[int(y), int(x)]
            weight = trust(r, width)
            _add(normal, rhs, index, row, 5, r, weight)
            total[0] += weight
            total[1] += weight * r * r


@njit(cache=True, nogil=True)
def _sticks(p: tuple[float, float, float], line: F32, focal: float, h: int) -> float:
    du = focal * p[0] / p[2] - line[0]
    dv = focal * p[1] / p[2] - line[1]
    return float((du * line[2] + dv * line[3]) * h / 2)


@njit(cache=True, nogil=True)
def touch_normal(
    points: F32,
    start: I64,
    turn: F64,
    shift: F64,
    outline: F32,
    h: int,
    focal: float,
    a: float,
    b: float,
    offsets: F64,
    ray: bool,
    owner: I64,
    gate: float,
    width: float,
    normal: F64,
    rhs: F64,
    total: F64,
) -> None:
    """Add the normal equations of the support residuals within `gate`, each with the point that attains it."""
    index = np.zeros(4, np.int64)
    index[1], index[2] = 1, 2
    row = np.zeros(4)
    for m in range(len(outline)):
        k = owner[m]
        if k < 0:
            continue
        i = np.searchsorted(start, k, side="right") - 1
        index[3] = 3 + int(points[k, 3])
        line = outline[m]
        u, v, g = points[k, 0], points[k, 1], points[k, 2] + offsets[int(points[k, 3])]
        r = _sticks(move(lift(u, v, g, focal, a, b, ray), turn[i], shift[i]), line, focal, h)
        if not abs(r) < gate:
            continue
        wider = focal * (1.0 + STEP)
        row[0] = (_sticks(move(lift(u, v, g, wider, a, b, ray), turn[i], shift[i]), line, wider, h) - r) / STEP
        row[1] = (_sticks(move(lift(u, v, g, focal, a + STEP, b, ray), turn[i], shift[i]), line, focal, h) - r) / STEP
        row[2] = row[1] * g
        row[3] = row[1] * b
        weight = trust(r, width)
        _add(normal, rhs, index, row, 4, r, weight)
        total[0] += weight
        total[1] += weight * r * r
