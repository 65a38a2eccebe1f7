"""Continuous alignment: Gauss-Newton on the rendered mesh over turn, motion and scale.

Each step rasterises the mesh into the six views and linearises three residuals, all in pixels:

- depth: the rendered surface against the observed depth, along the observed surface's normal, because a generated
  surface is rough: along its own normals, chance would hold what nothing fixes, such as the turn of a vase;
- outline: where the rendered silhouette ends against the observed outline, across it;
- colour: the mesh's own colours against the picture, along the picture's slopes, after one affine map of the
  colours for all views, because a generated mesh's colours are right in pattern rather than in exposure.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from recon3d_runner.engines.reconviagen import equations
from recon3d_runner.engines.reconviagen.observed import Sight
from recon3d_runner.engines.reconviagen.similarity import Similarity
from recon3d_runner.raster import Fragments, Rasteriser
from recon3d_runner.raster.cpu import project
from recon3d_runner.types import F32, F64, I32

OFF = 0.012
"""Of a picture's width: how far a generated surface may be off anywhere, so that what is off by more is another one.
Measured in pixels instead, the finer the picture, the more would the median part alone decide."""
NO_DEPTH: F32 = np.zeros((0, 0), np.float32)
NO_SLOPE: F32 = np.zeros((2, 0, 0), np.float32)
NO_COLOURS: F64 = np.zeros((0, 3))


@dataclass(frozen=True)
class Shape:
    """A mesh in its own frame."""

    vertices: F64
    faces: I32
    colours: F64 | None
    """(V, 3) sRGB in [0, 1], or None."""


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


def draw(world: F64, faces: I32, sight: Sight, rasteriser: Rasteriser) -> Fragments:
    """Rasterise vertices in the world."""
    return rasteriser.rasterize(project(world, sight.camera, sight.size), faces, sight.size)


def _tone(sums: F64) -> F64:
    """(4, 3) affine map from the mesh's colours to the pictures', drawn to the identity where they say little.

    sums: see equations.moments.
    """
    pull = 0.02 * max(float(sums[3, 3]), 1.0)
    prior = np.vstack([np.eye(3), np.zeros(3)])
    return np.asarray(np.linalg.solve(sums[:4, :4] + pull * np.eye(4), sums[:4, 4:] + pull * prior))


def _moments(shape: Shape, seen: Fragments, sight: Sight, limit: float) -> F64:
    sums = np.zeros((7, 7))
    if shape.colours is not None:
        equations.moments(seen.face, seen.bary, shape.faces, shape.colours, sight.rgb, sight.distance, limit, sums)
    return sums


def _equations(
    shape: Shape, world: F64, views: list[Sight], rasteriser: Rasteriser, gate: float, soft: float
) -> tuple[F64, F64] | None:
    """Matrix (7, 7) and right-hand side of one step about the vertices' mean; None where nothing is to be seen."""

    def first(sight: Sight) -> tuple[Fragments, F64]:
        seen = draw(world, shape.faces, sight, rasteriser)
        return seen, _moments(shape, seen, sight, np.inf)

    drawn = list(_pool().map(first, views))
    if not any((seen.face >= 0).any() for seen, _ in drawn):
        return None
    centre = world.mean(0)
    colours = NO_COLOURS if shape.colours is None else shape.colours
    tone = _tone(np.sum([sums for _, sums in drawn], axis=0))

    def one(k: int) -> tuple[F64, F64]:
        seen, sight = drawn[k][0], views[k]
        camera = sight.camera
        matrix, vector = np.zeros((7, 7)), np.zeros(7)
        equations.normal_equations(
            seen.face, seen.depth, seen.bary,
            camera.rotation, camera.centre, camera.focal(sight.size), shape.faces, colours, tone,
            sight.distance, sight.distance_slope, NO_DEPTH if sight.depth is None else sight.depth,
            NO_SLOPE if sight.depth_slope is None else sight.depth_slope,
            sight.rgb, sight.rgb_slope, gate, soft, sight.pixel, centre, matrix, vector,
        )  # fmt: skip
        return matrix, vector

    parts = list(_pool().map(one, range(len(views))))
    upper: F64 = np.sum([matrix for matrix, _ in parts], axis=0)
    matrix = upper + np.triu(upper, 1).T
    # A whisper of damping: what no residual fixes (the turn of a sphere) stays as it is.
    matrix = matrix + np.diag(1e-6 * np.diag(matrix) + 1e-9 * np.trace(matrix))
    return matrix, np.sum([vector for _, vector in parts], axis=0)


def refine(
    shape: Shape, pose: Similarity, views: list[Sight], rasteriser: Rasteriser, steps: int, gate: float
) -> Similarity:
    """Take up to `steps` Gauss-Newton steps; residuals beyond `gate` pixels are other surfaces at first, less later."""
    soft = max(1.0, OFF * views[0].size)
    for step in range(steps):
        world = pose.apply(shape.vertices)
        equations = _equations(shape, world, views, rasteriser, max(gate * (1 - step / steps), 2.5 * soft), soft)
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
    cut = 0.03 * float(np.ptp(world, axis=0).max())

    def one(sight: Sight) -> tuple[tuple[float, float, float, float], F64]:
        seen = draw(world, shape.faces, sight, rasteriser)
        observed = NO_DEPTH if sight.depth is None else sight.depth
        return equations.misfit(seen.face, seen.depth, sight.distance, observed, cut), _moments(
            shape, seen, sight, -1.0
        )

    parts = list(_pool().map(one, views))
    both, either, error, count = np.sum([counts for counts, _ in parts], axis=0)
    depth = 0.0
    if any(view.depth is not None for view in views):
        depth = error / count if count else 1.0
    colour = 0.0 if shape.colours is None else _unlike(np.sum([sums for _, sums in parts], axis=0))
    return Fit(float(1 - both / max(either, 1)), float(depth), colour)


def _unlike(sums: F64) -> float:
    """Return the share of the pictures' colour variation that the mesh's colours leave unexplained."""
    count = float(sums[3, 3])
    if count < 8:
        return 1.0
    tone = _tone(sums)
    own, cross, seen = sums[:4, :4], sums[:4, 4:], sums[4:, 4:]
    left = np.trace(seen) - 2 * (tone * cross).sum() + (tone * (own @ tone)).sum()
    variance = (np.diag(seen) / count - (sums[3, 4:] / count) ** 2).mean()
    return float(min(1.0, left / (3 * count) / max(float(variance), 1e-4)))
