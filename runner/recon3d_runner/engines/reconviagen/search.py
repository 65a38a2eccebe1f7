"""Where the continuous alignment starts: poses under which the mesh and the carved views' solid coincide roughly.

Turns are tried by the thousand on points and distance grids, with scale and place from the two solids' spread and
middle; the best different ones are brought closer by matching nearest points, then judged in the pictures.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from recon3d_runner.engines.nvdiffrec import fusion
from recon3d_runner.engines.reconviagen.cloud import Cloud, match, mismatches, pull_together
from recon3d_runner.engines.reconviagen.observed import shrink
from recon3d_runner.engines.reconviagen.similarity import Similarity, axis_turns, spread_rotations
from recon3d_runner.run import Run
from recon3d_runner.types import F64, I32, View

TURNS = 4608
"""Rotations beside the 24 axis turns; about 11 degrees apart."""
CHUNK = 256


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
    a, b = _principal(mesh.points[mesh.asking]), _principal(world.points[world.asking])
    flips = [np.diag(d) for d in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))]
    return np.concatenate([axis_turns(), [b.T @ flip @ a for flip in flips], spread_rotations(TURNS)])


def _roughly(turns: F64, scale: float, mesh: Cloud, world: Cloud, thin: int = 3) -> list[Similarity]:
    """All turns about the middles as poses, the best first."""
    found = np.empty(len(turns))

    def some(first: int) -> None:
        mismatches(
            turns[first : first + CHUNK], scale,
            mesh.points[mesh.asking[::thin]], mesh.middle, mesh.origin, mesh.step, mesh.distance,
            world.points[world.asking[::thin]], world.middle, world.origin, world.step, world.distance,
            0.3 * world.spread, found[first : first + CHUNK],
        )  # fmt: skip

    with ThreadPoolExecutor() as pool:
        list(pool.map(some, range(0, len(turns), CHUNK)))
    order = np.argsort(found, kind="stable")
    return [Similarity(scale, turns[k], world.middle - scale * turns[k] @ mesh.middle) for k in order]


@dataclass(frozen=True)
class Matches:
    """Points of one surface and their nearest ones of the other."""

    partner: I32
    length: F64
    agree: F64
    """Cosine between the normals."""


def _matches(asking: F64, normals: F64, of: Cloud) -> Matches:
    n = len(asking)
    made = Matches(np.empty(n, np.int32), np.empty(n), np.empty(n))
    match(
        asking, normals, of.points, of.normals, of.origin, of.step, of.closest, of.start, of.members,
        made.partner, made.length, made.agree,
    )  # fmt: skip
    return made


def _closer(pose: Similarity, mesh: Cloud, world: Cloud, rounds: int) -> tuple[float, Similarity]:
    """Match nearest points both ways, point to plane, far pairs left out. Returns the mean distance then left, too."""
    own, own_normals = mesh.points[mesh.asking], mesh.normals[mesh.asking]
    aim, aim_normals = world.points[world.asking], world.normals[world.asking]
    gap = np.inf
    for _ in range(rounds + 1):
        moved, turned = pose.apply(own), own_normals @ pose.rotation.T
        there = _matches(moved, turned, world)
        back = _matches(pose.undo(aim), aim_normals @ pose.rotation, mesh)
        length = np.concatenate([there.length, back.length * pose.scale])
        gap = float(np.minimum(length, 0.3 * world.spread).mean() / world.spread)
        near = length < 2.5 * max(float(np.median(length)), 0.02 * world.spread)
        used = near & (np.concatenate([there.agree, back.agree]) > 0.2)
        if used.sum() < 50:
            break
        centre = moved.mean(0)
        matrix, vector = np.zeros((7, 7)), np.zeros(7)
        pull_together(
            np.concatenate([moved, pose.apply(mesh.points[back.partner])]),
            np.concatenate([world.points[there.partner], aim]),
            np.concatenate([world.normals[there.partner], mesh.normals[back.partner] @ pose.rotation.T]),
            used, centre, 0.03 * world.spread, matrix, vector,
        )  # fmt: skip
        matrix += np.triu(matrix, 1).T
        move: F64 = np.linalg.solve(matrix + np.diag(1e-3 * np.diag(matrix) + 1e-12), vector).astype(np.float64)
        size = max(
            float(np.linalg.norm(move[:3])), float(np.linalg.norm(move[3:6])) / world.spread, abs(float(move[6]))
        )
        if size < 2e-3:
            break
        pose = pose.nudge(move * min(1.0, 0.3 / max(size, 1e-12)), centre)
    return gap, pose


def different(poses: list[Similarity], count: int, degrees: float) -> list[Similarity]:
    """Keep the first `count` that are at least `degrees` apart from those kept before."""
    kept: list[Similarity] = []
    for pose in poses:
        if all(pose.angle_to(other) > degrees for other in kept):
            kept.append(pose)
            if len(kept) == count:
                break
    return kept


def starts(mesh: Cloud, world: Cloud, run: Run, tried: int = 60, kept: int = 48) -> list[Similarity]:
    """Return up to `kept` rough poses, the best first."""
    best = different(_roughly(_turns(mesh, world), world.spread / mesh.spread, mesh, world), tried, 8.0)
    run.tick(0.2)
    with ThreadPoolExecutor() as pool:
        closer = list(pool.map(lambda pose: _closer(pose, mesh, world, 25), best))
    run.tick(0.5)
    order = sorted(range(len(closer)), key=lambda k: (closer[k][0], k))
    return different([closer[k][1] for k in order], kept, 3.0)
