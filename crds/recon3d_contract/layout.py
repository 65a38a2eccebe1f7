"""The names of all files of a result: `result.json`, `run.log` and one folder for each engine.

Paths are relative to the attempt's folder, with `/`. The same order is the ZIP's.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final

from recon3d_contract.conventions import VIEWS
from recon3d_contract.spec import ENGINES

RESULT: Final = "result.json"
RUN_LOG: Final = "run.log"
RUN_LOG_LIMIT: Final = 1_000_000
"""Bytes."""

MESH_GLB: Final = "mesh.glb"
MESH_OBJ: Final = "mesh.obj"
MESH_MTL: Final = "mesh.mtl"
MESH_PLY: Final = "mesh.ply"
TEXTURE: Final = "textures/base_color.png"
QUALITY: Final = "quality.json"
REPORT: Final = "report.html"
COMPARISON: Final = "previews/comparison.png"

DIAGONALS: Final = ("diagonal_a", "diagonal_b")
"""Preview cameras beside the six views, in the world directions (1, 1, 1) and (-1, -1, -1), normalised."""
PREVIEW_VIEWS: Final[tuple[str, ...]] = (*VIEWS, *DIAGONALS)


def textured_preview(view: str) -> str:
    """Name of the textured preview of `view`, one of PREVIEW_VIEWS."""
    return f"previews/textured_{view}.png"


def wireframe_preview(view: str) -> str:
    """Name of the wireframe preview of `view`, one of PREVIEW_VIEWS."""
    return f"previews/wireframe_{view}.png"


def engine_files(formats: Iterable[str] = ("glb", "obj", "ply")) -> tuple[str, ...]:
    """All files that a finished engine's folder holds, in order; `glb` is always among them."""
    wanted = set(formats)
    names = [MESH_GLB]
    if "obj" in wanted:
        names += [MESH_OBJ, MESH_MTL]
    if "ply" in wanted:
        names.append(MESH_PLY)
    names += [TEXTURE, QUALITY, REPORT, COMPARISON]
    names += [textured_preview(view) for view in PREVIEW_VIEWS]
    names += [wireframe_preview(view) for view in PREVIEW_VIEWS]
    return tuple(names)


_MEDIA_TYPES: Final = {
    ".json": "application/json",
    ".log": "text/plain; charset=utf-8",
    ".glb": "model/gltf-binary",
    ".obj": "model/obj",
    ".mtl": "model/mtl",
    ".ply": "application/octet-stream",
    ".png": "image/png",
    ".html": "text/html; charset=utf-8",
}


def media_type(path: str) -> str:
    """The Content-Type of a result file."""
    return _MEDIA_TYPES.get(PurePosixPath(path).suffix, "application/octet-stream")


_ORDER: Final = {
    path: index
    for index, path in enumerate(
        [RESULT, *(f"{engine}/{name}" for engine in ENGINES for name in engine_files()), RUN_LOG]
    )
}


def zip_order(paths: Iterable[str]) -> list[str]:
    """Sort `paths`: result.json first, then each engine as engine_files, unknown names, run.log last."""
    unknown = _ORDER[RUN_LOG]
    return sorted(paths, key=lambda path: (_ORDER.get(path, unknown), path == RUN_LOG, path))
