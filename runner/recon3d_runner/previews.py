"""Pictures of the result: textured and wireframe from six views and two diagonals, and the comparison sheet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
from recon3d_contract import layout

from recon3d_runner import png
from recon3d_runner.comparison import comparison_sheet
from recon3d_runner.raster.cpu import Rendered, mip_pyramid, render_textured
from recon3d_runner.raster.shading import Pyramid
from recon3d_runner.types import F32, U8, Camera, TexturedMesh
from recon3d_runner.wireframe import render_wireframe

SIZE: Final = 1024
DIAGONALS: Final = dict(zip(layout.DIAGONALS, ((1.0, 1.0, 1.0), (-1.0, -1.0, -1.0)), strict=True))
"""World direction from the object to the camera of each diagonal preview: front left top, back right bottom."""
FILL: Final = 0.92
"""Share of the picture's width that the bounding sphere takes in a diagonal preview."""


def to_u8(image: F32) -> U8:
    """[0, 1] floats to bytes, rounded."""
    return np.asarray(np.round(np.clip(image, 0, 1) * 255), np.uint8)


def look_at(direction: Sequence[float], target: np.ndarray, distance: float, fov_deg: float) -> Camera:
    """A camera `distance` away from `target` (3,) in world `direction`, looking at it, world z up in the image."""
    forward = -np.asarray(direction, np.float64) / np.linalg.norm(direction)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return Camera(rotation, -rotation @ (target - distance * forward), fov_deg)


def diagonal_camera(mesh: TexturedMesh, direction: Sequence[float], fov_deg: float) -> Camera:
    """The camera of a diagonal preview: the mesh's bounding sphere fills FILL of the picture."""
    used = mesh.vertices[np.unique(mesh.faces)]
    target = (used.min(axis=0) + used.max(axis=0)) / 2
    radius = float(np.linalg.norm(used - target, axis=1).max())
    half = np.arctan(FILL * np.tan(np.radians(fov_deg) / 2))
    return look_at(direction, target, radius / float(np.sin(half)), fov_deg)


def preview_cameras(mesh: TexturedMesh, cameras: Mapping[str, Camera]) -> dict[str, Camera]:
    """All preview cameras by name: the calibrated ones, so that the pictures match the inputs, and the diagonals."""
    fov = next(iter(cameras.values())).fov_deg
    return dict(cameras) | {name: diagonal_camera(mesh, way, fov) for name, way in DIAGONALS.items()}


def write_previews(
    mesh: TexturedMesh,
    cameras: Mapping[str, Camera],
    out: Path,
    *,
    threads: int = 2,
    levels: Pyramid | None = None,
    tick: Callable[[float], None] | None = None,
) -> list[Path]:
    """Write the textured and wireframe previews below the existing folder `out`; returns paths relative to it.

    cameras: by view name, as the inputs were taken. levels: the texture's `mip_pyramid`, where the caller has it.
    `tick` hears the share done, from this thread; what it raises ends the work.
    """
    (out / "previews").mkdir(exist_ok=True)
    levels = mip_pyramid(mesh.texture) if levels is None else levels

    def draw(job: tuple[str, str, Camera]) -> Path:
        kind, name, camera = job
        if kind == "textured":
            image, path = render_textured(mesh, camera, SIZE, levels=levels).rgb, layout.textured_preview(name)
        else:
            image, path = render_wireframe(mesh, camera, SIZE), layout.wireframe_preview(name)
        # Pillow would hold the interpreter's lock while it compresses, and others wait.
        (out / path).write_bytes(png.encode(to_u8(image), 6))
        return Path(path)

    all_cameras = preview_cameras(mesh, cameras)
    jobs = [(kind, name, camera) for kind in ("textured", "wireframe") for name, camera in all_cameras.items()]
    written: list[Path] = []
    with ThreadPoolExecutor(threads) as pool:
        try:
            for path in pool.map(draw, jobs):
                written.append(path)
                if tick is not None:
                    tick(len(written) / len(jobs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return written


def write_comparison(
    scores: Mapping[str, float], references: Mapping[str, F32], renders: Mapping[str, Rendered], out: Path
) -> Path:
    """Write previews/comparison.png below `out`: input, render and difference of every view.

    scores: PSNR over the foreground in dB by view name, in the sheet's order; references: the inputs over white,
    (H, H, 3); renders: at the same resolution.
    """
    (out / "previews").mkdir(exist_ok=True)
    sheet = comparison_sheet(
        [(name, f"{score:.1f} dB", references[name], renders[name].rgb) for name, score in scores.items()]
    )
    (out / layout.COMPARISON).write_bytes(png.encode(sheet, 6))
    return Path(layout.COMPARISON)
