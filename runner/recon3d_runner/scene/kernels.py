"""The compiled loops of calibration: every point of every view against one view j.

Each function looks at one view j alone and adds in a fixed order, so that six of them may run at once and the sums
do not depend on how many do. `points` holds all views' samples one after the other (u, v, code, plateau), view i's from
start[i] to start[i + 1]; turn[i] and shift[i] carry view i's camera frame into j's. A depth code g on plateau k means
z = a + b (g + offsets[k]).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recon3d_runner.types import F32, F64, I32, I64, U8, Bool

BINS = 256
"""Of the histogram of residuals, over three scales."""


@njit(cache=True, nogil=True)
def lift(u: float, v: float, code: float, focal: float, a: float, b: float, ray: bool) -> tuple[float, float, float]:
    """An image point and its code into its camera's frame."""
    x = u / focal
    y = v / focal
    z = a + b * code
    if ray:
        z /= np.sqrt(1.0 + x * x + y * y)
    return x * z, y * z, z


@njit(cache=True, nogil=True)
def move(p: tuple[float, float, float], turn: F64, shift: F64) -> tuple[float, float, float]:
    """One camera's frame into another's."""
    return (
        turn[0, 0] * p[0] + turn[0, 1] * p[1] + turn[0, 2] * p[2] + shift[0],
        turn[1, 0] * p[0] + turn[1, 1] * p[1] + turn[1, 2] * p[2] + shift[1],
        turn[2, 0] * p[0] + turn[2, 1] * p[1] + turn[2, 2] * p[2] + shift[2],
    )


@njit(cache=True, nogil=True)
def behind(
    p: tuple[float, float, float],
    code: F32,
    slope: F32,
    inside: Bool,
    plateau: U8,
    focal: float,
    a: float,
    b: float,
    offsets: F64,
    ray: bool,
) -> float:
    """How far `p` lies behind the view's surface, in pixels at unit distance, point to plane.

    NaN outside the silhouette, beside it, and across a depth edge.
    """
    h = code.shape[0]
    x = (focal * p[0] / p[2] + 1.0) * h / 2 - 0.5
    y = (focal * p[1] / p[2] + 1.0) * h / 2 - 0.5
    if not (x >= 1.0 and y >= 1.0 and x < h - 2 and y < h - 2):
        return np.nan
    i, j = int(x), int(y)
    if not (inside[j, i] and inside[j, i + 1] and inside[j + 1, i] and inside[j + 1, i + 1]):
        return np.nan
    s = slope[j, i]
    if np.isnan(s) or np.isnan(slope[j + 1, i + 1]):
        return np.nan
    fx, fy = x - i, y - j
    g = (1 - fy) * ((1 - fx) * code[j, i] + fx * code[j, i + 1]) + fy * (
        (1 - fx) * code[j + 1, i] + fx * code[j + 1, i + 1]
    )
    surface = a + b * (g + offsets[plateau[j, i]])
    if ray:
        surface /= np.sqrt(1.0 + (p[0] * p[0] + p[1] * p[1]) / (p[2] * p[2]))
    pixel = 2.0 / (h * focal)
    tilt = abs(b) * s / (pixel * surface)
    return float((p[2] - surface) / pixel / np.sqrt(1.0 + tilt * tilt))


@njit(cache=True, nogil=True)
def trust(r: float, width: float) -> float:
    """Weight of a residual under the bounded cost r^2 / (r^2 + width^2) (Geman and McClure)."""
    t = 1.0 + (r / width) ** 2
    return 1.0 / (t * t)


@njit(cache=True, nogil=True)
def depth_cost(
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
    reach: float,
    scale: float,
    front: float,
    sums: F64,
    histogram: I64,
) -> None:
    """Add to sums (n, 3), by source view: bounded residuals, how many there are, how many are too far in front."""
    for i in range(len(start) - 1):
        if i == target:
            continue
        for k in range(start[i], start[i + 1]):
            p = lift(points[k, 0], points[k, 1], points[k, 2] + offsets[int(points[k, 3])], focal, a, b, ray)
            p = move(p, turn[i], shift[i])
            if p[2] <= 0.0:
                continue
            r = behind(p, code, slope, inside, plateau, focal, a, b, offsets, ray)
            if not r <= reach:
                continue
            sums[i, 0] += r * r / (r * r + scale * scale)
            sums[i, 1] += 1.0
            if r < -front:
                sums[i, 2] += 1.0
            bin_ = int(abs(r) * BINS / (3.0 * scale))
            if bin_ < BINS:
                histogram[bin_] += 1


@njit(cache=True, nogil=True)
def touch(
    points: F32,
    start: I64,
    turn: F64,
    shift: F64,
    target: int,
    outline: F32,
    nearest: I32,
    inside: Bool,
    focal: float,
    a: float,
    b: float,
    offsets: F64,
    ray: bool,
    window: float,
    limit: float,
    part: int,
    parts: int,
    best: F64,
    owner: I64,
    outside: F64,
) -> None:
    """Fold one of `parts` parts of each view's points into the support of the target's outline.

    best (M,): the largest signed distance along the outline's normal, in pixels; owner (M,): the point that has it.
    outside (n,): how many of a view's points stick out of the silhouette by more than `limit`.
    """
    h = nearest.shape[0]
    for i in range(len(start) - 1):
        if i == target:
            continue
        count = start[i + 1] - start[i]
        for k in range(start[i] + count * part // parts, start[i] + count * (part + 1) // parts):
            p = lift(points[k, 0], points[k, 1], points[k, 2] + offsets[int(points[k, 3])], focal, a, b, ray)
            p = move(p, turn[i], shift[i])
            if p[2] <= 0.0:
                outside[i] += 1.0
                continue
            u = focal * p[0] / p[2]
            v = focal * p[1] / p[2]
            if not (u >= -1.0 and v >= -1.0 and u < 1.0 and v < 1.0):
                outside[i] += 1.0
                continue
            x, y = int((u + 1.0) * h / 2), int((v + 1.0) * h / 2)
            m = nearest[y, x]
            if m < 0:
                if not inside[y, x]:
                    outside[i] += 1.0
                continue
            du = (u - outline[m, 0]) * h / 2
            dv = (v - outline[m, 1]) * h / 2
            along = du * outline[m, 2] + dv * outline[m, 3]
            across = -du * outline[m, 3] + dv * outline[m, 2]
            if not inside[y, x] and du * du + dv * dv > limit * limit:
                outside[i] += 1.0
            if abs(across) <= window and along > best[m]:
                best[m] = along
                owner[m] = k


@njit(cache=True, nogil=True)
def pair_cost(
    points: F32,
    rim: F32,
    turn: F64,
    shift: F64,
    upright: F64,
    code: F32,
    slope: F32,
    inside: Bool,
    plateau: U8,
    outline: F32,
    nearest: I32,
    focal: float,
    a: float,
    b: float,
    offsets: F64,
    ray: bool,
    scale: float,
    window: float,
    best: F32,
    tint: F32,
    tints: F32,
    sums: F64,
) -> None:
    """One view's points, already put upright, against another view's file as it is.

    upright (2, 2): from the upright image to the file's. points: inside, rim: along the outline. best:
    the support of the file's outline. sums: bounded depth residuals, their number, points outside, colour
    differences, their number. tint (N, 3): colours of `points`; tints (c, c, 3): of the file.
    """
    h = nearest.shape[0]
    c = tints.shape[0]
    limit = 3.0 * scale
    n = len(points)
    for k in range(n + len(rim)):
        on_rim = k >= n
        source = rim[k - n] if on_rim else points[k]
        p = move(lift(source[0], source[1], source[2] + offsets[int(source[3])], focal, a, b, ray), turn, shift)
        if p[2] <= 0.0:
            sums[2] += 1.0
            continue
        q = (upright[0, 0] * p[0] + upright[0, 1] * p[1], upright[1, 0] * p[0] + upright[1, 1] * p[1], p[2])
        u, v = focal * q[0] / p[2], focal * q[1] / p[2]
        if not (u >= -1.0 and v >= -1.0 and u < 1.0 and v < 1.0):
            sums[2] += 1.0
            continue
        if not on_rim:
            r = behind(q, code, slope, inside, plateau, focal, a, b, offsets, ray)
            if r <= limit:
                sums[0] += r * r / (r * r + scale * scale)
                sums[1] += 1.0
                if abs(r) < limit:
                    x, y = int((u + 1.0) * c / 2), int((v + 1.0) * c / 2)
                    far = 0.0
                    for channel in range(3):
                        far = max(far, abs(tint[k, channel] - tints[y, x, channel]))
                    if far <= 1.0:
                        sums[3] += far
                        sums[4] += 1.0
        x, y = int((u + 1.0) * h / 2), int((v + 1.0) * h / 2)
        m = nearest[y, x]
        if m < 0:
            if not inside[y, x]:
                sums[2] += 1.0
            continue
        du = (u - outline[m, 0]) * h / 2
        dv = (v - outline[m, 1]) * h / 2
        along = du * outline[m, 2] + dv * outline[m, 3]
        across = -du * outline[m, 3] + dv * outline[m, 2]
        if not inside[y, x] and du * du + dv * dv > limit * limit:
            sums[2] += 1.0
        if abs(across) <= window and along > best[m]:
            best[m] = along
