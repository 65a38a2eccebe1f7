"""Solids for the procedural cases, as Blender mesh objects, and their boolean union and difference.

Every function gives a closed, consistently oriented mesh, so Blender's manifold solver can combine them
exactly: flat walls stay flat, edges sharp, and each part keeps its material.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import bmesh
import bpy
import numpy as np
from mathutils import Matrix, Vector

Solid = bpy.types.Object
Point = Sequence[float]


def from_arrays(vertices: np.ndarray, faces: Iterable[Sequence[int]], material: bpy.types.Material) -> Solid:
    """A mesh of `vertices` (V, 3) and polygons, oriented outwards."""
    mesh = bpy.data.meshes.new("solid")
    mesh.from_pydata(np.asarray(vertices, float).tolist(), [], [list(map(int, f)) for f in faces])
    bm = bmesh.new()
    bm.from_mesh(mesh)
    bmesh.ops.recalc_face_normals(bm, faces=bm.faces)
    return _finish(bm, material, mesh)


def _finish(bm: bmesh.types.BMesh, material: bpy.types.Material, mesh: bpy.types.Mesh | None = None) -> Solid:
    # The boolean solver would otherwise cut polygons that are not flat, and bend them.
    bmesh.ops.triangulate(bm, faces=bm.faces)
    mesh = mesh or bpy.data.meshes.new("solid")
    bm.to_mesh(mesh)
    bm.free()
    mesh.materials.append(material)
    solid = bpy.data.objects.new("solid", mesh)
    bpy.context.scene.collection.objects.link(solid)
    return solid


def _placed(at: Point, turn: Point) -> Matrix:
    rotation = Matrix.Identity(4)
    for angle, axis in zip(turn, "XYZ", strict=True):
        rotation = Matrix.Rotation(math.radians(angle), 4, axis) @ rotation
    return Matrix.Translation(at) @ rotation


def box(
    size: Point, material: bpy.types.Material, at: Point = (0, 0, 0), turn: Point = (0, 0, 0), rounding: float = 0.0
) -> Solid:
    """A box of edge lengths `size`, its edges rounded with radius `rounding`, turned (degrees, x then y then z)."""
    bm = bmesh.new()
    bmesh.ops.create_cube(bm, size=1.0)
    bmesh.ops.scale(bm, vec=Vector(size), verts=bm.verts)
    if rounding:
        bmesh.ops.bevel(bm, geom=bm.edges[:], offset=rounding, segments=8, profile=0.5, affect="EDGES")
    bmesh.ops.transform(bm, matrix=_placed(at, turn), verts=bm.verts)
    return _finish(bm, material)


def cone(
    radius: float,
    end_radius: float,
    height: float,
    material: bpy.types.Material,
    at: Point = (0, 0, 0),
    turn: Point = (0, 0, 0),
    rounding: float = 0.0,
    segments: int = 96,
) -> Solid:
    """A cone along z, its middle at `at`; `rounding` rounds the rims."""
    bm = bmesh.new()
    bmesh.ops.create_cone(
        bm, cap_ends=True, segments=segments, radius1=radius, radius2=max(end_radius, 1e-4), depth=height
    )
    if rounding:
        rims = [e for e in bm.edges if abs(e.verts[0].co.z - e.verts[1].co.z) < 1e-6]
        bmesh.ops.bevel(bm, geom=rims, offset=rounding, segments=6, profile=0.5, affect="EDGES")
    bmesh.ops.transform(bm, matrix=_placed(at, turn), verts=bm.verts)
    return _finish(bm, material)


def rod(
    radius: float,
    height: float,
    material: bpy.types.Material,
    at: Point = (0, 0, 0),
    turn: Point = (0, 0, 0),
    rounding: float = 0.0,
    segments: int = 96,
) -> Solid:
    """A cylinder along z, its middle at `at`."""
    return cone(radius, radius, height, material, at, turn, rounding, segments)


def ball(radius: float, material: bpy.types.Material, at: Point = (0, 0, 0), stretch: Point = (1, 1, 1)) -> Solid:
    """A sphere, stretched along the axes."""
    bm = bmesh.new()
    bmesh.ops.create_uvsphere(bm, u_segments=96, v_segments=48, radius=radius)
    bmesh.ops.scale(bm, vec=Vector(stretch), verts=bm.verts)
    bmesh.ops.translate(bm, vec=Vector(at), verts=bm.verts)
    return _finish(bm, material)


def blob(material: bpy.types.Material, shape: Callable[[np.ndarray], np.ndarray], level: int = 6) -> Solid:
    """An icosphere whose unit directions (N, 3) are moved to `shape(directions)` (N, 3)."""
    bm = bmesh.new()
    bmesh.ops.create_icosphere(bm, subdivisions=level, radius=1.0)
    unit = np.array([v.co[:] for v in bm.verts])
    for vertex, moved in zip(bm.verts, shape(unit), strict=True):
        vertex.co = moved
    return _finish(bm, material)


def tube(path: np.ndarray, radius: float | np.ndarray, material: bpy.types.Material, sides: int = 48) -> Solid:
    """A round tube along `path` (N, 3); closed into a ring when the first point is repeated at the end."""
    path = np.asarray(path, float)
    ring = bool(np.allclose(path[0], path[-1]))
    radii = np.broadcast_to(np.asarray(radius, float), (len(path),))
    if ring:
        path, radii = path[:-1], radii[:-1]
        tangents = np.roll(path, -1, 0) - np.roll(path, 1, 0)
    else:
        tangents = np.gradient(path, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    count = len(path)
    # A frame carried along the path; its twist around a ring is spread over all of it.
    normal = np.cross(tangents[0], np.eye(3)[np.argmin(np.abs(tangents[0]))])
    normals = []
    for tangent in tangents:
        normal = normal - tangent * (normal @ tangent)
        normal /= np.linalg.norm(normal)
        normals.append(normal)
    twist = 0.0
    if ring:
        last = normals[-1] - tangents[0] * (normals[-1] @ tangents[0])
        twist = math.atan2(np.cross(last, normals[0]) @ tangents[0], last @ normals[0])
    angle = np.linspace(0, 2 * math.pi, sides, endpoint=False)
    rows = []
    for i, (point, tangent, n, r) in enumerate(zip(path, tangents, normals, radii, strict=True)):
        a = angle[:, None] + twist * i / count
        rows.append(point + r * (np.cos(a) * n + np.sin(a) * np.cross(tangent, n)))
    faces: list[list[int]] = []
    for i in range(count if ring else count - 1):
        j = (i + 1) % count
        faces += [
            [i * sides + k, i * sides + (k + 1) % sides, j * sides + (k + 1) % sides, j * sides + k]
            for k in range(sides)
        ]
    if not ring:
        faces += [list(range(sides)), list(range((count - 1) * sides, count * sides))]
    return from_arrays(np.concatenate(rows), faces, material)


def ring(
    radius: float, thickness: float, material: bpy.types.Material, at: Point = (0, 0, 0), turn: Point = (0, 0, 0)
) -> Solid:
    """A torus around z: `radius` to the middle of its tube, whose radius is `thickness`."""
    t = np.linspace(0, 2 * math.pi, 129)
    path = np.stack([radius * np.cos(t), radius * np.sin(t), 0 * t, 1 + 0 * t], 1) @ np.array(_placed(at, turn)).T
    path[-1] = path[0]
    return tube(path[:, :3], thickness, material)


def lathe(profile: Sequence[tuple[float, float]], material: bpy.types.Material, segments: int = 160) -> Solid:
    """The solid that a closed profile of (radius, z) points sweeps around z; radius 0 only at its two ends."""
    t = np.linspace(0, 2 * math.pi, segments, endpoint=False)
    rows = [np.stack([r * np.cos(t), r * np.sin(t), np.full_like(t, z)], 1) for r, z in profile if r > 0]
    faces: list[list[int]] = []
    for i in range(len(rows) - 1):
        faces += [
            [i * segments + k, i * segments + (k + 1) % segments, (i + 1) * segments + (k + 1) % segments]
            + [(i + 1) * segments + k]
            for k in range(segments)
        ]
    vertices = np.concatenate(rows)
    for (_, z), start in ((profile[0], 0), (profile[-1], (len(rows) - 1) * segments)):
        vertices = np.concatenate([vertices, [[0, 0, z]]])
        faces += [[start + k, start + (k + 1) % segments, len(vertices) - 1] for k in range(segments)]
    return from_arrays(vertices, faces, material)


def letters(
    text: str, width: float, thickness: float, material: bpy.types.Material, at: Point, turn: Point = (0, 0, 0)
) -> Solid:
    """`text` in Blender's own font, `width` wide, standing out along z before it is turned."""
    curve = bpy.data.curves.new("text", "FONT")
    curve.body, curve.align_x, curve.align_y = text, "CENTER", "CENTER"
    curve.resolution_u, curve.extrude = 6, 0.5
    source = bpy.data.objects.new("text", curve)
    bpy.context.scene.collection.objects.link(source)
    bpy.context.view_layer.update()
    mesh = bpy.data.meshes.new_from_object(source.evaluated_get(bpy.context.evaluated_depsgraph_get()))
    bpy.data.objects.remove(source)
    bm = bmesh.new()
    bm.from_mesh(mesh)
    bmesh.ops.remove_doubles(bm, verts=bm.verts, dist=1e-5)
    bmesh.ops.recalc_face_normals(bm, faces=bm.faces)
    x = [v.co.x for v in bm.verts]
    scale = width / (max(x) - min(x))
    bmesh.ops.scale(bm, vec=(scale, scale, thickness), verts=bm.verts)
    bmesh.ops.transform(bm, matrix=_placed(at, turn), verts=bm.verts)
    mesh.materials.clear()
    return _finish(bm, material)


def combine(base: Solid, others: Iterable[Solid], operation: str = "UNION") -> Solid:
    """`base` united with (or, DIFFERENCE, without) the others, which are used up."""
    for other in others:
        modifier = base.modifiers.new("combine", "BOOLEAN")
        modifier.operation, modifier.object = operation, other
        modifier.solver, modifier.material_mode = "MANIFOLD", "TRANSFER"
        bpy.context.view_layer.update()
        mesh = bpy.data.meshes.new_from_object(base.evaluated_get(bpy.context.evaluated_depsgraph_get()))
        base.modifiers.clear()
        base.data = mesh
        bpy.data.objects.remove(other)
    return base


def union(solids: Sequence[Solid]) -> Solid:
    """All solids as one surface."""
    return combine(solids[0], solids[1:])


def without(base: Solid, tools: Iterable[Solid]) -> Solid:
    """`base` with the tools cut out of it; the cuts carry the tools' materials."""
    return combine(base, tools, "DIFFERENCE")
