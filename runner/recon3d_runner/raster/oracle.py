"""What every back end must answer, in float64, slow and plain: a ray against each triangle, nothing shared with them.

No face is skipped because of its bounding box and no edge function is evaluated on the screen: points go back
into space, and Moeller and Trumbore's solution of  origin + t ray = p0 + b1 (p1 - p0) + b2 (p2 - p0)  gives depth
and weights at once. The finite differences of `trace_at`, `outline` and `coverage` are the yardstick of the
derivatives in jacobian.py.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recon3d_runner.types import F64, I32


class Hits(NamedTuple):
    """What rays see first."""

    face: I32
    """(...) the nearest face, the first of equally near ones, -1 where there is none."""
    depth: F64
    """(...) z-depth, NaN where there is none."""
    bary: F64
    """(..., 2) perspective-correct weights of corners 1 and 2, 0 where there is none."""


def in_space(points: F64, size: int) -> F64:
    """Undo the projection: (V, 3) pixel x, pixel y, z to a camera frame with a focal length of `size` pixels.

    Any focal length serves: it stretches rays and triangles alike.
    """
    return np.stack([(points[:, k] - size / 2) * points[:, 2] / size for k in (0, 1)] + [points[:, 2]], axis=1)


def trace_at(points: F64, faces: I32, size: int, places: F64) -> Hits:
    """Shoot a ray through every one of `places` (N, 2) in an image of `size`. points, faces: as for Rasteriser."""
    count = len(places)
    face = np.full(count, -1, np.int32)
    depth = np.full(count, np.inf)
    bary = np.zeros((count, 2))
    ray = np.column_stack([(places - size / 2) / size, np.ones(count)])
    space = in_space(points, size)
    for f, corners in enumerate(faces):
        p0, p1, p2 = space[corners]
        if min(p0[2], p1[2], p2[2]) <= 0:
            continue
        # t ray - b1 (p1 - p0) - b2 (p2 - p0) = p0, by Cramer's rule, for all rays at once.
        u, v = p1 - p0, p2 - p0
        normal = np.cross(u, v)
        facing = ray @ normal
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (p0 @ normal) / facing
            side = np.cross(ray, p0)
            b1 = -(side @ v) / facing
            b2 = (side @ u) / facing
            nearer = (facing != 0) & (b1 >= 0) & (b2 >= 0) & (b1 + b2 <= 1) & (t < depth)
        face[nearer] = f
        depth[nearer] = t[nearer]
        bary[nearer, 0], bary[nearer, 1] = b1[nearer], b2[nearer]
    depth[face < 0] = np.nan
    return Hits(face, depth, bary)


def trace(points: F64, faces: I32, size: int) -> Hits:
    """The image: (n, n) arrays, one ray through every pixel's centre."""
    centre = np.arange(size) + 0.5
    x, y = np.meshgrid(centre, centre)
    hits = trace_at(points, faces, size, np.column_stack([x.ravel(), y.ravel()]))
    return Hits(hits.face.reshape(size, size), hits.depth.reshape(size, size), hits.bary.reshape(size, size, 2))


def outline(points: F64, faces: I32, size: int, start: F64, way: F64, reach: float) -> float:
    """How far from `start` (2,) along the unit vector `way` (2,) the mesh ends in the image, in pixels.

    Bisects between start - reach way, which must be covered, and start + reach way, which must not; ValueError
    where they are not so.
    """

    def covered(s: float) -> bool:
        return bool(trace_at(points, faces, size, (start + s * way)[None]).face[0] >= 0)

    inside, outside = -reach, reach
    if not covered(inside) or covered(outside):
        raise ValueError("the outline does not lie within reach")
    for _ in range(48):
        middle = (inside + outside) / 2
        if covered(middle):
            inside = middle
        else:
            outside = middle
    return (inside + outside) / 2


def coverage(points: F64, faces: I32, size: int, lines: int) -> F64:
    """(n, n) share of each pixel that the mesh covers: exact along x, the mean of `lines` sample lines along y."""
    out = np.zeros((size, size))
    grid = np.arange(size + 1.0)
    triangles = points[faces][(points[faces][:, :, 2] > 0).all(1)][:, :, :2]
    for line in range(size * lines):
        y = (line + 0.5) / lines
        length = np.zeros(size)
        for low, high in _union(_spans(triangles, y)):
            length += np.clip(np.minimum(high, grid[1:]) - np.maximum(low, grid[:-1]), 0, None)
        out[line // lines] += length / lines
    return out


def _spans(triangles: F64, y: float) -> NDArray[np.float64]:
    """(S, 2) the x-intervals in which the line at `y` crosses triangles (F, 3, 2)."""
    spans = []
    for corners in triangles:
        cuts = []
        for k in range(3):
            (xa, ya), (xb, yb) = corners[k], corners[(k + 1) % 3]
            if (ya <= y) != (yb <= y):
                cuts.append(xa + (y - ya) / (yb - ya) * (xb - xa))
        if cuts:
            spans.append((min(cuts), max(cuts)))
    return np.array(spans).reshape(-1, 2)


def _union(spans: F64) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for low, high in sorted((float(a), float(b)) for a, b in spans):
        if merged and low <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    return merged
