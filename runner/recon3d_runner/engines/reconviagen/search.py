"""Where the continuous alignment starts: poses under which the mesh and the carved views' solid coincide roughly.

Turns are tried by the thousand on points and distance grids, with scale and place from the two solids' spread and
middle; the best different ones are brought closer by matching nearest points, then judged in the pictures.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy import ndimage
from scipy.spatial import cKDTree

from recon3d_runner.engines.nvdiffrec import fusion
from recon3d_runner.engines.reconviagen.observed import shrink
from recon3d_runner.engines.reconviagen.similarity import Similarity, axis_turns, spread_rotations
from recon3d_runner.run import Run
from recon3d_runner.surface import face_normals
from recon3d_runner.types import F32, F64, I32, View

TURNS = 4608
"""Rotations beside the 24 axis turns; about 11 degrees apart."""
GRID = 64
SAMPLES = 1200


@dataclass(frozen=True)
class Cloud:
    """Points of a surface, and how far any place is from it."""

    points: F64
    normals: F64
    tree: cKDTree
    origin: F64
    step: float
    distance: F32
    """(G, G, G) distance in world units."""

    middle: F64
    """(3,) the points' mean."""
    spread: float
    """Root mean square distance from the middle."""

    def away(self, places: F64) -> F64:
        """(N,) distance of `places` from the surface, at least that from the grid's border outside it."""
        index = np.round((places - self.origin) / self.step).astype(np.int64)
        inside = np.clip(index, 0, GRID - 1)
        beyond = np.abs(index - inside).max(1) * self.step
        return np.asarray(self.distance[inside[:, 0], inside[:, 1], inside[:, 2]] + beyond)


def cloud(vertices: F64, faces: I32, samples: int = SAMPLES) -> Cloud:
    """Sample a mesh evenly by area, always the same way."""
    generator = np.random.default_rng(0)
    normals = face_normals(vertices, faces)
    area = np.linalg.norm(normals, axis=1)
    chosen = np.searchsorted(np.cumsum(area) / area.sum(), (np.arange(4 * samples) + 0.5) / (4 * samples))
    a, b = np.sqrt(generator.random(len(chosen))), generator.random(len(chosen))
    corner = vertices[faces[np.minimum(chosen, len(faces) - 1)]]
    points = (1 - a)[:, None] * corner[:, 0] + (a * (1 - b))[:, None] * corner[:, 1] + (a * b)[:, None] * corner[:, 2]
    direction = normals[np.minimum(chosen, len(faces) - 1)]
    direction = direction / np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-300)
    low, high = vertices.min(0), vertices.max(0)
    step = float((high - low).max()) * 1.5 / (GRID - 1)
    origin = (low + high) / 2 - step * (GRID - 1) / 2
    filled = np.ones((GRID, GRID, GRID), bool)
    filled[tuple(np.round((points - origin) / step).astype(np.int64).T)] = False
    distance = (ndimage.distance_transform_edt(filled) * step).astype(np.float32)
    order = generator.permutation(len(points))[:samples]
    kept = points[order]
    middle = np.asarray(kept.mean(0))
    spread = float(np.sqrt(((kept - middle) ** 2).sum(1).mean()))
    return Cloud(kept, direction[order], cKDTree(kept), origin, step, distance, middle, spread)


def solid_of(views: list[View], run: Run) -> tuple[F64, I32]:
    """Carve the views coarsely: the shape that the mesh has to coincide with, hollows unseen by any view filled."""
    vertices, faces, _ = fusion.fuse([shrink(view, 256) for view in views], 80, run)
    return vertices, faces


def _principal(points: F64) -> F64:
    """(3, 3) principal axes as rows, right-handed."""
    _, _, axes = np.linalg.svd(points - points.mean(0), full_matrices=False)
    if np.linalg.det(axes) < 0:
        axes[2] = -axes[2]
    return np.asarray(axes)


def _turns(mesh: Cloud, world: Cloud) -> F64:
    """(N, 3, 3) all turns to try: axis turns, principal axes onto principal axes, and an even spread."""
    a, b = _principal(mesh.points), _principal(world.points)
    flips = [np.diag(d) for d in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))]
    return np.concatenate([axis_turns(), [b.T @ flip @ a for flip in flips], spread_rotations(TURNS)])


def _mismatch(pose: Similarity, mesh: Cloud, world: Cloud) -> float:
    """Mean distance both ways, of the mesh's size, large ones cut off."""
    limit = 0.3 * world.spread
    there = np.minimum(world.away(pose.apply(mesh.points)), limit).mean()
    back = np.minimum(mesh.away(pose.undo(world.points)) * pose.scale, limit).mean()
    return float((there + back) / world.spread)


@njit(cache=True, nogil=True)
def _away(x: float, y: float, z: float, origin: F64, step: float, distance: F32) -> float:
    """As Cloud.away, for one place."""
    beyond = 0.0
    at = np.empty(3, np.int64)
    for k in range(3):
        place = (x, y, z)[k]
        index = np.round((place - origin[k]) / step)
        inside = min(max(index, 0.0), GRID - 1.0)
        beyond = max(beyond, abs(index - inside))
        at[k] = int(inside)
    return float(distance[at[0], at[1], at[2]] + beyond * step)


@njit(cache=True, nogil=True)
def _mismatches(
    turns: F64,
    scale: float,
    points: F64,
    middle: F64,
    origin: F64,
    step: float,
    distance: F32,
    world_points: F64,
    world_middle: F64,
    world_origin: F64,
    world_step: float,
    world_distance: F32,
    limit: float,
    found: F64,
) -> None:
    """Fill `found` (N,): _mismatch, times the spread, of every turn (N, 3, 3) about the middles."""
    for t in range(turns.shape[0]):
        turn = turns[t]
        there = back = 0.0
        for p in range(points.shape[0]):
            x, y, z = points[p, 0] - middle[0], points[p, 1] - middle[1], points[p, 2] - middle[2]
            d = _away(
                scale * (turn[0, 0] * x + turn[0, 1] * y + turn[0, 2] * z) + world_middle[0],
                scale * (turn[1, 0] * x + turn[1, 1] * y + turn[1, 2] * z) + world_middle[1],
                scale * (turn[2, 0] * x + turn[2, 1] * y + turn[2, 2] * z) + world_middle[2],
                world_origin,
                world_step,
                world_distance,
            )
            there += min(d, limit)
        for p in range(world_points.shape[0]):
            x = (world_points[p, 0] - world_middle[0]) / scale
            y = (world_points[p, 1] - world_middle[1]) / scale
            z = (world_points[p, 2] - world_middle[2]) / scale
            d = _away(
                turn[0, 0] * x + turn[1, 0] * y + turn[2, 0] * z + middle[0],
                turn[0, 1] * x + turn[1, 1] * y + turn[2, 1] * z + middle[1],
                turn[0, 2] * x + turn[1, 2] * y + turn[2, 2] * z + middle[2],
                origin,
                step,
                distance,
            )
            back += min(scale * d, limit)
        found[t] = there / points.shape[0] + back / world_points.shape[0]


def _roughly(turns: F64, scale: float, mesh: Cloud, world: Cloud, thin: int = 3) -> list[Similarity]:
    """All turns about the middles as poses, the best first."""
    found = np.empty(len(turns))
    a, b = mesh, world
    _mismatches(
        turns, scale,
        np.ascontiguousarray(a.points[::thin]), a.middle, a.origin, a.step, a.distance,
        np.ascontiguousarray(b.points[::thin]), b.middle, b.origin, b.step, b.distance,
        0.3 * world.spread, found,
    )  # fmt: skip
    order = np.argsort(found, kind="stable")
    return [Similarity(scale, turns[k], world.middle - scale * turns[k] @ mesh.middle) for k in order]


def _closer(pose: Similarity, mesh: Cloud, world: Cloud, rounds: int) -> Similarity:
    """Match nearest points both ways, point to plane, far pairs left out."""
    for _ in range(rounds):
        moved = pose.apply(mesh.points)
        turned = mesh.normals @ pose.rotation.T
        _, near = world.tree.query(moved)
        _, other = cKDTree(moved).query(world.points)
        points = np.concatenate([moved, moved[other]])
        gap = np.concatenate([moved - world.points[near], moved[other] - world.points])
        along = np.concatenate([world.normals[near], turned[other]])
        agree = (np.concatenate([turned, turned[other]]) * np.concatenate([world.normals[near], world.normals])).sum(1)
        length = np.linalg.norm(gap, axis=1)
        used = (agree > 0.2) & (length < 2.5 * max(float(np.median(length)), 0.02 * world.spread))
        if used.sum() < 50:
            return pose
        centre = moved.mean(0)
        arm = (points - centre)[used]
        h = along[used]
        rows = np.column_stack([np.cross(arm, h), h, (arm * h).sum(1)])
        residual = (gap[used] * h).sum(1)
        weight = np.minimum(1, 0.03 * world.spread / np.maximum(np.abs(residual), 1e-12))
        matrix = rows.T @ (rows * weight[:, None])
        move = np.linalg.solve(matrix + np.diag(1e-3 * np.diag(matrix) + 1e-12), -rows.T @ (weight * residual))
        size = max(
            float(np.linalg.norm(move[:3])), float(np.linalg.norm(move[3:6])) / world.spread, abs(float(move[6]))
        )
        pose = pose.nudge(move * min(1.0, 0.3 / max(size, 1e-12)), centre)
        if size < 2e-3:
            break
    return pose


def different(poses: list[Similarity], count: int, degrees: float) -> list[Similarity]:
    """Keep the first `count` that are at least `degrees` apart from those kept before."""
    kept: list[Similarity] = []
    for pose in poses:
        if all(pose.angle_to(other) > degrees for other in kept):
            kept.append(pose)
            if len(kept) == count:
                break
    return kept


def starts(mesh: Cloud, world: Cloud, run: Run, tried: int = 60, kept: int = 24) -> list[Similarity]:
    """Return up to `kept` rough poses, the best first."""
    best = different(_roughly(_turns(mesh, world), world.spread / mesh.spread, mesh, world), tried, 8.0)
    run.tick(0.2)
    with ThreadPoolExecutor() as pool:
        closer = list(pool.map(lambda pose: _closer(pose, mesh, world, 25), best))
        gaps = list(pool.map(lambda pose: _mismatch(pose, mesh, world), closer))
    run.tick(0.5)
    order = sorted(range(len(closer)), key=lambda k: (gaps[k], k))
    return different([closer[k] for k in order], kept, 3.0)
