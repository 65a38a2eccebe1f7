"""From a field of signed distances to the closed surface of its solids."""

from __future__ import annotations

import numpy as np

from recon3d_runner.types import F32, F64, I32


def extract(field: F32, origin: F64, step: float) -> tuple[F64, I32]:
    """Zero level set as a closed mesh, outward oriented."""
    from skimage.measure import marching_cubes

    vertices, faces, _, _ = marching_cubes(field, 0.0, gradient_direction="descent", allow_degenerate=True)
    return vertices.astype(np.float64) * step + origin, np.ascontiguousarray(faces, np.int32)


def components(faces: I32, vertices: int) -> I32:
    """(F,) connected component of every face."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    graph = coo_matrix((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(vertices, vertices))
    _, label = connected_components(graph, directed=False)
    return np.asarray(label[faces[:, 0]], np.int32)


def volume(vertices: F64, faces: I32) -> float:
    """Signed volume of a closed mesh."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def keep_solids(vertices: F64, faces: I32, share: float = 2e-4) -> tuple[F64, I32]:
    """Drop cavities (negative volume) and crumbs below `share` of the largest component's volume."""
    label = components(faces, len(vertices))
    kept = np.zeros(len(faces), bool)
    sizes = {c: volume(vertices, faces[label == c]) for c in np.unique(label)}
    largest = max(sizes.values())
    for c, size in sizes.items():
        if size > share * largest:
            kept |= label == c
    return compact(vertices, faces[kept])


def compact(vertices: F64, faces: I32) -> tuple[F64, I32]:
    """Drop vertices that no face uses."""
    used = np.zeros(len(vertices), bool)
    used[faces.ravel()] = True
    index = np.cumsum(used) - 1
    return vertices[used], index[faces].astype(np.int32)
