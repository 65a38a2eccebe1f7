"""What every writer and viewer of a TexturedMesh needs: smooth normals, vertices split at UV seams, colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recon3d_runner.types import F64, I32, U8, TexturedMesh


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
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return np.asarray(np.cross(b - a, c - a))


def vertex_normals(vertices: F64, faces: I32) -> F64:
    """(V, 3) unit normals, faces weighted by area; a vertex without any area around it gets +z."""
    normals = face_normals(vertices, faces)
    total = np.stack(
        [np.bincount(faces.ravel(), np.repeat(normals[:, axis], 3), minlength=len(vertices)) for axis in range(3)],
        axis=1,
    )
    length = np.linalg.norm(total, axis=1)
    flat = ~(length > 0)
    total[flat], length[flat] = (0.0, 0.0, 1.0), 1.0
    return np.asarray(total / length[:, None])


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
