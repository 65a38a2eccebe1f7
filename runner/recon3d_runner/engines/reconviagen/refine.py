"""Continuous alignment: Gauss-Newton on the rendered mesh over turn, motion and scale.

Each step rasterises the mesh into the six views and linearises three residuals, all in pixels:

- depth: the rendered surface against the observed depth, along the surface's normal;
- outline: where the rendered silhouette ends against the observed outline, across it;
- colour: the mesh's own colours against the picture, along the picture's slopes, after one affine map of the
  colours for all views, because a generated mesh's colours are right in pattern rather than in exposure.

A point p of the surface moves by w x (p - c) + t + s (p - c), so that a residual's derivative along a direction h
is [(p - c) x h, h, h . (p - c)].
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from recon3d_runner.engines.reconviagen.observed import Sight, along_rays
from recon3d_runner.engines.reconviagen.similarity import Similarity
from recon3d_runner.raster import Rasteriser
from recon3d_runner.raster.cpu import project
from recon3d_runner.surface import face_normals
from recon3d_runner.types import F32, F64, I32, Bool

OUTLINE_WEIGHT = 2.0
COLOUR_NOISE = 0.12
"""sRGB difference that counts as much as one pixel."""
FLAT = 0.1
"""Least viewing cosine at which a depth residual counts."""


@dataclass(frozen=True)
class Shape:
    """A mesh in its own frame."""

    vertices: F64
    faces: I32
    colours: F64 | None
    """(V, 3) sRGB in [0, 1], or None."""


class Drawn(NamedTuple):
    """A mesh in one view."""

    rows: I32
    columns: I32
    """(P,) covered pixels."""
    face: I32
    bary: F64
    """(P, 3)."""
    points: F64
    """(P, 3) in the world."""
    depth: F64
    covered: Bool
    """(n, n)."""


class Fit(NamedTuple):
    """How well a pose fits; each part is 0 for perfect and about 1 for nothing alike."""

    outline: float
    """1 - IoU of the silhouettes over all views."""
    depth: float
    """Mean depth difference where both have one, cut off at 3 % of the object's size; 0 without depth."""
    colour: float
    """1 - correlation of the colours; 0 without any."""

    @property
    def total(self) -> float:
        """What poses are compared by."""
        return 2 * self.outline + self.depth + 0.6 * self.colour


@cache
def _pool() -> ThreadPoolExecutor:
    """Threads for the six views, kept: a step takes milliseconds, and starting threads is not much less."""
    return ThreadPoolExecutor(6)


def draw(world: F64, faces: I32, sight: Sight, rasteriser: Rasteriser) -> Drawn:
    """Rasterise vertices in the world, and find what each pixel sees there."""
    face, depth, bary = rasteriser.rasterize(project(world, sight.camera, sight.size), faces, sight.size)
    rows, columns = (part.astype(np.int32) for part in np.nonzero(face >= 0))
    z = depth[rows, columns].astype(np.float64)
    points: F64 = sight.camera.centre + along_rays(sight.camera, sight.size, columns, rows) * z[:, None]
    pair = bary[rows, columns].astype(np.float64)
    weights = np.column_stack([1 - pair.sum(1), pair])
    return Drawn(rows, columns, face[rows, columns], weights, points, z, face >= 0)


def _image_slope(sight: Sight, points: F64, slope: F64) -> F64:
    """(P, 3) world gradient of an image quantity with `slope` (P, 2) per pixel at projected `points`."""
    camera = sight.camera
    x, y, z = (points @ camera.rotation.T + camera.translation).T
    focal = camera.focal(sight.size)
    gx, gy = slope.T * focal / z
    return np.asarray(np.column_stack([gx, gy, -(gx * x + gy * y) / z]) @ camera.rotation)


class _Normal:
    """Normal equations of the seven unknowns."""

    def __init__(self, centre: F64) -> None:
        self.centre = centre
        self.matrix = np.zeros((7, 7))
        self.vector = np.zeros(7)

    def add(self, points: F64, along: F64, residual: F64, weight: F64) -> None:
        """Ask for motion by -residual along `along` at `points`."""
        arm = points - self.centre
        rows = np.column_stack([np.cross(arm, along), along, (arm * along).sum(1)])
        self.matrix += rows.T @ (rows * weight[:, None])
        self.vector -= rows.T @ (weight * residual)


def _huber(residual: F64, limit: float) -> F64:
    return np.asarray(np.minimum(1.0, limit / np.maximum(np.abs(residual), 1e-12)))


def _depth(seen: Drawn, sight: Sight, normals: F64, gate: float, into: _Normal) -> None:
    if sight.depth is None:
        return
    observed = sight.depth[seen.rows, seen.columns].astype(np.float64)
    difference = seen.depth - observed
    used = np.abs(difference) < gate * sight.pixel
    rays = along_rays(sight.camera, sight.size, seen.columns, seen.rows)
    slope = (normals[seen.face] * rays).sum(1)
    used &= slope < -FLAT
    residual = (difference * slope)[used] / sight.pixel
    into.add(seen.points[used], normals[seen.face][used] / sight.pixel, residual, _huber(residual, 1.0))


def _outline(seen: Drawn, sight: Sight, gate: float, into: _Normal) -> None:
    index = np.full((sight.size, sight.size), -1, np.int64)
    index[seen.rows, seen.columns] = np.arange(len(seen.rows))
    for dr, dc in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        r, c = seen.rows + dr, seen.columns + dc
        inside = (r >= 0) & (c >= 0) & (r < sight.size) & (c < sight.size)
        edge = np.nonzero(inside)[0]
        edge = edge[~seen.covered[r[edge], c[edge]]]
        a, b = (seen.rows[edge], seen.columns[edge]), (r[edge], c[edge])
        residual = (sight.distance[a] + sight.distance[b]).astype(np.float64) / 2
        slope = np.stack([(sight.distance_slope[k][a] + sight.distance_slope[k][b]) / 2 for k in (0, 1)], 1)
        outward = slope[:, 0] * dc + slope[:, 1] * dr
        used = (np.abs(residual) < gate) & (outward > 0.2)
        # A slanting outline is crossed by more pairs than its length in pixels.
        weight = OUTLINE_WEIGHT * np.abs(outward[used]) * _huber(residual[used], 1.0)
        points = seen.points[edge[used]]
        into.add(points, _image_slope(sight, points, slope[used].astype(np.float64)), residual[used], weight)


def _own_colours(seen: Drawn, shape: Shape) -> F64:
    if shape.colours is None:
        raise ValueError("the mesh has no colours")
    return np.asarray((shape.colours[shape.faces[seen.face]] * seen.bary[..., None]).sum(1))


def _colour(seen: Drawn, sight: Sight, own: F64, tone: F64, into: _Normal) -> None:
    solid = sight.distance[seen.rows, seen.columns] < -1.5
    rows, columns = seen.rows[solid], seen.columns[solid]
    wanted = np.column_stack([own[solid], np.ones(int(solid.sum()))]) @ tone
    for channel in range(3):
        residual = (sight.rgb[rows, columns, channel] - wanted[:, channel]) / COLOUR_NOISE
        slope = sight.rgb_slope[:, rows, columns, channel].T.astype(np.float64) / COLOUR_NOISE
        along = _image_slope(sight, seen.points[solid], slope)
        into.add(seen.points[solid], along, residual, _huber(residual, 1.0) / 3)


def _tone(pairs: list[tuple[F64, F32]]) -> F64:
    """(4, 3) affine map from the mesh's colours to the pictures', drawn to the identity where they say little."""
    own = np.concatenate([a for a, _ in pairs])
    seen = np.concatenate([b for _, b in pairs]).astype(np.float64)
    rows = np.column_stack([own, np.ones(len(own))])
    prior = np.vstack([np.eye(3), np.zeros(3)])
    pull = 0.02 * max(len(own), 1)
    return np.asarray(np.linalg.solve(rows.T @ rows + pull * np.eye(4), rows.T @ seen + pull * prior))


def _equations(
    shape: Shape, world: F64, views: list[Sight], rasteriser: Rasteriser, gate: float
) -> tuple[F64, F64] | None:
    """Matrix (7, 7) and right-hand side of one step about the vertices' mean; None where nothing is to be seen."""
    drawn = list(_pool().map(lambda sight: draw(world, shape.faces, sight, rasteriser), views))
    if not any(len(seen.rows) for seen in drawn):
        return None
    centre = world.mean(0)
    normals = face_normals(world, shape.faces)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    own: list[F64] = []
    if shape.colours is not None:
        own = [_own_colours(seen, shape) for seen in drawn]
        tone = _tone([(o, s.rgb[d.rows, d.columns]) for o, s, d in zip(own, views, drawn, strict=True)])

    def one(k: int) -> _Normal:
        into = _Normal(centre)
        _depth(drawn[k], views[k], normals, gate, into)
        _outline(drawn[k], views[k], gate, into)
        if own:
            _colour(drawn[k], views[k], own[k], tone, into)
        return into

    parts = list(_pool().map(one, range(len(views))))
    matrix: F64 = np.sum([p.matrix for p in parts], axis=0)
    # A whisper of damping: what no residual fixes (the turn of a sphere) stays as it is.
    matrix = matrix + np.diag(1e-6 * np.diag(matrix) + 1e-9 * np.trace(matrix))
    return matrix, np.sum([p.vector for p in parts], axis=0)


def refine(
    shape: Shape, pose: Similarity, views: list[Sight], rasteriser: Rasteriser, steps: int, gate: float
) -> Similarity:
    """Take up to `steps` Gauss-Newton steps; residuals beyond `gate` pixels are other surfaces at first, less later."""
    for step in range(steps):
        world = pose.apply(shape.vertices)
        equations = _equations(shape, world, views, rasteriser, max(gate * (1 - step / steps), 3.0))
        if equations is None:
            break
        move: F64 = np.linalg.solve(*equations).astype(np.float64)
        centre = world.mean(0)
        radius = float(np.linalg.norm(world - centre, axis=1).max())
        size = max(float(np.linalg.norm(move[:3])), float(np.linalg.norm(move[3:6])) / radius, abs(float(move[6])))
        if not np.isfinite(size):
            break
        pose = pose.nudge(move * min(1.0, 0.2 / max(size, 1e-12)), centre)
        if size < 2e-5:
            break
    return pose


def judge(shape: Shape, pose: Similarity, views: list[Sight], rasteriser: Rasteriser) -> Fit:
    """Measure how well `pose` fits."""
    world = pose.apply(shape.vertices)
    size = float(np.ptp(world, axis=0).max())

    def one(sight: Sight) -> tuple[int, int, F64, F64, F32]:
        seen = draw(world, shape.faces, sight, rasteriser)
        mask = sight.distance < 0
        both, either = int((mask & seen.covered).sum()), int((mask | seen.covered).sum())
        error = np.zeros(0)
        if sight.depth is not None:
            difference = np.abs(seen.depth - sight.depth[seen.rows, seen.columns])
            error = np.minimum(difference[np.isfinite(difference)] / (0.03 * size), 1)
        inside = sight.distance[seen.rows, seen.columns] < -1
        own = _own_colours(seen, shape)[inside] if shape.colours is not None else np.zeros((0, 3))
        return both, either, error, own, sight.rgb[seen.rows[inside], seen.columns[inside]]

    parts = list(_pool().map(one, views))
    both, either = sum(p[0] for p in parts), sum(p[1] for p in parts)
    errors = np.concatenate([p[2] for p in parts])
    with_depth = any(view.depth is not None for view in views)
    colour = 0.0
    if shape.colours is not None:
        own, seen = np.concatenate([p[3] for p in parts]), np.concatenate([p[4] for p in parts])
        colour = _unlike(own, seen, parts)
    depth = (float(errors.mean()) if len(errors) else 1.0) if with_depth else 0.0
    return Fit(1 - both / max(either, 1), depth, colour)


def _unlike(own: F64, seen: F32, parts: list[tuple[int, int, F64, F64, F32]]) -> float:
    """Return the share of the pictures' colour variation that the mesh's colours leave unexplained."""
    if len(own) < 8:
        return 1.0
    tone = _tone([(p[3], p[4]) for p in parts])
    left = seen - np.column_stack([own, np.ones(len(own))]) @ tone
    return float(min(1.0, (left**2).mean() / max(float(seen.astype(np.float64).var(0).mean()), 1e-4)))
