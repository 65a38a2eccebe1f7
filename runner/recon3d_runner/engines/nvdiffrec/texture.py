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
from recon3d_runner.engines.nvdiffrec.sampling import pyramid, pyramid_transpose, residual
from recon3d_runner.engines.nvdiffrec.sight import GRAZING, Sight, sight_of
from recon3d_runner.engines.nvdiffrec.unwrap import Atlas
from recon3d_runner.raster import Rasteriser, TensorRasteriser
from recon3d_runner.raster.cpu import project
from recon3d_runner.raster.kernels import face_lod, within
from recon3d_runner.run import Run
from recon3d_runner.surface import face_normals
from recon3d_runner.types import F32, F64, I32, View

SETTLED: Final = 1e-4
"""Share of the first gradient's square at which pass 2 is done."""
Solver = Callable[[F32, int, float, Callable[[int, float], None]], tuple[F32, float, list[float]]]
"""start, iterations, prior, tick -> what to add to start, the first sum of squares and those after every iteration."""
GROUPS = 2
"""Accumulators of the transpose: views are dealt to them in turns, so that sums do not depend on threads."""


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
            if face[j, i] >= 0 and trust[j, i] == 1.0 and cosine[face[j, i]] > GRAZING:
                count += 1
    place = np.empty((count, 3), np.float32)
    colour = np.empty((count, 3), np.float32)
    weight = np.empty(count, np.float32)
    k = 0
    for j in range(0, n, stride):
        for i in range(0, n, stride):
            f = face[j, i]
            if f < 0 or trust[j, i] != 1.0 or cosine[f] <= GRAZING:
                continue
            b1, b2 = bary[j, i, 0], bary[j, i, 1]
            place[k, 0] = within(uv, uv_faces, f, b1, b2, 0) * size
            place[k, 1] = within(uv, uv_faces, f, b1, b2, 1) * size
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

    def __init__(self, samples: list[Samples], size: int, depth: int) -> None:
        self.samples = samples
        self.depth = depth
        shapes = [(size >> k, size >> k, 3) for k in range(depth)]
        # Hundreds of megabytes, which it would take longer to get anew each time than to add to.
        self.sums = [tuple(np.empty(shape, np.float32) for shape in shapes) for _ in range(GROUPS)]

    def residual(self, texture: F32, target: bool) -> tuple[F32, float]:
        """S' W (C - S T) with `target`, else S' W S T; and the weighted sum of squares of the pixel values.

        The first is overwritten by the next call.
        """
        levels = pyramid(texture, self.depth)

        def group(g: int) -> float:
            for level in self.sums[g]:
                level.fill(0)
            return sum(
                residual(s.place, s.colour, s.weight, target, levels, self.sums[g]) for s in self.samples[g::GROUPS]
            )

        with ThreadPoolExecutor(GROUPS) as pool:
            total = sum(pool.map(group, range(GROUPS)))
        return pyramid_transpose(*self.sums), total


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
    arrays = _System(samples, size, depth)
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
    found, first = system.residual(start, target=True)
    r, square = found.copy(), first
    squares: list[float] = []
    x, p = np.zeros_like(r), r.copy()
    rr = _in_rows(_dot, r, r)
    least = SETTLED * rr
    for it in range(iterations):
        q, _ = system.residual(p, target=False)
        alpha = rr / max(_in_rows(_dot, p, q) + prior * _in_rows(_dot, p, p), 1e-30)
        new = _in_rows(_walk, x, r, p, q, np.float32(alpha), np.float32(prior))
        # What conjugate gradients have gained in the quadratic: alpha r'r of it.
        square -= alpha * rr
        squares.append(max(square, 0.0))
        tick(it, squares[-1])
        if not np.isfinite(new):
            raise FloatingPointError("the texture pass left the finite numbers")
        if new < least:
            break
        _in_rows(_turn, p, r, np.float32(new / rr))
        rr = new
    return x, first, squares


def _in_rows(kernel: Callable[..., float], first: F32, *others: F32 | np.float32) -> float:
    """Sum of what `kernel` says of bands of rows of its arrays, whose other arguments are numbers."""

    def band(low: int, high: int) -> float:
        return kernel(*(a[low:high].reshape(-1) if isinstance(a, np.ndarray) else a for a in (first, *others)))

    return sum(in_bands(band, len(first)))


@njit(cache=True, nogil=True)
def _dot(a: F32, b: F32) -> float:
    total = 0.0
    for k in range(len(a)):
        total += a[k] * b[k]
    return total


@njit(cache=True, nogil=True)
def _walk(x: F32, r: F32, p: F32, q: F32, alpha: float, prior: float) -> float:
    """Go alpha along p, where the system without the prior says q; returns what is left, squared."""
    total = 0.0
    for k in range(len(x)):
        x[k] += alpha * p[k]
        r[k] -= alpha * (q[k] + prior * p[k])
        total += r[k] * r[k]
    return total


@njit(cache=True, nogil=True)
def _turn(p: F32, r: F32, beta: float) -> float:
    """The next direction."""
    for k in range(len(p)):
        p[k] = r[k] + beta * p[k]
    return 0.0
