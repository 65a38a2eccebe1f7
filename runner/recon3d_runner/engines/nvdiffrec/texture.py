"""Pass 2: the texture whose mip-mapped rendering shows the six input views.

With the geometry fixed, a rendered pixel is a linear function S of the texels (trilinear weights), so that
pass 2 is the sparse least-squares problem

    min  sum_p w_p |(S T)_p - C_p|^2  +  mu |T - T0|^2

with T0 the projected texture (bake.py). It is solved by conjugate gradients on the normal equations, S and
its transpose applied pixel by pixel; the same sums in the same order give the same bytes. mu keeps texels
that few pixels speak of near the projection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit

from recon3d_runner.bands import in_bands
from recon3d_runner.engines.nvdiffrec.geometry import CALMER, PATIENCE
from recon3d_runner.engines.nvdiffrec.gutters import Gutters, spread
from recon3d_runner.engines.nvdiffrec.sampling import apply, apply_transpose, pyramid, pyramid_transpose
from recon3d_runner.engines.nvdiffrec.sight import Sight, sight_of
from recon3d_runner.engines.nvdiffrec.unwrap import Atlas
from recon3d_runner.raster import Rasteriser, TensorRasteriser
from recon3d_runner.raster.cpu import project
from recon3d_runner.raster.kernels import face_lod
from recon3d_runner.run import Run
from recon3d_runner.surface import face_normals
from recon3d_runner.types import F32, F64, I32, View

SETTLED: Final = 1e-4
"""Share of the first gradient's square at which pass 2 is done."""
Solver = Callable[[F32, int, float, Callable[[int, float], None]], tuple[F32, float, list[float]]]
"""start, iterations, prior, tick -> what to add to start, the first sum of squares and those after every iteration."""
GROUPS = 2
"""Accumulators of the transpose: views are dealt to them in order, so that sums do not depend on threads."""


@dataclass(frozen=True)
class Samples:
    """One view's pixels as look-ups into the texture."""

    place: F32
    """(N, 3) u, v in texels of level 0, and the mip level."""
    colour: F32
    """(N, 3) sRGB in [0, 1]."""
    weight: F32
    """(N,)."""


@njit(cache=True, nogil=True)
def _collect(
    face: I32, bary: F32, trust: F32, rgb: F32, uv: F64, uv_faces: I32, lod: F32, cosine: F32, size: int, stride: int
) -> tuple[F32, F32, F32]:
    n = face.shape[0]
    count = 0
    for j in range(0, n, stride):
        for i in range(0, n, stride):
            if face[j, i] >= 0 and trust[j, i] == 1.0 and cosine[face[j, i]] > 0.15:
                count += 1
    place = np.empty((count, 3), np.float32)
    colour = np.empty((count, 3), np.float32)
    weight = np.empty(count, np.float32)
    k = 0
    for j in range(0, n, stride):
        for i in range(0, n, stride):
            f = face[j, i]
            if f < 0 or trust[j, i] != 1.0 or cosine[f] <= 0.15:
                continue
            b1, b2 = bary[j, i, 0], bary[j, i, 1]
            b0 = 1.0 - b1 - b2
            a, b, c = uv_faces[f, 0], uv_faces[f, 1], uv_faces[f, 2]
            place[k, 0] = (b0 * uv[a, 0] + b1 * uv[b, 0] + b2 * uv[c, 0]) * size
            place[k, 1] = (b0 * uv[a, 1] + b1 * uv[b, 1] + b2 * uv[c, 1]) * size
            place[k, 2] = lod[f]
            for q in range(3):
                colour[k, q] = rgb[j, i, q]
            weight[k] = cosine[f] * cosine[f]
            k += 1
    return place, colour, weight


def observe(
    vertices: F64, faces: I32, atlas: Atlas, view: View, stride: int, rasteriser: Rasteriser
) -> tuple[Sight, Samples]:
    """What one view sees of the mesh, and all its trusted pixels (every `stride`-th in both directions)."""
    size = view.rgb.shape[0]
    points = project(vertices, view.camera, size)
    face, depth, bary = rasteriser.rasterize(points, faces, size)
    sight = sight_of(view, depth)
    lod = face_lod(points, faces, atlas.uv, atlas.uv_faces, atlas.size)
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normal = face_normals(vertices, faces)
    ray = view.camera.centre - (a + b + c) / 3
    length = np.linalg.norm(normal, axis=1) * np.linalg.norm(ray, axis=1)
    cosine = ((normal * ray).sum(1) / np.maximum(length, 1e-300)).astype(np.float32)
    return sight, Samples(
        *_collect(face, bary, sight.trust, view.rgb, atlas.uv, atlas.uv_faces, lod, cosine, atlas.size, stride)
    )


class _System:
    """S and its transpose over all views."""

    def __init__(self, samples: list[Samples], depth: int) -> None:
        self.samples = samples
        self.depth = depth

    def residual(self, texture: F32, target: bool) -> tuple[F32, float]:
        """S' W (C - S T) with `target`, else S' W S T; and the weighted sum of squares of the pixel values."""
        levels = pyramid(texture, self.depth)

        def group(g: int) -> tuple[F32, float]:
            sums = tuple(np.zeros_like(level) for level in levels)
            total = 0.0
            for s in self.samples[g::GROUPS]:
                value = np.empty_like(s.colour)
                apply(s.place, levels, value)
                if target:
                    value = s.colour - value
                total += float((s.weight * np.square(value).sum(1)).sum(dtype=np.float64))
                value *= s.weight[:, None]
                apply_transpose(s.place, value, sums)
            return pyramid_transpose(sums), total

        with ThreadPoolExecutor(GROUPS) as pool:
            parts = list(pool.map(group, range(GROUPS)))
        out = parts[0][0]
        for other, _ in parts[1:]:
            out += other
        return out, sum(p[1] for p in parts)


def optimise(
    start: F32,
    samples: list[Samples],
    plan: Gutters,
    iterations: int,
    prior: float,
    rasteriser: Rasteriser,
    run: Run,
) -> tuple[F32, list[float]]:
    """Run pass 2 from the projected texture `start` (T, T, 3).

    samples: of every view, see `observe`; plan: the gutters around the charts; prior: mu. Returns the texture and the
    weighted mean squared error before every iteration.
    """
    weight = sum(float(s.weight.sum(dtype=np.float64)) for s in samples)
    if weight == 0:
        return start, []
    depth = _depth(samples, len(start))
    run.tick(0.4)

    def tick(it: int, loss: float) -> None:
        run.tick(0.4 + 0.5 * (it + 1) / iterations, iteration=it + 1, total=iterations, loss=loss / weight / 3)

    x, first, squares = _patiently(_solver(samples, depth, len(start), rasteriser), start, iterations, prior, tick, run)
    losses = [square / weight / 3 for square in (first, *squares)]
    in_bands(lambda first, last: _add(start, x, first, last), len(start))
    return spread(x, plan), losses


@njit(cache=True, nogil=True)
def _add(start: F32, x: F32, first: int, last: int) -> None:
    """x becomes start + x within [0, 1], in rows [first, last)."""
    for j in range(first, last):
        for i in range(x.shape[1]):
            for k in range(3):
                x[j, i, k] = min(max(start[j, i, k] + x[j, i, k], np.float32(0)), np.float32(1))


def _solver(samples: list[Samples], depth: int, size: int, rasteriser: Rasteriser) -> Solver:
    """Conjugate gradients on the rasteriser's device where it has one."""
    if isinstance(rasteriser, TensorRasteriser):
        from recon3d_runner.engines.nvdiffrec.on_device import texture as on_device

        tensors = on_device.System(samples, size, depth, rasteriser.device)
        return lambda start, its, prior, tick: on_device.solve(tensors, start, its, prior, tick, SETTLED)
    arrays = _System(samples, depth)
    return lambda start, its, prior, tick: _solve(arrays, start, its, prior, tick)


def _patiently(
    solver: Solver, start: F32, iterations: int, prior: float, tick: Callable[[int, float], None], run: Run
) -> tuple[F32, float, list[float]]:
    """Run `solver`; where it leaves the finite numbers, again and closer to the start, PATIENCE times at most."""
    for k in range(PATIENCE + 1):
        try:
            return solver(start, iterations, prior * CALMER**k, tick)
        except FloatingPointError:
            if k == PATIENCE:
                raise
            run.warn("texture_restarted", "The texture pass left the finite numbers and began again, more carefully.")
    raise AssertionError


def _depth(samples: Sequence[Samples], size: int) -> int:
    """Levels of the pyramid that the samples ask for."""
    deepest = max((float(s.place[:, 2].max()) for s in samples if len(s.place)), default=0.0)
    depth = 1
    while depth < int(np.ceil(deepest)) + 1 and (size >> (depth - 1)) % 2 == 0 and depth < 7:
        depth += 1
    return depth


def _solve(
    system: _System, start: F32, iterations: int, prior: float, tick: Callable[[int, float], None]
) -> tuple[F32, float, list[float]]:
    """Conjugate gradients: what to add to `start`, the first sum of squares and those after every iteration."""
    r, first = system.residual(start, target=True)
    square = first
    squares: list[float] = []
    x = np.zeros_like(start)
    p = r.copy()
    rr = float(np.square(r).sum(dtype=np.float64))
    least = SETTLED * rr
    for it in range(iterations):
        q, _ = system.residual(p, target=False)
        q += np.float32(prior) * p
        alpha = rr / max(float((p * q).sum(dtype=np.float64)), 1e-30)
        x += np.float32(alpha) * p
        r -= np.float32(alpha) * q
        new = float(np.square(r).sum(dtype=np.float64))
        # What conjugate gradients have gained in the quadratic: alpha r'r of it.
        square -= alpha * rr
        squares.append(max(square, 0.0))
        tick(it, squares[-1])
        if not np.isfinite(new):
            raise FloatingPointError("the texture pass left the finite numbers")
        if new < least:
            break
        p *= np.float32(new / rr)
        p += r
        rr = new
    return x, first, squares
