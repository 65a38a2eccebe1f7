"""What every writer and viewer of a TexturedMesh needs: smooth normals, vertices split at UV seams, colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from recon3d_runner.types import F64, I32, I64, U8, TexturedMesh


@dataclass(frozen=True)
class Corners:
    """A mesh whose vertices carry one UV each, as GPUs want it: `vertex[k]` and `uv[k]` make split vertex k."""

    vertex: I32
    """(S,) index into TexturedMesh.vertices."""
    uv: I32
    """(S,) index into TexturedMesh.uv."""
    faces: I32
    """(F, 3) indices into the split vertices."""


def face_normals(vertices: F64, faces: I32) -> F64:
    """(F, 3) unnormalised outward normals, twice the face's area long."""
    normals = np.empty((len(faces), 3))
    _face_normals(np.ascontiguousarray(vertices, np.float64), np.ascontiguousarray(faces, np.int64), normals)
    return normals


@njit(cache=True, nogil=True)
def _face_normals(vertices: F64, faces: I64, out: F64) -> None:
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        out[f, 0], out[f, 1], out[f, 2] = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx


def vertex_normals(vertices: F64, faces: I32) -> F64:
    """(V, 3) unit normals, faces weighted by area; a vertex without any area around it gets +z."""
    normals = np.zeros((len(vertices), 3))
    _sum_at_corners(face_normals(vertices, faces), np.ascontiguousarray(faces, np.int64), normals)
    return normals


@njit(cache=True, nogil=True)
def _sum_at_corners(normals: F64, faces: I64, out: F64) -> None:
    """Directions of the sums of the faces' normals around every vertex."""
    for f in range(len(faces)):
        for k in range(3):
            for axis in range(3):
                out[faces[f, k], axis] += normals[f, axis]
    for v in range(len(out)):
        length = np.sqrt(out[v, 0] ** 2 + out[v, 1] ** 2 + out[v, 2] ** 2)
        if not length > 0.0:
            out[v, 0], out[v, 1], out[v, 2] = 0.0, 0.0, 1.0
            continue
        for axis in range(3):
            out[v, axis] /= length


def split_at_seams(mesh: TexturedMesh) -> Corners:
    """Split vertices only where one position has several UVs, in the order in which faces first name them."""
    key = mesh.faces.ravel().astype(np.int64) * max(len(mesh.uv), 1) + mesh.uv_faces.ravel()
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    corner = first[order]
    return Corners(
        vertex=mesh.faces.ravel()[corner].astype(np.int32),
        uv=mesh.uv_faces.ravel()[corner].astype(np.int32),
        faces=rank[inverse.ravel()].reshape(-1, 3).astype(np.int32),
    )


def sample_texture(texture: U8, uv: F64) -> F64:
    """(N, C) bilinear samples of a (T, T, C) image at (N, 2) UVs (texel centres at +0.5), edges clamped."""
    height, width = texture.shape[:2]
    x = np.clip(uv[:, 0] * width - 0.5, 0.0, width - 1.0)
    y = np.clip(uv[:, 1] * height - 0.5, 0.0, height - 1.0)
    x0, y0 = x.astype(np.int64), y.astype(np.int64)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    upper = texture[y0, x0] * (1 - fx) + texture[y0, x1] * fx
    lower = texture[y1, x0] * (1 - fx) + texture[y1, x1] * fx
    return np.asarray(upper * (1 - fy) + lower * fy)


def vertex_colours(mesh: TexturedMesh) -> U8:
    """(V, 3) texture colour at each vertex, the mean over its UVs where a seam gives it several."""
    corners = split_at_seams(mesh)
    colour = sample_texture(mesh.texture, mesh.uv[corners.uv])
    count = np.bincount(corners.vertex, minlength=len(mesh.vertices))
    total = np.stack(
        [np.bincount(corners.vertex, colour[:, k], minlength=len(mesh.vertices)) for k in range(3)], axis=1
    )
    return np.asarray(np.round(total / np.maximum(count, 1)[:, None]), dtype=np.uint8)


def creases(normals: F64, faces: I32, least: float, most: float) -> F64:
    """(V,) 0 where the neighbours' normals are within `least` degrees of a vertex's, 1 from `most` on."""
    cosine = np.ones(len(normals))
    _least_cosines(normals, faces, cosine)
    turn = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
    return np.clip((turn - least) / (most - least), 0.0, 1.0)


@njit(cache=True, nogil=True)
def _least_cosines(normals: F64, faces: I32, out: F64) -> None:
    """Lower `out` (V,) to the least cosine between a vertex's normal and its neighbours'."""
    for f in range(len(faces)):
        for k in range(3):
            # Every edge of a closed surface is met from either side, so that both its ends are.
            i, j = faces[f, k], faces[f, (k + 1) % 3]
            cosine = normals[i, 0] * normals[j, 0] + normals[i, 1] * normals[j, 1] + normals[i, 2] * normals[j, 2]
            out[i] = min(out[i], cosine)
