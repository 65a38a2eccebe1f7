"""Sharp edges back where carving and pixels have cut them off: vertices onto the lines in which two sides meet.

Marching cubes and the geometry pass leave a row of faces across every sharp edge, since no vertex lies on it and none
gets there along its normal. The sides themselves are measured well, a face away from the edge. So every face beside an
edge takes the plane of the side that it fits best, and the vertices around go to where their faces' planes meet (as
Attene et al. 2005 do for scans). A vertex that would go far, fit its planes badly, turn a face over or stand where a
view shows nothing stays where it was: an edge that is round stays round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import numpy as np
from numba import njit

from recon3d_runner.bands import in_bands
from recon3d_runner.engines.nvdiffrec.fusion import Silhouette
from recon3d_runner.engines.nvdiffrec.remesh import edge_table, face_neighbours, face_normal, flip, incident
from recon3d_runner.raster.cpu import project
from recon3d_runner.surface import face_normals
from recon3d_runner.types import F64, I32, Bool, View

SHARP: Final = 25.0
"""Degrees between two faces from which on their edge is sharp."""
ROUNDS: Final = 12
BORDER: Final = 0.12
"""What a neighbour of another side costs a face, in edge lengths of distance from its plane."""
TURNED: Final = 0.3
"""What facing across a plane costs it."""
SAME: Final = 0.95
"""Cosine between planes from which on they are one side's."""
FLAT: Final = 0.03
"""Eigenvalue of the planes' scatter, of a sum of one, below which they say nothing of a direction."""
REACH: Final = 1.0
"""Edge lengths that a vertex may move at most."""
FIT: Final = 0.1
"""Edge lengths from the planes that it may be left with."""
OUTSIDE: Final = 0.35
"""Pixels that it may then lie outside an outline or, beyond depth's rounding, in front of what a view shows."""

Allowed = Callable[[F64], Bool]
"""Which of the points (N, 3) no view shows to be empty."""


def sharpen(vertices: F64, faces: I32, seen: Bool, allowed: Allowed) -> tuple[F64, I32]:
    """Vertices moved onto sharp edges and corners, and faces, flipped where that suits them better.

    seen: (V,) which vertices views measure: only they move, and only sides that they make up are believed. Once more
    finds edges that flipping has straightened.
    """
    vertices = _once(vertices, faces, seen, allowed)
    return vertices, flip(vertices, faces, passes=2, flat=0.98)


def nothing_empty(views: Sequence[View], prepared: Sequence[Silhouette]) -> Allowed:
    """What the views allow; see `Allowed`."""

    def allowed(points: F64) -> Bool:
        good = np.ones(len(points), bool)
        for view, p in zip(views, prepared, strict=True):
            size = p.distance.shape[0]
            at = project(points, view.camera, size)
            good &= p.outside(at) <= OUTSIDE
            if view.depth is not None:
                room = OUTSIDE * at[:, 2] / view.camera.focal(size) + 0.5 * view.depth_step
                row, column = (np.clip(c.astype(np.int64), 0, size - 2) for c in (at[:, 1] - 0.5, at[:, 0] - 0.5))
                corners = [p.depth[row + j, column + i] for j in (0, 1) for i in (0, 1)]
                # Unknown depth speaks against nothing.
                nearest = np.fmin.reduce([np.where(np.isnan(d), np.inf, d) for d in corners])
                good &= ~(at[:, 2] < np.where(np.isinf(nearest), -np.inf, nearest) - room)
        return good

    return allowed


def _once(vertices: F64, faces: I32, seen: Bool, allowed: Allowed) -> F64:
    edges, wings = edge_table(faces)
    normal = face_normals(vertices, faces)
    area = np.linalg.norm(normal, axis=1)
    normal /= np.maximum(area, 1e-300)[:, None]
    sharp = (normal[wings[:, 0]] * normal[wings[:, 1]]).sum(1) < np.cos(np.radians(SHARP))
    beside = np.zeros(len(vertices), np.bool_)
    beside[edges[sharp].ravel()] = True
    around = face_neighbours(wings, len(faces))
    zone = np.asarray(beside[faces].any(1), np.bool_)
    plane = _smooth(normal, area, zone, around)
    corner = vertices[faces]
    middle = (corner[:, 0] + corner[:, 1] + corner[:, 2]) / 3.0
    side = np.where(zone | ~seen[faces].all(1), -1, np.arange(len(faces))).astype(np.int32)
    _spread(vertices, faces, zone, around, plane, middle, side)
    start, fan = incident(faces, len(vertices))
    target, moves = vertices.copy(), np.zeros(len(vertices), np.bool_)
    meet = partial(_meet, vertices, faces, start, fan, zone, side, plane, middle, target, moves)
    in_bands(meet, len(vertices))
    moves &= seen
    moves[moves] = allowed(target[moves])
    return _move(vertices, target, moves, faces, start, fan, side, plane)


@njit(cache=True, nogil=True)
def _dot(a: F64, b: F64) -> float:
    return float(a[0] * b[0] + a[1] * b[1] + a[2] * b[2])


def _smooth(normal: F64, area: F64, zone: Bool, around: I32) -> F64:
    """(F, 3) normals, outside the zone each the mean with those of its side around it."""
    for _ in range(2):
        out = np.empty_like(normal)
        in_bands(partial(_smoothed, normal, area, zone, around, out), len(normal))
        normal = out
    return normal


@njit(cache=True, nogil=True)
def _smoothed(normal: F64, area: F64, zone: Bool, around: I32, out: F64, first: int, last: int) -> None:
    """Once, of the faces [first, last), into `out`."""
    for f in range(first, last):
        x, y, z = normal[f, 0], normal[f, 1], normal[f, 2]
        out[f, 0], out[f, 1], out[f, 2] = x, y, z
        if zone[f]:
            continue
        sx, sy, sz = area[f] * x, area[f] * y, area[f] * z
        for k in range(3):
            g = around[f, k]
            gx, gy, gz = normal[g, 0], normal[g, 1], normal[g, 2]
            if not zone[g] and x * gx + y * gy + z * gz >= SAME:
                sx, sy, sz = sx + area[g] * gx, sy + area[g] * gy, sz + area[g] * gz
        length = np.sqrt(sx * sx + sy * sy + sz * sz)
        if length > 0.0:
            out[f, 0], out[f, 1], out[f, 2] = sx / length, sy / length, sz / length


@njit(cache=True, nogil=True)
def _unlike(vertices: F64, faces: I32, f: int, normal: F64, middle: F64) -> float:
    """How far a face's corners are from a plane, at most, in its own mean edge lengths; dearer where it is turned."""
    far, length = 0.0, 0.0
    for k in range(3):
        v, w = faces[f, k], faces[f, (k + 1) % 3]
        far = max(far, abs(_dot(vertices[v] - middle, normal)))
        edge = vertices[v] - vertices[w]
        length += np.sqrt(_dot(edge, edge)) / 3
    nx, ny, nz = face_normal(vertices, faces[f, 0], faces[f, 1], faces[f, 2])
    size = np.sqrt(nx * nx + ny * ny + nz * nz)
    turned = 1.0 if size == 0.0 else 1.0 - (nx * normal[0] + ny * normal[1] + nz * normal[2]) / size
    return far / max(length, 1e-300) + TURNED * turned


@njit(cache=True, nogil=True)
def _spread(vertices: F64, faces: I32, zone: Bool, around: I32, plane: F64, middle: F64, side: I32) -> None:
    """Give every face of the zone the face outside of it whose plane fits it, by iterated conditional modes."""
    open_ = zone.copy()  # where that may still change
    for _ in range(ROUNDS):
        changed = 0
        for f in range(len(faces)):
            if not open_[f]:
                continue
            open_[f] = False
            best, least = side[f], np.inf
            for k in range(-1, 3):
                s = side[f] if k < 0 else side[around[f, k]]
                known = s < 0 or (k >= 0 and s == side[f])
                for j in range(k):
                    known = known or s == side[around[f, j]]
                if known:
                    continue
                cost = _unlike(vertices, faces, f, plane[s], middle[s])
                for j in range(3):
                    t = side[around[f, j]]
                    if t >= 0 and _dot(plane[s], plane[t]) < SAME:
                        cost += BORDER
                if cost < least - 1e-9:
                    least, best = cost, s
            if best != side[f]:
                side[f] = best
                changed += 1
                open_[f] = True
                for k in range(3):
                    open_[around[f, k]] = zone[around[f, k]]
        if changed == 0:
            break


@njit(cache=True, nogil=True)
def _meet(
    vertices: F64,
    faces: I32,
    start: I32,
    fan: I32,
    zone: Bool,
    side: I32,
    plane: F64,
    middle: F64,
    target: F64,
    moves: Bool,
    first: int,
    last: int,
) -> None:
    """Set where the planes of the faces around the vertices [first, last) meet, and whether they should go there."""
    for v in range(first, last):
        near, good, count = False, True, start[v + 1] - start[v]
        for s in range(start[v], start[v + 1]):
            near = near or zone[fan[s]]
            good = good and side[fan[s]] >= 0
        if not (near and good):
            continue
        scatter, load, total, length = np.zeros((3, 3)), np.zeros(3), 0.0, 0.0
        for s in range(start[v], start[v + 1]):
            f, r = fan[s], side[fan[s]]
            nx, ny, nz = face_normal(vertices, faces[f, 0], faces[f, 1], faces[f, 2])
            w = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-300
            total += w
            load += w * _dot(plane[r], middle[r] - vertices[v]) * plane[r]
            for k in range(3):
                scatter[k] += w * plane[r, k] * plane[r]
                if faces[f, k] == v:
                    edge = vertices[faces[f, (k + 1) % 3]] - vertices[v]
                    length += np.sqrt(_dot(edge, edge)) / count
        value, axis = np.linalg.eigh(scatter / total)
        step, rank = np.zeros(3), 0
        for k in range(3):
            if value[k] > FLAT:
                rank += 1
                along = np.ascontiguousarray(axis[:, k])
                step += _dot(along, load) / (total * value[k]) * along
        if rank < 2 or _dot(step, step) > (REACH * length) ** 2:
            continue
        for s in range(start[v], start[v + 1]):
            r = side[fan[s]]
            good = good and abs(_dot(plane[r], vertices[v] + step - middle[r])) <= FIT * length
        if good:
            target[v] = vertices[v] + step
            moves[v] = True


@njit(cache=True, nogil=True)
def _move(vertices: F64, target: F64, moves: Bool, faces: I32, start: I32, fan: I32, side: I32, plane: F64) -> F64:
    """Move one vertex after the other, unless a face around it would turn away from its side or nearly vanish."""
    out: F64 = vertices.copy()
    for v in range(len(vertices)):
        if not moves[v]:
            continue
        out[v] = target[v]
        for s in range(start[v], start[v + 1]):
            f, r = fan[s], side[fan[s]]
            nx, ny, nz = face_normal(out, faces[f, 0], faces[f, 1], faces[f, 2])
            ox, oy, oz = face_normal(vertices, faces[f, 0], faces[f, 1], faces[f, 2])
            size, old = np.sqrt(nx * nx + ny * ny + nz * nz), np.sqrt(ox * ox + oy * oy + oz * oz)
            if nx * plane[r, 0] + ny * plane[r, 1] + nz * plane[r, 2] < 0.5 * size or size < 0.05 * old:
                out[v] = vertices[v]
                break
    return out
