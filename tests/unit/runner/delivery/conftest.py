"""Meshes that the delivery tests share: real geometry with a real atlas and texture, made here, never mocked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import trimesh
from recon3d_runner.types import F64, I32, TexturedMesh


def box_atlas(vertices: F64, faces: I32, margin: float = 0.02) -> tuple[F64, I32]:
    """UVs by projection along the face's main axis, six cells of a 3 x 3 grid: no overlap for a star shape."""
    normal = np.cross(vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]])
    axis = np.abs(normal).argmax(axis=1)
    cell = 2 * axis + (np.take_along_axis(normal, axis[:, None], 1)[:, 0] < 0)
    low, extent = vertices.min(axis=0), np.ptp(vertices, axis=0).max()
    parts: list[F64] = []
    uv_faces = np.zeros_like(faces)
    base = 0
    for k in range(6):
        named, place = np.unique(faces[cell == k], return_inverse=True)
        flat = ((vertices[named] - low) / extent)[:, [(k // 2 + 1) % 3, (k // 2 + 2) % 3]]
        if k % 2:
            flat = flat * (-1, 1) + (1, 0)
        parts.append((flat * (1 - 2 * margin) + margin + (k % 3, k // 3)) / 3)
        uv_faces[cell == k] = place.reshape(-1, 3) + base
        base += len(named)
    return np.concatenate(parts), uv_faces


def stripes(size: int) -> np.ndarray:
    """A (size, size, 3) texture with detail in every channel."""
    y, x = np.mgrid[:size, :size] / size
    waves = [np.sin(40 * x), np.cos(30 * y), np.sin(20 * (x + y))]
    return np.stack([127.5 + 120 * wave for wave in waves], axis=-1).astype(np.uint8)


def textured(vertices: F64, faces: I32, size: int = 128) -> TexturedMesh:
    """A mesh with the box atlas; the upper rows of its texture are unseen."""
    uv, uv_faces = box_atlas(vertices, faces)
    unseen = np.zeros((size, size), np.bool_)
    unseen[: size // 10] = True
    return TexturedMesh(vertices, faces, uv, uv_faces.astype(np.int32), stripes(size), unseen)


@pytest.fixture
def make_blob() -> Callable[..., TexturedMesh]:
    """A closed, lumpy, star-shaped mesh of 20 * 4^subdivisions faces with a front unlike its back."""

    def make(subdivisions: int = 3, size: int = 128) -> TexturedMesh:
        sphere = trimesh.creation.icosphere(subdivisions=subdivisions)
        v = np.array(sphere.vertices)
        lump = 1 + 0.15 * np.sin(6 * v[:, :1]) * np.sin(5 * v[:, 1:2] + 1) * np.cos(4 * v[:, 2:])
        return textured(0.5 * v * lump, np.array(sphere.faces, np.int32), size)

    return make
