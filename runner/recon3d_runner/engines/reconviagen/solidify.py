"""A generated mesh, which may be open, cross itself and hold walls inside, into one closed surface.

Six counts along lines vote on what is inside (engines/inside.py). The outvoted walls inside vanish, the level set of
the slightly smoothed vote is a closed manifold, and its vertices are put back onto the generated surface where that is
near. Upstream fills holes with copyleft programs, after unseeded random cuts.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from recon3d_runner.engines.inside import inside_votes
from recon3d_runner.engines.nvdiffrec.level_set import extract, keep_solids
from recon3d_runner.types import F32, F64, I32

SMALLEST = 0.02
"""Loose parts below this share of the largest one's volume are crumbs."""


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
