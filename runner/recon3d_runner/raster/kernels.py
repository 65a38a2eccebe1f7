"""Numba kernels of the CPU rasteriser: z-buffer, mip-mapped texture look-up, box filter.

All release the interpreter lock, so that six views run on as many threads; each is serial and therefore
gives the same bytes whatever the thread count. Pixel centres are at +0.5.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recon3d_runner.types import F32, F64, I32


@njit(cache=True, nogil=True)
def rasterize(points: F64, faces: I32, size: int) -> tuple[I32, F32, F32]:
    """Z-buffer the triangles.

    points: (V, 3) pixel x, pixel y, depth z > 0; faces: (F, 3). Both windings are drawn.
    Returns face (n, n) with -1 for background, depth (n, n) with NaN for background and
    bary (n, n, 2), the perspective-correct weights of a face's corners 1 and 2.
    """
    face = np.full((size, size), -1, np.int32)
    depth = np.full((size, size), np.nan, np.float32)
    bary = np.zeros((size, size, 2), np.float32)
    best = np.full((size, size), np.inf, np.float64)
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        za, zb, zc = points[a, 2], points[b, 2], points[c, 2]
        if za <= 0.0 or zb <= 0.0 or zc <= 0.0:
            continue
        xa, ya = points[a, 0], points[a, 1]
        xb, yb = points[b, 0], points[b, 1]
        xc, yc = points[c, 0], points[c, 1]
        area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
        if area == 0.0:
            continue
        x0 = max(0, int(np.ceil(min(xa, xb, xc) - 0.5)))
        x1 = min(size - 1, int(np.floor(max(xa, xb, xc) - 0.5)))
        y0 = max(0, int(np.ceil(min(ya, yb, yc) - 0.5)))
        y1 = min(size - 1, int(np.floor(max(ya, yb, yc) - 0.5)))
        if x0 > x1 or y0 > y1:
            continue
        inv = 1.0 / area
        ia, ib, ic = 1.0 / za, 1.0 / zb, 1.0 / zc
        for j in range(y0, y1 + 1):
            y = j + 0.5
            for i in range(x0, x1 + 1):
                x = i + 0.5
                wb = ((x - xa) * (yc - ya) - (xc - xa) * (y - ya)) * inv
                wc = ((xb - xa) * (y - ya) - (x - xa) * (yb - ya)) * inv
                wa = 1.0 - wb - wc
                if wa < 0.0 or wb < 0.0 or wc < 0.0:
                    continue
                z = 1.0 / (wa * ia + wb * ib + wc * ic)
                if z < best[j, i]:
                    best[j, i] = z
                    face[j, i] = f
                    depth[j, i] = z
                    bary[j, i, 0] = wb * ib * z
                    bary[j, i, 1] = wc * ic * z
    return face, depth, bary


@njit(cache=True, nogil=True)
def face_lod(points: F64, faces: I32, uv: F64, uv_faces: I32, texture_size: int) -> F32:
    """(F,) mip level at which one texel covers one pixel: half the log2 of the area ratio, at least 0."""
    lod = np.zeros(faces.shape[0], np.float32)
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        screen = abs(
            (points[b, 0] - points[a, 0]) * (points[c, 1] - points[a, 1])
            - (points[c, 0] - points[a, 0]) * (points[b, 1] - points[a, 1])
        )
        a, b, c = uv_faces[f, 0], uv_faces[f, 1], uv_faces[f, 2]
        texels = (
            texture_size
            * texture_size
            * abs((uv[b, 0] - uv[a, 0]) * (uv[c, 1] - uv[a, 1]) - (uv[c, 0] - uv[a, 0]) * (uv[b, 1] - uv[a, 1]))
        )
        if screen > 0.0 and texels > screen:
            # A sliver seen edge-on would ask for a blur of its whole chart; one level less is sharper.
            lod[f] = min(0.5 * np.log2(texels / screen), 6.0)
    return lod


@njit(cache=True, nogil=True)
def _bilinear(level: F32, u: float, v: float, out: F32) -> None:
    """Add nothing, overwrite `out` (3,) with the sample of `level` (n, n, 3) at uv, clamped at the border."""
    n = level.shape[0]
    x = u * n - 0.5
    y = v * n - 0.5
    i0 = int(np.floor(x))
    j0 = int(np.floor(y))
    fx = np.float32(x - i0)
    fy = np.float32(y - j0)
    ia, ib = min(max(i0, 0), n - 1), min(max(i0 + 1, 0), n - 1)
    ja, jb = min(max(j0, 0), n - 1), min(max(j0 + 1, 0), n - 1)
    for k in range(3):
        top = level[ja, ia, k] * (1 - fx) + level[ja, ib, k] * fx
        bottom = level[jb, ia, k] * (1 - fx) + level[jb, ib, k] * fx
        out[k] = top * (1 - fy) + bottom * fy


@njit(cache=True, nogil=True)
def shade_texture(face: I32, bary: F32, uv: F64, uv_faces: I32, lod: F32, levels: tuple[F32, ...], out: F32) -> None:
    """Trilinear look-up of every covered pixel: `out` (n, n, 3) is written where face >= 0."""
    n = face.shape[0]
    low = np.zeros(3, np.float32)
    high = np.zeros(3, np.float32)
    top = len(levels) - 1
    for j in range(n):
        for i in range(n):
            f = face[j, i]
            if f < 0:
                continue
            b1, b2 = bary[j, i, 0], bary[j, i, 1]
            b0 = 1.0 - b1 - b2
            a, b, c = uv_faces[f, 0], uv_faces[f, 1], uv_faces[f, 2]
            u = b0 * uv[a, 0] + b1 * uv[b, 0] + b2 * uv[c, 0]
            v = b0 * uv[a, 1] + b1 * uv[b, 1] + b2 * uv[c, 1]
            level = min(lod[f], np.float32(top))
            k = int(level)
            t = level - k
            _bilinear(levels[k], u, v, low)
            if t > 0.0 and k < top:
                _bilinear(levels[k + 1], u, v, high)
                for q in range(3):
                    low[q] = low[q] * (1 - t) + high[q] * t
            for q in range(3):
                out[j, i, q] = low[q]


@njit(cache=True, nogil=True)
def shade_light(face: I32, bary: F32, faces: I32, normals: F64, light: F64, ambient: float, out: F32) -> None:
    """Multiply `out` (n, n, 3) by a soft Lambert term of the interpolated vertex `normals` (V, 3)."""
    n = face.shape[0]
    for j in range(n):
        for i in range(n):
            f = face[j, i]
            if f < 0:
                continue
            b1, b2 = bary[j, i, 0], bary[j, i, 1]
            b0 = 1.0 - b1 - b2
            x = b0 * normals[faces[f, 0], 0] + b1 * normals[faces[f, 1], 0] + b2 * normals[faces[f, 2], 0]
            y = b0 * normals[faces[f, 0], 1] + b1 * normals[faces[f, 1], 1] + b2 * normals[faces[f, 2], 1]
            z = b0 * normals[faces[f, 0], 2] + b1 * normals[faces[f, 1], 2] + b2 * normals[faces[f, 2], 2]
            length = np.sqrt(x * x + y * y + z * z)
            lambert = 0.0
            if length > 0.0:
                lambert = max(0.0, (x * light[0] + y * light[1] + z * light[2]) / length)
            gain = np.float32(ambient + (1.0 - ambient) * lambert)
            for q in range(3):
                out[j, i, q] *= gain
