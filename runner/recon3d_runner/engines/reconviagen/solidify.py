"""A generated mesh, which may be open, cross itself and hold walls inside, into one closed surface.

Along many parallel lines every face that the line crosses opens or closes the solid; a point is inside where most
of six counts, two directions along each axis, say so. Counting signed crossings survives doubled and crossing
walls, the vote survives holes: a line through a hole misleads one or two counts of six. The outvoted walls inside
vanish, the level set of the slightly smoothed vote is a closed manifold, and its vertices are put back onto the
generated surface where that is near. Upstream fills holes with copyleft programs, after unseeded random cuts.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from scipy import ndimage
from scipy.spatial import cKDTree

from recon3d_runner.engines.nvdiffrec.level_set import extract, keep_solids
from recon3d_runner.types import F32, F64, I32

SMALLEST = 0.02
"""Loose parts below this share of the largest one's volume are crumbs."""


@njit(cache=True, nogil=True)
def _crossings(vertices: F64, faces: I32, n: int, counts: I32) -> None:
    """Add to `counts` (n, n, n + 1) every signed crossing of the lines along the last axis through cell centres.

    vertices: in cells. A face that a line crosses upward (its normal looks along the line) closes, else it opens;
    counts[i, j, k] belongs to the first cell centre k that lies behind the crossing.
    """
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        xa, ya, za = vertices[a, 0], vertices[a, 1], vertices[a, 2]
        xb, yb, zb = vertices[b, 0], vertices[b, 1], vertices[b, 2]
        xc, yc, zc = vertices[c, 0], vertices[c, 1], vertices[c, 2]
        area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
        if area == 0.0:
            continue
        i0, i1 = int(np.ceil(min(xa, xb, xc) - 0.5)), int(np.floor(max(xa, xb, xc) - 0.5))
        j0, j1 = int(np.ceil(min(ya, yb, yc) - 0.5)), int(np.floor(max(ya, yb, yc) - 0.5))
        for i in range(max(i0, 0), min(i1, n - 1) + 1):
            for j in range(max(j0, 0), min(j1, n - 1) + 1):
                # A tiny shift, the same for all faces, keeps lines off vertices and edges.
                x, y = i + 0.5 + 1.37e-7, j + 0.5 + 2.11e-7
                wb = ((x - xa) * (yc - ya) - (xc - xa) * (y - ya)) / area
                wc = ((xb - xa) * (y - ya) - (x - xa) * (yb - ya)) / area
                if wb < 0.0 or wc < 0.0 or wb + wc > 1.0:
                    continue
                z = za + wb * (zb - za) + wc * (zc - za)
                k = min(max(int(np.ceil(z - 0.5)), 0), n)
                counts[i, j, k] += 1 if area < 0.0 else -1


def inside_votes(vertices: F64, faces: I32, n: int) -> F32:
    """(n, n, n) share of six counts that hold each cell's centre to be inside. vertices: in cells."""
    votes = np.zeros((n, n, n), np.float32)
    for axis in range(3):
        order = [(axis + 1) % 3, (axis + 2) % 3, axis]
        counts = np.zeros((n, n, n + 1), np.int32)
        _crossings(np.ascontiguousarray(vertices[:, order]), faces, n, counts)
        below = np.cumsum(counts, axis=2)[:, :, :n]
        above = below - counts.sum(2, keepdims=True)  # as counted from the far end
        share = ((below > 0).astype(np.float32) + (above > 0)) / 6
        votes += np.moveaxis(share, (0, 1, 2), order)
    return votes


def solidify(vertices: F64, faces: I32, resolution: int) -> tuple[F64, I32]:
    """Closed surface of a triangle soup, `resolution` cells along its longest side. ValueError where none is left."""
    low, high = vertices.min(0), vertices.max(0)
    step = float((high - low).max()) / (resolution - 8)
    if not step > 0:
        raise ValueError("the mesh has no extent")
    origin = (low + high) / 2 - step * resolution / 2
    votes = inside_votes((vertices - origin) / step, faces, resolution)
    field: F32 = 0.5 - ndimage.gaussian_filter(votes, 0.8)
    if not field.min() < 0:
        raise ValueError("nothing of the mesh is inside it")
    made, closed = extract(field, origin + step / 2, step)
    made, closed = keep_solids(made, closed, SMALLEST)
    return _onto(made, closed, vertices, faces, step), closed


def _onto(made: F64, closed: I32, vertices: F64, faces: I32, step: float) -> F64:
    """Put `made` onto the planes of the nearest samples of the surface, at most a cell away, then settle once."""
    corner = vertices[faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    area = np.linalg.norm(normal, axis=1)
    count = np.minimum(np.ceil(2 * area / step**2).astype(np.int64) + 1, 4096)
    face = np.repeat(np.arange(len(faces)), count)
    generator = np.random.default_rng(0)
    a, b = np.sqrt(generator.random(len(face))), generator.random(len(face))
    points = (
        (1 - a)[:, None] * corner[face, 0]
        + (a * (1 - b))[:, None] * corner[face, 1]
        + (a * b)[:, None] * corner[face, 2]
    )
    distance, nearest = cKDTree(points).query(made, distance_upper_bound=1.5 * step, workers=-1)
    near = np.isfinite(distance)
    n = normal[face[nearest[near]]] / np.maximum(area[face[nearest[near]]], 1e-300)[:, None]
    offset = ((points[nearest[near]] - made[near]) * n).sum(1)
    moved = made.copy()
    moved[near] += np.clip(offset, -step, step)[:, None] * n
    return np.asarray(0.5 * moved + 0.5 * _mean_of_neighbours(moved, closed))


def _mean_of_neighbours(points: F64, faces: I32) -> F64:
    total, count = np.zeros_like(points), np.bincount(faces.ravel(), minlength=len(points))
    for k in range(3):
        for axis in range(3):
            pair = points[faces[:, (k + 1) % 3], axis] + points[faces[:, (k + 2) % 3], axis]
            total[:, axis] += np.bincount(faces[:, k], weights=pair, minlength=len(points))
    return np.asarray(total / (2 * np.maximum(count, 1))[:, None])
