"""A surface as points on a grid: how far any place is from it, which point is nearest, and the loops that ask that.

Turns are tried by the thousand and poses brought closer by the dozen, so all of it is compiled, and lookups take the
same time wherever a place lies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy import ndimage

from recon3d_runner.engines.reconviagen.equations import add
from recon3d_runner.surface import face_normals
from recon3d_runner.types import F32, F64, I32, Bool

GRID = 64
SAMPLES = 1200
OVER = 4
"""Times as many points stand for the surface as are asked where it is."""


@dataclass(frozen=True)
class Cloud:
    """Points of a surface in a grid of cells."""

    points: F64
    """(N, 3)."""
    normals: F64
    asking: I32
    """(S,) which of them stand for all."""
    origin: F64
    step: float
    distance: F32
    """(G, G, G) distance of the cells' centres in world units."""
    closest: I32
    """(G, G, G) the closest cell with a point in it."""
    start: I32
    """(G^3 + 1,) the points of cell k are members[start[k]:start[k + 1]]."""
    members: I32
    middle: F64
    """(3,) mean of those that stand for all."""
    spread: float
    """Their root mean square distance from the middle."""


def cloud(vertices: F64, faces: I32, samples: int = SAMPLES) -> Cloud:
    """Sample a mesh evenly by area, always the same way."""
    generator = np.random.default_rng(0)
    count = OVER * samples
    normals = face_normals(vertices, faces)
    area = np.linalg.norm(normals, axis=1)
    chosen = np.searchsorted(np.cumsum(area) / area.sum(), (np.arange(count) + 0.5) / count)
    chosen = np.minimum(chosen, len(faces) - 1)
    a, b = np.sqrt(generator.random(count)), generator.random(count)
    corner = vertices[faces[chosen]]
    points = (1 - a)[:, None] * corner[:, 0] + (a * (1 - b))[:, None] * corner[:, 1] + (a * b)[:, None] * corner[:, 2]
    direction = normals[chosen]
    direction = direction / np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-300)
    low, high = vertices.min(0), vertices.max(0)
    step = float((high - low).max()) * 1.5 / (GRID - 1)
    origin = (low + high) / 2 - step * (GRID - 1) / 2
    cell = np.ravel_multi_index(tuple(np.round((points - origin) / step).astype(np.int64).T), (GRID,) * 3)
    empty = np.ones(GRID**3, bool)
    empty[cell] = False
    distance, index = ndimage.distance_transform_edt(empty.reshape((GRID,) * 3), return_indices=True)
    members = np.argsort(cell, kind="stable").astype(np.int32)
    start = np.searchsorted(cell[members], np.arange(GRID**3 + 1)).astype(np.int32)
    asking = generator.permutation(count)[:samples].astype(np.int32)
    kept = points[asking]
    middle = np.asarray(kept.mean(0))
    return Cloud(
        points,
        direction,
        asking,
        origin,
        step,
        (distance * step).astype(np.float32),
        np.ravel_multi_index(tuple(index), (GRID,) * 3).astype(np.int32),
        start,
        members,
        middle,
        float(np.sqrt(((kept - middle) ** 2).sum(1).mean())),
    )


@njit(cache=True, nogil=True)
def _cell(x: float, origin: float, step: float) -> tuple[int, float]:
    """The cell along one axis, at the border for what lies outside, and how many cells beyond it."""
    index = np.round((x - origin) / step)
    inside = min(max(index, 0.0), GRID - 1.0)
    return int(inside), abs(index - inside)


@njit(cache=True, nogil=True)
def _away(x: float, y: float, z: float, origin: F64, step: float, distance: F32) -> float:
    """Distance of a place from the surface, at least that from the grid's border outside it."""
    i, a = _cell(x, origin[0], step)
    j, b = _cell(y, origin[1], step)
    k, c = _cell(z, origin[2], step)
    return float(distance[i, j, k] + max(a, b, c) * step)


@njit(cache=True, nogil=True)
def mismatches(
    turns: F64,
    scale: float,
    points: F64,
    middle: F64,
    origin: F64,
    step: float,
    distance: F32,
    world_points: F64,
    world_middle: F64,
    world_origin: F64,
    world_step: float,
    world_distance: F32,
    limit: float,
    found: F64,
) -> None:
    """Fill `found` (N,): mean distance both ways, cut off at `limit`, of every turn (N, 3, 3) about the middles."""
    for t in range(turns.shape[0]):
        turn = turns[t]
        there = back = 0.0
        for p in range(points.shape[0]):
            x, y, z = points[p, 0] - middle[0], points[p, 1] - middle[1], points[p, 2] - middle[2]
            d = _away(
                scale * (turn[0, 0] * x + turn[0, 1] * y + turn[0, 2] * z) + world_middle[0],
                scale * (turn[1, 0] * x + turn[1, 1] * y + turn[1, 2] * z) + world_middle[1],
                scale * (turn[2, 0] * x + turn[2, 1] * y + turn[2, 2] * z) + world_middle[2],
                world_origin,
                world_step,
                world_distance,
            )
            there += min(d, limit)
        for p in range(world_points.shape[0]):
            x = (world_points[p, 0] - world_middle[0]) / scale
            y = (world_points[p, 1] - world_middle[1]) / scale
            z = (world_points[p, 2] - world_middle[2]) / scale
            d = _away(
                turn[0, 0] * x + turn[1, 0] * y + turn[2, 0] * z + middle[0],
                turn[0, 1] * x + turn[1, 1] * y + turn[2, 1] * z + middle[1],
                turn[0, 2] * x + turn[1, 2] * y + turn[2, 2] * z + middle[2],
                origin,
                step,
                distance,
            )
            back += min(scale * d, limit)
        found[t] = there / points.shape[0] + back / world_points.shape[0]


@njit(cache=True, nogil=True)
def nearest(
    place: F64, points: F64, origin: F64, step: float, closest: I32, start: I32, members: I32
) -> tuple[int, float]:
    """The nearest of `points` to `place`, and how far it is; beyond half a cell perhaps one not much farther.

    Looked at is what lies in the place's own cell and around it, or in and around the closest cell that has any.
    """
    i, _ = _cell(place[0], origin[0], step)
    j, _ = _cell(place[1], origin[1], step)
    k, _ = _cell(place[2], origin[2], step)
    flat = closest[i, j, k]
    a, b, c = flat // (GRID * GRID), flat // GRID % GRID, flat % GRID
    if max(abs(a - i), abs(b - j), abs(c - k)) > 1:
        i, j, k = a, b, c
    best, found = np.inf, -1
    for a in range(max(i - 1, 0), min(i + 2, GRID)):
        for b in range(max(j - 1, 0), min(j + 2, GRID)):
            row = (a * GRID + b) * GRID
            for m in range(start[row + max(k - 1, 0)], start[row + min(k + 1, GRID - 1) + 1]):
                p = points[members[m]]
                x, y, z = p[0] - place[0], p[1] - place[1], p[2] - place[2]
                d = x * x + y * y + z * z
                if d < best:
                    best, found = d, members[m]
    return found, np.sqrt(best)


@njit(cache=True, nogil=True)
def match(
    asking: F64,
    asking_normals: F64,
    points: F64,
    normals: F64,
    origin: F64,
    step: float,
    closest: I32,
    start: I32,
    members: I32,
    partner: I32,
    length: F64,
    agree: F64,
) -> None:
    """For each of `asking` fill in its nearest of `points`, the distance, and the cosine between their normals."""
    for q in range(asking.shape[0]):
        found, distance = nearest(asking[q], points, origin, step, closest, start, members)
        partner[q], length[q] = found, distance
        n, m = normals[found], asking_normals[q]
        agree[q] = n[0] * m[0] + n[1] * m[1] + n[2] * m[2]


@njit(cache=True, nogil=True)
def pull_together(
    moved: F64, fixed: F64, along: F64, used: Bool, centre: F64, soft: float, matrix: F64, vector: F64
) -> None:
    """Add the pairs that are `used` to normal equations: `moved` onto the planes at `fixed` across `along`."""
    arm, gap, row = np.empty(3), np.empty(3), np.empty(7)
    for q in range(moved.shape[0]):
        if not used[q]:
            continue
        residual = 0.0
        for k in range(3):
            arm[k] = moved[q, k] - centre[k]
            gap[k] = moved[q, k] - fixed[q, k]
            residual += gap[k] * along[q, k]
        add(arm, along[q], residual, min(1.0, soft / max(abs(residual), 1e-12)), row, matrix, vector)
