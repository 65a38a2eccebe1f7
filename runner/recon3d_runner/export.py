"""The delivered files of a mesh: mesh.glb, mesh.obj + mesh.mtl + textures/base_color.png, mesh.ply.

GLB is y-up with the front toward +z; OBJ and PLY keep the world frame (z up, front +x). All bytes are a function
of the mesh alone. OBJ and PLY keep the welded topology (UVs per corner), so that a reader sees the closed surface.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from recon3d_contract import layout

from recon3d_runner.glb import encode_png, read_glb, write_glb
from recon3d_runner.surface import vertex_colours, vertex_normals
from recon3d_runner.types import F64, TexturedMesh

__all__ = ["export_mesh", "read_glb", "write_glb", "write_obj", "write_ply"]

LINES: Final = 4096
"""Of a text file that are formatted at once."""


def export_mesh(mesh: TexturedMesh, out: Path, formats: Sequence[str] = ("glb", "obj", "ply")) -> list[Path]:
    """Write `formats` into the existing folder `out`; returns the paths relative to it.

    The GLB and textures/base_color.png are written whatever the formats.

    Raises ValueError for an empty mesh or one with a value that is not finite.
    """
    return export_glb(mesh, out) + export_others(mesh, out, formats)


def export_glb(mesh: TexturedMesh, out: Path) -> list[Path]:
    """Write what everything else reads, mesh.glb and textures/base_color.png. Raises ValueError as export_mesh."""
    if not len(mesh.faces):
        raise ValueError("the mesh has no faces")
    if not (np.isfinite(mesh.vertices).all() and np.isfinite(mesh.uv).all()):
        raise ValueError("the mesh has a position or UV that is not a number")
    png = encode_png(mesh)
    write_glb(mesh, out / layout.MESH_GLB, png)
    (out / layout.TEXTURE).parent.mkdir(exist_ok=True)
    (out / layout.TEXTURE).write_bytes(png)
    return [Path(layout.MESH_GLB), Path(layout.TEXTURE)]


def export_others(mesh: TexturedMesh, out: Path, formats: Sequence[str]) -> list[Path]:
    """Write the other `formats`; returns the paths relative to `out`."""
    names = []
    if "obj" in formats:
        write_obj(mesh, out)
        names += [layout.MESH_OBJ, layout.MESH_MTL]
    if "ply" in formats:
        write_ply(mesh, out / layout.MESH_PLY)
        names.append(layout.MESH_PLY)
    return [Path(name) for name in names]


def write_obj(mesh: TexturedMesh, out: Path) -> None:
    """Write mesh.obj and mesh.mtl, which names textures/base_color.png, into `out`."""
    (out / layout.MESH_MTL).write_text(
        f"newmtl surface\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nd 1\nillum 1\nmap_Kd {layout.TEXTURE}\n",
        encoding="ascii",
        newline="\n",
    )
    uv = mesh.uv * (1.0, -1.0) + (0.0, 1.0)  # OBJ's v points up
    normals = vertex_normals(mesh.vertices, mesh.faces)
    corner = np.stack([mesh.faces, mesh.uv_faces, mesh.faces], axis=2).reshape(len(mesh.faces), 9) + 1
    with (out / layout.MESH_OBJ).open("w", encoding="ascii", newline="\n") as file:
        file.write(f"# world frame: right-handed, z up, front +x\nmtllib {layout.MESH_MTL}\no object\n")
        file.write(_lines("v %.9g %.9g %.9g\n", mesh.vertices))
        file.write(_lines("vt %.9g %.9g\n", uv))
        file.write(_lines("vn %.6g %.6g %.6g\n", normals))
        file.write("usemtl surface\ns 1\n")
        file.write(_lines("f %d/%d/%d %d/%d/%d %d/%d/%d\n", corner))


def _lines(pattern: str, rows: F64 | np.ndarray[tuple[int, ...], np.dtype[np.int32]]) -> str:
    """A line a row. Some at a time: one great formatting would keep the interpreter's lock from all other threads."""
    pieces = (rows[at : at + LINES] for at in range(0, len(rows), LINES))
    return "".join((pattern * len(piece)) % tuple(piece.ravel().tolist()) for piece in pieces)


def write_ply(mesh: TexturedMesh, path: Path) -> None:
    """Write a binary PLY: positions, normals, sRGB colours per vertex; UVs per corner (`texcoord`, v up)."""
    vertex = np.empty(len(mesh.vertices), np.dtype([("position", "<f4", 3), ("normal", "<f4", 3), ("colour", "u1", 3)]))
    vertex["position"] = mesh.vertices
    vertex["normal"] = vertex_normals(mesh.vertices, mesh.faces)
    vertex["colour"] = vertex_colours(mesh)
    uv = (mesh.uv * (1.0, -1.0) + (0.0, 1.0))[mesh.uv_faces].reshape(len(mesh.faces), 6)
    face = np.empty(
        len(mesh.faces), np.dtype([("corners", "u1"), ("index", "<i4", 3), ("numbers", "u1"), ("uv", "<f4", 6)])
    )
    face["corners"], face["index"], face["numbers"], face["uv"] = 3, mesh.faces, 6, uv
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"comment world frame: right-handed, z up, front +x\ncomment TextureFile {layout.TEXTURE}\n"
        f"element vertex {len(vertex)}\n"
        + "".join(f"property float {name}\n" for name in ("x", "y", "z", "nx", "ny", "nz"))
        + "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
        + f"element face {len(face)}\nproperty list uchar int vertex_indices\nproperty list uchar float texcoord\n"
        "end_header\n"
    )
    path.write_bytes(header.encode("ascii") + vertex.tobytes() + face.tobytes())
