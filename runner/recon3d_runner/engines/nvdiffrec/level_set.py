"""From a field of signed distances to the closed surface of its solids."""

from __future__ import annotations

import numpy as np
from numba import njit

from recon3d_runner.bands import in_bands
from recon3d_runner.engines.nvdiffrec.remesh import face_normal
from recon3d_runner.types import F32, F64, I32, I64, Bool


def extract(field: F32, origin: F64, step: float) -> tuple[F64, I32]:
    """Zero level set as a closed mesh, outward oriented.

    By the method of Lewiner et al. (2003): where the signs at a cell's corners leave a choice, the values within
    decide. A fixed choice puts handles across narrow gaps.
    """
    from skimage.measure import marching_cubes

    crossed = np.zeros(field.shape, np.bool_)
    in_bands(lambda first, last: _cross(field, first, last, crossed), len(field) - 1)
    vertices, faces, _, _ = marching_cubes(
        field, 0.0, gradient_direction="descent", allow_degenerate=True, mask=crossed
    )
    return vertices.astype(np.float64) * step + origin, np.ascontiguousarray(faces, np.int32)


@njit(cache=True, nogil=True)
def _cross(field: F32, first: int, last: int, crossed: Bool) -> None:
    """Mark, at their last corners, the cells of planes [first, last) whose corners do not all have one sign.

    The others hold no surface, and to look into all of them takes longer than to draw it.
    """
    for i in range(first, last):
        for j in range(field.shape[1] - 1):
            a, b, c, d = field[i, j], field[i, j + 1], field[i + 1, j], field[i + 1, j + 1]
            out = crossed[i + 1, j + 1]
            near = int(a[0] < 0) + int(b[0] < 0) + int(c[0] < 0) + int(d[0] < 0)
            for k in range(1, field.shape[2]):
                far = int(a[k] < 0) + int(b[k] < 0) + int(c[k] < 0) + int(d[k] < 0)
                out[k] = 0 < near + far < 8
                near = far


@njit(cache=True, nogil=True)
def representative(parent: I64, at: int) -> int:
    """Whom the set of `at` goes by in a forest of `parent`; the way there is halved."""
    while parent[at] != at:
        parent[at] = parent[parent[at]]
        at = parent[at]
    return at


@njit(cache=True, nogil=True)
def components(faces: I32, vertices: int) -> tuple[I32, int]:
    """(F,) connected component of every face, numbered as they come up, and how many there are."""
    parent = np.arange(vertices)
    for f in range(len(faces)):
        for k in range(1, 3):
            a, b = representative(parent, faces[f, 0]), representative(parent, faces[f, k])
            parent[max(a, b)] = min(a, b)
    number = np.full(vertices, -1, np.int32)
    label = np.empty(len(faces), np.int32)
    count = 0
    for f in range(len(faces)):
        a = representative(parent, faces[f, 0])
        if number[a] < 0:
            number[a] = count
            count += 1
        label[f] = number[a]
    return label, count


@njit(cache=True, nogil=True)
def _volumes(vertices: F64, faces: I32, label: I32, out: F64) -> None:
    """Add to `out` the signed volumes of components, closed meshes each."""
    for f in range(len(faces)):
        x, y, z = face_normal(vertices, faces[f, 0], faces[f, 1], faces[f, 2])
        a = vertices[faces[f, 0]]
        out[label[f]] += (a[0] * x + a[1] * y + a[2] * z) / 6


def volume(vertices: F64, faces: I32) -> float:
    """Signed volume of a closed mesh."""
    out = np.zeros(1)
    _volumes(vertices, faces, np.zeros(len(faces), np.int32), out)
    return float(out[0])


def keep_solids(vertices: F64, faces: I32, share: float = 2e-4) -> tuple[F64, I32]:
    """Drop cavities (negative volume) and crumbs below `share` of the largest component's volume."""
    label, count = components(faces, len(vertices))
    sizes = np.zeros(count)
    _volumes(vertices, faces, label, sizes)
    return compact(vertices, faces[(sizes > share * sizes.max())[label]])


@njit(cache=True, nogil=True)
def compact(vertices: F64, faces: I32) -> tuple[F64, I32]:
    """Drop faces that have one vertex twice, and vertices that no face uses."""
    index = np.full(len(vertices), -1, np.int32)
    kept = np.empty_like(faces)
    count = 0
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        if a != b and b != c and c != a:
            kept[count, 0], kept[count, 1], kept[count, 2] = a, b, c
            index[a] = index[b] = index[c] = 0
            count += 1
    points = np.empty_like(vertices)
    used = 0
    for v in range(len(vertices)):
        if index[v] == 0:
            points[used] = vertices[v]
            index[v] = used
            used += 1
    for f in range(count):
        for k in range(3):
            kept[f, k] = index[kept[f, k]]
    return points[:used].copy(), kept[:count].copy()
