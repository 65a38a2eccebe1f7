"""Last touch on the surface: no face crosses another, none is degenerate, whatever the optimiser left."""

from __future__ import annotations

import numpy as np

from recon3d_runner.quality.intersections import self_intersections
from recon3d_runner.surface import face_normals
from recon3d_runner.types import F64, I32

ROUNDS = 12


def _grow(marked: np.ndarray, faces: I32, rings: int) -> np.ndarray:
    for _ in range(rings):
        touched = marked[faces].any(1)
        marked = marked.copy()
        marked[faces[touched].ravel()] = True
    return marked


def _smooth(vertices: F64, faces: I32, marked: np.ndarray, amount: float) -> F64:
    """Move marked vertices towards the mean of their neighbours."""
    near = faces[marked[faces].any(1)]
    mean = np.zeros_like(vertices)
    weight = np.zeros(len(vertices))
    for k in range(3):
        i, j = near[:, k], near[:, (k + 1) % 3]
        np.add.at(mean, i, vertices[j])
        np.add.at(weight, i, 1.0)
    moved: F64 = vertices.copy()
    moved[marked] += amount * (mean[marked] / np.maximum(weight[marked], 1)[:, None] - vertices[marked])
    return moved


def degenerate(vertices: F64, faces: I32, share: float = 1e-7) -> np.ndarray:
    """(F,) faces whose area is below `share` of the mean area."""
    area = np.linalg.norm(face_normals(vertices, faces), axis=1)
    return np.asarray(area <= share * area.mean())


def repair(vertices: F64, faces: I32) -> tuple[F64, int]:
    """Smooth around self-intersections and degenerate faces until none is left.

    The neighbourhood grows by a ring every third round. Positions are rounded to float32 first, as the files
    hold them, so that what is clean here is clean on disk. Returns vertices and how many pairs remain: where smoothing
    does not get rid of them, those of the round with the fewest, since many handles in few faces end as a crumple.
    """
    vertices = vertices.astype(np.float32).astype(np.float64)
    fewest, best = len(faces) ** 2, vertices
    for k in range(ROUNDS):
        pairs = self_intersections(vertices, faces).pairs
        if len(pairs) < fewest:
            fewest, best = len(pairs), vertices
        bad = degenerate(vertices, faces)
        bad[pairs.ravel()] = True
        if not bad.any():
            return vertices, 0
        marked = np.zeros(len(vertices), bool)
        marked[faces[bad].ravel()] = True
        marked = _grow(marked, faces, k // 3)
        for _ in range(1 + k // 2):
            vertices = _smooth(vertices, faces, marked, 0.6)
        vertices = vertices.astype(np.float32).astype(np.float64)
    left = len(self_intersections(vertices, faces).pairs)
    return (vertices, left) if left < fewest else (best, fewest)
