"""CPU back end of the port, and finished meshes rendered as a customer's viewer would show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from recon3d_runner.raster import kernels, shading
from recon3d_runner.raster.port import Fragments
from recon3d_runner.surface import vertex_normals
from recon3d_runner.types import F32, F64, I32, Camera, TexturedMesh

rasterize = kernels.rasterize
mip_pyramid = shading.build_pyramid

LIGHT = np.array([-0.35, -0.5, -0.79]) / np.linalg.norm([0.35, 0.5, 0.79])
"""Direction to the light in the camera frame: from above left behind the viewer."""
AMBIENT = 0.45
"""Share of the light that comes from everywhere."""


class CpuRasteriser:
    """The port's CPU back end: numba kernels, no state, any number of threads at once."""

    name: Final = "cpu"

    def rasterize(self, points: F64, faces: I32, size: int) -> Fragments:
        """See Rasteriser."""
        return Fragments(*kernels.rasterize(points, faces, size))


@dataclass(frozen=True)
class Rendered:
    """One rendered view."""

    rgb: F32
    """(n, n, 3) sRGB in [0, 1] over white."""
    alpha: F32
    """(n, n) coverage in [0, 1]."""


def project(vertices: F64, camera: Camera, size: int) -> F64:
    """World (V, 3) to (V, 3): pixel x, pixel y in an image of `size`, depth z."""
    p = vertices @ camera.rotation.T + camera.translation
    f = camera.focal(size)
    out: F64 = np.empty_like(p)
    out[:, 0] = f * p[:, 0] / p[:, 2] + size / 2
    out[:, 1] = f * p[:, 1] / p[:, 2] + size / 2
    out[:, 2] = p[:, 2]
    return out


def render_textured(
    mesh: TexturedMesh,
    camera: Camera,
    size: int,
    *,
    supersample: int = 2,
    shaded: bool = False,
    levels: shading.Pyramid | None = None,
) -> Rendered:
    """Render `mesh` with its texture (mip-mapped, `supersample`² rays a pixel) over white.

    `levels` (of `mip_pyramid`) saves making the pyramid again when several views are rendered.
    """
    n = size * supersample
    points = project(mesh.vertices, camera, n)
    levels = mip_pyramid(mesh.texture) if levels is None else levels
    lod = kernels.face_lod(points, mesh.faces, mesh.uv, mesh.uv_faces, mesh.texture.shape[0])
    normals = vertex_normals(mesh.vertices, mesh.faces) if shaded else np.zeros((0, 3))
    made = Rendered(np.ones((size, size, 3), np.float32), np.zeros((size, size), np.float32))
    shading.draw(
        points,
        mesh.faces,
        mesh.uv,
        mesh.uv_faces,
        lod,
        levels,
        normals,
        camera.rotation.T @ LIGHT,
        AMBIENT,
        supersample,
        made.rgb,
        made.alpha,
    )
    return made
