"""Pass 2: the texture whose mip-mapped rendering shows the six input views.

With the geometry fixed, a rendered pixel is a linear function S of the texels (trilinear weights), so that
pass 2 is the sparse least-squares problem

    min  sum_p w_p |(S T)_p - C_p|^2  +  mu |T - T0|^2

with T0 the projected texture (bake.py). It is solved by conjugate gradients on the normal equations, S and
its transpose applied pixel by pixel; the same sums in the same order give the same bytes. mu keeps texels
that few pixels speak of near the projection.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit

from recon3d_runner.engines.nvdiffrec.bake import Sight, spread
from recon3d_runner.engines.nvdiffrec.unwrap import Atlas
from recon3d_runner.raster import Rasteriser
from recon3d_runner.raster.cpu import project
from recon3d_runner.raster.kernels import face_lod
from recon3d_runner.run import Run
from recon3d_runner.surface import face_normals
from recon3d_runner.types import F32, F64, I32, Bool

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


def collect(vertices: F64, faces: I32, atlas: Atlas, sight: Sight, stride: int, rasteriser: Rasteriser) -> Samples:
    """All trusted pixels of one view (every `stride`-th in both directions)."""
    view = sight.view
    size = view.rgb.shape[0]
    points = project(vertices, view.camera, size)
    face, _, bary = rasteriser.rasterize(points, faces, size)
    lod = face_lod(points, faces, atlas.uv, atlas.uv_faces, atlas.size)
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normal = face_normals(vertices, faces)
    ray = view.camera.centre - (a + b + c) / 3
    length = np.linalg.norm(normal, axis=1) * np.linalg.norm(ray, axis=1)
    cosine = ((normal * ray).sum(1) / np.maximum(length, 1e-300)).astype(np.float32)
    return Samples(
        *_collect(face, bary, sight.trust, view.rgb, atlas.uv, atlas.uv_faces, lod, cosine, atlas.size, stride)
    )


@njit(cache=True, nogil=True)
def _apply(place: F32, levels: tuple[F32, ...], out: F32) -> None:
    """out = S T: (N, 3)."""
    top = len(levels) - 1
    for k in range(place.shape[0]):
        level = min(place[k, 2], np.float32(top))
        low = int(level)
        part = np.float32(level - low)
        for q in range(3):
            out[k, q] = 0.0
        for s in range(2):
            w = 1 - part if s == 0 else part
            m = min(low + s, top)
            if w == 0.0:
                continue
            texture = levels[m]
            n = texture.shape[0]
            scale = np.float32(1.0 / (1 << m))
            x, y = place[k, 0] * scale - np.float32(0.5), place[k, 1] * scale - np.float32(0.5)
            i, j = int(np.floor(x)), int(np.floor(y))
            fx, fy = x - i, y - j
            i0, i1 = min(max(i, 0), n - 1), min(max(i + 1, 0), n - 1)
            j0, j1 = min(max(j, 0), n - 1), min(max(j + 1, 0), n - 1)
            for q in range(3):
                out[k, q] += w * (
                    (1 - fy) * ((1 - fx) * texture[j0, i0, q] + fx * texture[j0, i1, q])
                    + fy * ((1 - fx) * texture[j1, i0, q] + fx * texture[j1, i1, q])
                )


@njit(cache=True, nogil=True)
def _apply_transpose(place: F32, value: F32, levels: tuple[F32, ...]) -> None:
    """Add S' value, per mip level, to `levels`."""
    top = len(levels) - 1
    for k in range(place.shape[0]):
        level = min(place[k, 2], np.float32(top))
        low = int(level)
        part = np.float32(level - low)
        for s in range(2):
            w = 1 - part if s == 0 else part
            m = min(low + s, top)
            if w == 0.0:
                continue
            texture = levels[m]
            n = texture.shape[0]
            scale = np.float32(1.0 / (1 << m))
            x, y = place[k, 0] * scale - np.float32(0.5), place[k, 1] * scale - np.float32(0.5)
            i, j = int(np.floor(x)), int(np.floor(y))
            fx, fy = x - i, y - j
            i0, i1 = min(max(i, 0), n - 1), min(max(i + 1, 0), n - 1)
            j0, j1 = min(max(j, 0), n - 1), min(max(j + 1, 0), n - 1)
            for q in range(3):
                v = w * value[k, q]
                texture[j0, i0, q] += v * (1 - fy) * (1 - fx)
                texture[j0, i1, q] += v * (1 - fy) * fx
                texture[j1, i0, q] += v * fy * (1 - fx)
                texture[j1, i1, q] += v * fy * fx


def _pyramid(texture: F32, depth: int) -> tuple[F32, ...]:
    levels = [texture]
    while len(levels) < depth:
        last = levels[-1]
        h = last.shape[0] // 2
        levels.append(
            np.ascontiguousarray(
                0.25 * (last[0::2, 0::2] + last[1::2, 0::2] + last[0::2, 1::2] + last[1::2, 1::2])[:h, :h]
            )
        )
    return tuple(levels)


def _pyramid_transpose(levels: Sequence[F32]) -> F32:
    """Transpose of `_pyramid`: hand every coarse texel's sum down to its four children; consumes `levels`."""
    for fine, coarse in zip(levels[-2::-1], levels[:0:-1], strict=True):
        quarter = np.float32(0.25) * coarse
        for dj in (0, 1):
            for di in (0, 1):
                fine[dj::2, di::2] += quarter
    return levels[0]


class _System:
    """S and its transpose over all views."""

    def __init__(self, samples: list[Samples], size: int) -> None:
        self.samples = samples
        self.size = size
        deepest = max((float(s.place[:, 2].max()) for s in samples if len(s.place)), default=0.0)
        self.depth = 1
        while self.depth < int(np.ceil(deepest)) + 1 and (size >> (self.depth - 1)) % 2 == 0 and self.depth < 7:
            self.depth += 1

    def residual(self, texture: F32, target: bool) -> tuple[F32, float]:
        """S' W (C - S T) with `target`, else S' W S T; and the weighted sum of squares of the pixel values."""
        levels = _pyramid(texture, self.depth)

        def group(g: int) -> tuple[F32, float]:
            sums = tuple(np.zeros_like(level) for level in levels)
            total = 0.0
            for s in self.samples[g::GROUPS]:
                value = np.empty_like(s.colour)
                _apply(s.place, levels, value)
                if target:
                    value = s.colour - value
                total += float((s.weight * np.square(value).sum(1)).sum(dtype=np.float64))
                value *= s.weight[:, None]
                _apply_transpose(s.place, value, sums)
            return _pyramid_transpose(sums), total

        with ThreadPoolExecutor(GROUPS) as pool:
            parts = list(pool.map(group, range(GROUPS)))
        out = parts[0][0]
        for other, _ in parts[1:]:
            out += other
        return out, sum(p[1] for p in parts)


def optimise(
    start: F32,
    vertices: F64,
    faces: I32,
    atlas: Atlas,
    sights: Sequence[Sight],
    inside: Bool,
    iterations: int,
    prior: float,
    stride: int,
    rasteriser: Rasteriser,
    run: Run,
) -> tuple[F32, list[float]]:
    """Run pass 2 from the projected texture `start` (T, T, 3).

    inside (T, T): texels of charts; prior: mu; stride: pixels skipped on coarse profiles. Returns the texture
    and the weighted mean squared error before every iteration.
    """
    with ThreadPoolExecutor() as pool:
        samples = list(pool.map(lambda s: collect(vertices, faces, atlas, s, stride, rasteriser), sights))
    weight = sum(float(s.weight.sum(dtype=np.float64)) for s in samples)
    if weight == 0:
        return start, []
    system = _System(samples, atlas.size)
    run.tick(0.4)
    r, square = system.residual(start, target=True)
    losses = [square / weight / 3]
    x = np.zeros_like(start)
    p = r.copy()
    rr = float(np.square(r).sum(dtype=np.float64))
    first = rr
    for it in range(iterations):
        q, _ = system.residual(p, target=False)
        q += np.float32(prior) * p
        alpha = rr / max(float((p * q).sum(dtype=np.float64)), 1e-30)
        x += np.float32(alpha) * p
        r -= np.float32(alpha) * q
        new = float(np.square(r).sum(dtype=np.float64))
        # What conjugate gradients have gained in the quadratic: alpha r'r of it.
        square -= alpha * rr
        losses.append(max(square, 0.0) / weight / 3)
        run.tick(0.4 + 0.5 * (it + 1) / iterations, iteration=it + 1, total=iterations, loss=losses[-1])
        if not np.isfinite(new):
            raise FloatingPointError("the texture pass left the finite numbers")
        if new < 1e-4 * first:
            break
        p *= np.float32(new / rr)
        p += r
        rr = new
    texture = np.clip(start + x, 0, 1)
    return spread(texture, inside), losses
