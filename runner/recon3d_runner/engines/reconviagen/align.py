"""From an arbitrary frame into the world: the similarity under which a generated mesh fits the six known cameras.

search.py finds starts by carving the views and matching points; here they are judged in the pictures, the best are
refined by refine.py at growing sizes, and the winner is measured. Nothing of the mesh but its pose changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recon3d_runner.engines.reconviagen.cloud import cloud
from recon3d_runner.engines.reconviagen.observed import Sight, sights, smaller
from recon3d_runner.engines.reconviagen.refine import Shape, draw, judge, refine
from recon3d_runner.engines.reconviagen.search import different, solid_of, starts
from recon3d_runner.engines.reconviagen.similarity import Similarity
from recon3d_runner.raster import Rasteriser, open_rasteriser
from recon3d_runner.run import Run
from recon3d_runner.types import F64, View

FINE = 512
"""Size of the pictures in which a pose is measured."""


@dataclass(frozen=True)
class Alignment:
    """A pose, and how well the mesh fits in it."""

    pose: Similarity
    iou: float
    """Of the silhouettes, all six together."""
    outline_px: float
    """Median distance of the mesh's outline from the views', in pixels of a view of 1024."""
    depth_error: float | None
    """Median depth difference, in percent of the mesh's diagonal; None without depth."""
    runner_up: float
    """How much worse the best pose of another turn fits, of this one's misfit; near 0, the turn is a guess."""


def align(shape: Shape, views: list[View], rasteriser: Rasteriser, run: Run) -> Alignment:
    """Find the pose of `shape` in the world of `views`. ValueError where the views have no common solid."""
    views = smaller(views, FINE)
    vertices, faces = solid_of(views, run)
    if len(faces) < 20:
        raise ValueError("carving the views leaves nothing to align to")
    found = starts(cloud(shape.vertices, shape.faces), cloud(vertices, faces), run)
    small, middle, large = (sights(views, size) for size in (64, 128, 256))
    # A device is no faster at pictures this small: most of the time would go into asking it.
    near = open_rasteriser("cpu")
    run.tick(0.55)
    ranked = _ranked(found, shape, small, near)
    tried = [refine(shape, pose, small, near, 8, 8.0) for pose in ranked[:10]]
    run.tick(0.7)
    ranked = different(_ranked(tried, shape, small, near), 3, 2.0)
    tried = [refine(shape, pose, middle, near, 8, 8.0) for pose in ranked]
    run.tick(0.8)
    ranked = _ranked(tried, shape, middle, near)
    margin = _margin(ranked, shape, middle, near)
    pose = refine(shape, ranked[0], large, rasteriser, 10, 8.0)
    run.tick(1.0)
    return measure(shape, pose, views, margin, rasteriser)


def _ranked(poses: list[Similarity], shape: Shape, views: list[Sight], rasteriser: Rasteriser) -> list[Similarity]:
    order = sorted(range(len(poses)), key=lambda k: (judge(shape, poses[k], views, rasteriser).total, k))
    return [poses[k] for k in order]


def _margin(ranked: list[Similarity], shape: Shape, views: list[Sight], rasteriser: Rasteriser) -> float:
    others = [pose for pose in ranked[1:] if pose.angle_to(ranked[0]) > 3.0]
    if not others:
        return 1.0
    best, next_best = (judge(shape, pose, views, rasteriser).total for pose in (ranked[0], others[0]))
    return float((next_best - best) / max(best, 1e-9))


def measure(shape: Shape, pose: Similarity, views: list[View], margin: float, rasteriser: Rasteriser) -> Alignment:
    """Return how well `shape` fits the views in `pose`, whoever found it."""
    fine = sights(views, FINE)
    fit = judge(shape, pose, fine, rasteriser)
    off, gaps = [], []
    world = pose.apply(shape.vertices)
    diagonal = float(np.linalg.norm(np.ptp(world, axis=0)))
    for sight in fine:
        seen = draw(world, shape.faces, sight, rasteriser)
        covered = seen.face >= 0
        inner = covered.copy()
        inner[1:-1, 1:-1] &= covered[2:, 1:-1] & covered[:-2, 1:-1] & covered[1:-1, 2:] & covered[1:-1, :-2]
        off.append(np.abs(sight.distance[covered & ~inner] + 0.5))
        if sight.depth is not None:
            gap: F64 = np.abs(seen.depth - sight.depth)[covered].astype(np.float64)
            gaps.append(gap[np.isfinite(gap)])
    edge = np.concatenate(off)
    depth = np.concatenate(gaps) if gaps else np.zeros(0)
    return Alignment(
        pose,
        1 - fit.outline,
        float(np.median(edge)) * 1024 / fine[0].size if len(edge) else float("inf"),
        100 * float(np.median(depth)) / diagonal if len(depth) else None,
        margin,
    )
