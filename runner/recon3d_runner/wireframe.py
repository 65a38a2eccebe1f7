"""A mesh's edges over soft shading, hidden lines removed, readable from a hundred faces to a hundred thousand."""

from __future__ import annotations

from typing import Final

import numpy as np

from recon3d_runner.quality.jit import kernel
from recon3d_runner.raster.cpu import project, rasterize
from recon3d_runner.raster.kernels import within
from recon3d_runner.surface import vertex_normals
from recon3d_runner.types import F32, F64, I32, Camera, TexturedMesh

LINE_WIDTH: Final = 0.9
"""Pixels of the finished picture."""
CLEAR_HEIGHT: Final = 7.0
"""Pixels of a triangle's smaller height below which its lines fade, so that dense parts stay shaded, not black."""
SURFACE: Final = np.array([0.80, 0.84, 0.89], np.float32)
LINE: Final = np.array([0.07, 0.16, 0.33], np.float32)


def render_wireframe(mesh: TexturedMesh, camera: Camera, size: int, *, supersample: int = 2) -> F32:
    """(size, size, 3) sRGB in [0, 1] over white.

    Every sample knows the face that it sees, so its distance to that face's edges on the screen draws the lines
    and the depth test has already removed the hidden ones; supersampling smooths what is left.
    """
    n = size * supersample
    points = project(mesh.vertices, camera, n)
    face, _, bary = rasterize(points, mesh.faces, n)
    image = np.empty((size, size, 3), np.float32)
    normals = vertex_normals(mesh.vertices, mesh.faces) @ camera.rotation.T
    _shade(face, bary, points, mesh.faces, normals, supersample, SURFACE, LINE, image)
    return image


@kernel
def _shade(
    face: I32, bary: F32, points: F64, faces: I32, normals: F64, supersample: int, surface: F32, line: F32, out: F32
) -> None:
    """Write `out` (n, n, 3), the mean of its samples over white.

    face, bary: of the samples; points: (V, 3) in samples; normals: (V, 3) in the camera frame.
    """
    n = out.shape[0]
    scale = float(supersample)
    half = 0.5 * LINE_WIDTH * scale
    colour = np.empty(3, np.float32)
    for j in range(n):
        for i in range(n):
            out[j, i] = np.float32(0)
            for y in range(j * supersample, (j + 1) * supersample):
                for x in range(i * supersample, (i + 1) * supersample):
                    colour[:] = np.float32(1)
                    if face[y, x] >= 0:
                        _sample(face, bary, points, faces, normals, scale, half, surface, line, y, x, colour)
                    for k in range(3):
                        out[j, i, k] += colour[k]
            for k in range(3):
                out[j, i, k] /= np.float32(supersample**2)


@kernel
def _sample(
    face: I32,
    bary: F32,
    points: F64,
    faces: I32,
    normals: F64,
    scale: float,
    half: float,
    surface: F32,
    line: F32,
    j: int,
    i: int,
    out: F32,
) -> None:
    """Colour of one sample that shows a face."""
    f = face[j, i]
    b1, b2 = bary[j, i, 0], bary[j, i, 1]
    x = within(normals, faces, f, b1, b2, 0)
    y = within(normals, faces, f, b1, b2, 1)
    z = within(normals, faces, f, b1, b2, 2)
    length = max(np.sqrt(x * x + y * y + z * z), 1e-12)
    # A wide light from above left, half wrapped around, and a little rim so that outlines read on white.
    lambert = 0.5 + 0.5 * (-0.40 * x - 0.62 * y - 0.67 * z) / length
    facing = max(-z / length, 0.0)
    light = 0.42 + 0.62 * lambert * (0.72 + 0.28 * facing)

    nearest, tallest = 1e9, 0.0
    for k in range(3):
        p, q, r = faces[f, k], faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
        dx, dy = points[q, 0] - points[p, 0], points[q, 1] - points[p, 1]
        side = max(np.sqrt(dx * dx + dy * dy), 1e-9)
        distance = abs(dx * (j + 0.5 - points[p, 1]) - dy * (i + 0.5 - points[p, 0])) / side
        nearest = min(nearest, distance)
        tallest = max(tallest, side)
        area = abs(dx * (points[r, 1] - points[p, 1]) - dy * (points[r, 0] - points[p, 0]))
    height = area / tallest / scale
    ink = min(max(half + 0.5 - nearest, 0.0), 1.0) * min(max(height / CLEAR_HEIGHT, 0.12), 1.0) * 0.85
    for k in range(3):
        out[k] = min(surface[k] * light, 1.0) * (1.0 - ink) + line[k] * ink
