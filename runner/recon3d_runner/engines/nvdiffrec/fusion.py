"""Six depth maps and silhouettes into one closed surface, by carving.

A point is solid unless some view proves it empty: it lies outside that view's silhouette or in front of the
surface that the view's depth shows. The field is the largest of the views' signed distances, negative
inside. Unlike an average of distances (TSDF), the maximum keeps sheets thinner than the truncation, and what
no view sees is closed by the visual hull. Noise is left to the geometry pass: a filter here would cost sheets of
less than two voxels.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from scipy import ndimage

from recon3d_runner.bands import in_bands
from recon3d_runner.engines.nvdiffrec.level_set import extract, keep_solids
from recon3d_runner.nearest import nearest_marked
from recon3d_runner.outline import HALF, outlines
from recon3d_runner.run import Run
from recon3d_runner.types import F32, F64, I32, Camera, View

CLIP: Final = 4.0
"""Voxels beyond which distances are not told apart."""
JUMP: Final = 8.0
"""Pixels of depth between neighbours that are two surfaces, of which the nearer one carves."""
BAND: Final = 6.0
"""Pixels from the outline within which distances to it are exact."""
STEEPEST: Final = 8.0
"""Slope from which on a surface is taken as seen edge-on."""


@dataclass(frozen=True)
class Silhouette:
    """One view prepared for carving and for the geometry pass."""

    distance: F32
    """(n, n) signed distance to the outline in pixels of this grid, positive outside."""
    depth: F32
    """(n, n) z-depth in world units, NaN outside; zeros without depth (never used then)."""
    tilt: F32
    """(n, n) depth change per pixel in world units; 0 where unknown."""

    def outside(self, at: F64) -> F64:
        """Signed distance (N,) to the outline at places (N, 2 or more) x, y, ..., in pixels of this grid."""
        place = at[:, 1] - 0.5, at[:, 0] - 0.5
        return np.asarray(ndimage.map_coordinates(self.distance, place, order=1, mode="nearest"))


def outline_distance(alpha: F32, size: int) -> F32:
    """(size, size) signed pixel distance to the half-coverage contour of `alpha` (H, H), positive outside.

    Exact to a fraction of a pixel within BAND, a distance transform beyond it.
    """
    high = alpha.shape[0]
    ratio = high / size
    index = ((np.arange(size) + 0.5) * ratio).astype(np.int64).clip(0, high - 1)
    if ratio >= 2 and high % size == 0:
        k = high // size
        small = alpha.reshape(size, k, size, k).mean((1, 3))
    else:
        small = alpha[index][:, index]
    inside = small >= HALF
    outward, inward = nearest_marked(inside)[0] - HALF, nearest_marked(~inside)[0] - HALF
    distance: F32 = np.where(inside, -inward, outward)
    points = [(line[:-1], (line[1:] + line[:-1]) / 2) for line in outlines(alpha)]
    if points:
        _refine(distance, (np.concatenate([part for both in points for part in both]) + 0.5) / ratio, BAND)
    return distance


@njit(cache=True, nogil=True)
def _refine(distance: F32, points: F64, band: float) -> None:
    """Make distances below `band` those to the nearest of `points`, (N, 2) rows and columns; in place."""
    n = distance.shape[0]
    reach = int(band) + 2
    nearest = np.full(distance.shape, np.inf)
    for k in range(len(points)):
        y, x = points[k, 0] - 0.5, points[k, 1] - 0.5
        j, i = int(np.round(y)), int(np.round(x))
        for v in range(max(j - reach, 0), min(j + reach + 1, n)):
            for u in range(max(i - reach, 0), min(i + reach + 1, n)):
                nearest[v, u] = min(nearest[v, u], (v - y) ** 2 + (u - x) ** 2)
    for v in range(n):
        for u in range(n):
            if abs(distance[v, u]) <= band and nearest[v, u] < np.inf:
                exact = np.float32(np.sqrt(nearest[v, u]))
                distance[v, u] = exact if distance[v, u] > 0 else -exact


def prepare(view: View, size: int) -> Silhouette:
    """Outline distance, depth and tilt of one view on a grid of `size`, the depth's own where it has one."""
    distance = outline_distance(view.alpha, size)
    if view.depth is None:
        zero = np.zeros((size, size), np.float32)
        return Silhouette(distance, zero, zero)
    dx = np.full_like(view.depth, np.nan)
    dy = np.full_like(view.depth, np.nan)
    dx[:, 1:-1] = (view.depth[:, 2:] - view.depth[:, :-2]) / 2
    dy[1:-1] = (view.depth[2:] - view.depth[:-2]) / 2
    tilt = np.nan_to_num(np.hypot(dx, dy), nan=0.0)
    return Silhouette(distance, view.depth, tilt.astype(np.float32))


@njit(cache=True, nogil=True)
def _carve(
    origin: F64,
    step: float,
    first: int,
    last: int,
    n: int,
    rotation: F64,
    translation: F64,
    focal: float,
    jump: float,
    limit: float,
    distance: F32,
    depth: F32,
    tilt: F32,
    with_depth: bool,
    field: F32,
) -> None:
    """Fold one view into slabs [first, last) of `field` (n, n, n), x-major."""
    size = distance.shape[0]
    half = size / 2
    for i in range(first, last):
        x = origin[0] + i * step
        for j in range(n):
            y = origin[1] + j * step
            for k in range(n):
                if field[i, j, k] >= limit:
                    continue
                z = origin[2] + k * step
                cz = rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] * z + translation[2]
                if cz <= 1e-6:
                    field[i, j, k] = limit
                    continue
                cx = rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] * z + translation[0]
                cy = rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] * z + translation[1]
                u = focal * cx / cz + half - 0.5
                v = focal * cy / cz + half - 0.5
                a = int(np.floor(u))
                b = int(np.floor(v))
                if a < 0 or b < 0 or a >= size - 1 or b >= size - 1:
                    field[i, j, k] = limit
                    continue
                fu = u - a
                fv = v - b
                pixel = cz / focal
                s = (
                    (1 - fv) * ((1 - fu) * distance[b, a] + fu * distance[b, a + 1])
                    + fv * ((1 - fu) * distance[b + 1, a] + fu * distance[b + 1, a + 1])
                ) * pixel
                if with_depth:
                    d00, d01 = depth[b, a], depth[b, a + 1]
                    d10, d11 = depth[b + 1, a], depth[b + 1, a + 1]
                    low = np.inf
                    high = -np.inf
                    known = 0
                    for d in (d00, d01, d10, d11):
                        if not np.isnan(d):
                            known += 1
                            low = min(low, d)
                            high = max(high, d)
                    if known > 0:
                        if known < 4 or high - low > jump * pixel:
                            surface = low
                        else:
                            surface = (1 - fv) * ((1 - fu) * d00 + fu * d01) + fv * ((1 - fu) * d10 + fu * d11)
                        t = tilt[b, a] / pixel
                        # A sheet seen edge-on: its distance along the ray says little, and only near the surface.
                        s = max(s, (surface - cz) / np.sqrt(1.0 + min(t, STEEPEST) ** 2))
                field[i, j, k] = max(field[i, j, k], min(s, limit))


def carve(views: list[View], prepared: list[Silhouette], origin: F64, step: float, n: int, run: Run) -> F32:
    """Signed distance on an (n, n, n) grid of spacing `step` from `origin`; clipped to CLIP steps, negative inside."""
    limit = CLIP * step
    field = np.full((n, n, n), -limit, np.float32)
    for k, (view, p) in enumerate(zip(views, prepared, strict=True)):
        camera = view.camera

        def slab(first: int, last: int, view: View = view, p: Silhouette = p, camera: Camera = camera) -> None:
            _carve(
                origin,
                step,
                first,
                last,
                n,
                camera.rotation,
                camera.translation,
                camera.focal(p.distance.shape[0]),
                JUMP,
                limit,
                p.distance,
                p.depth,
                p.tilt,
                view.depth is not None,
                field,
            )

        in_bands(slab, n)
        run.tick(0.2 + 0.4 * (k + 1) / len(views))
    return field


Carver = Callable[[list[View], list[Silhouette], F64, float, int, Run], F32]
"""views, prepared, origin, step, n, run: see `carve`."""


def bounds(views: list[View]) -> tuple[F64, F64]:
    """World box that holds the visual hull: corners low and high, each (3,).

    An outline bounds the object sideways by its angle times the depth at which the object may end; that depth
    follows from the other views' boxes. Starting generously, a few rounds settle both.
    """
    distance = max(float(np.linalg.norm(view.camera.centre)) for view in views)
    low, high = np.full(3, -0.9 * distance), np.full(3, 0.9 * distance)
    spans = []
    for view in views:
        size = view.alpha.shape[0]
        solid = view.alpha >= 0.25
        rows, columns = np.nonzero(solid.any(1))[0], np.nonzero(solid.any(0))[0]
        if len(rows):
            tangent = np.tan(np.radians(view.camera.fov_deg) / 2) * 2 / size
            u = (np.array([columns.min() - 1, columns.max() + 2]) - size / 2) * tangent
            v = (np.array([rows.min() - 1, rows.max() + 2]) - size / 2) * tangent
            spans.append((view.camera, u, v))
    for _ in range(6):
        new_low, new_high = low.copy(), high.copy()
        for camera, u, v in spans:
            corners = np.array([[(low, high)[b >> k & 1][k] for k in range(3)] for b in range(8)])
            far = float((corners @ camera.rotation[2] + camera.translation[2]).max())
            for row, span in enumerate((u, v)):
                axis = camera.rotation[row]
                k = int(np.argmax(np.abs(axis)))
                lo, hi = sorted((span * far * axis[k]).tolist())
                new_low[k], new_high[k] = max(new_low[k], lo), min(new_high[k], hi)
        low, high = new_low, new_high
    return low, high


def prepare_all(views: list[View]) -> list[Silhouette]:
    """`prepare` for every view at the size of its depth render, without one at most at 1024 pixels."""

    def one(view: View) -> Silhouette:
        return prepare(view, view.depth.shape[0] if view.depth is not None else min(1024, view.alpha.shape[0]))

    with ThreadPoolExecutor() as pool:
        return list(pool.map(one, views))


def fuse(
    views: list[View], resolution: int, run: Run, prepared: list[Silhouette] | None = None, carver: Carver = carve
) -> tuple[F64, I32, float]:
    """Carve at `resolution` voxels along the longest side. Returns vertices, faces and the voxel size.

    `prepared` are the views' `prepare_all`, where the caller has them; `carver` is `carve` or does the same elsewhere.
    """
    low, high = bounds(views)
    step = float((high - low).max()) / (resolution - 6)
    origin = (low + high) / 2 - step * (resolution - 1) / 2
    prepared = prepare_all(views) if prepared is None else prepared
    run.tick(0.2)
    field = carver(views, prepared, origin, step, resolution, run)
    run.tick(0.8)
    if not field.min() < 0 < field.max():
        return np.zeros((0, 3)), np.zeros((0, 3), np.int32), step
    vertices, faces = extract(field, origin, step)
    return (*keep_solids(vertices, faces), step)
