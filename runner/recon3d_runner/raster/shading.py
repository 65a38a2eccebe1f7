"""Numba kernels that turn a mesh with a texture into a picture: mip levels, look-ups, soft light, box filter."""

from __future__ import annotations

import numpy as np
from numba import njit

from recon3d_runner.raster.kernels import scan_band, sort_into_bands
from recon3d_runner.types import F32, F64, I32, U8

BAND = 16
"""Rows of finished pixels in a band."""


@njit(cache=True, nogil=True)
def to_unit(texture: U8) -> F32:
    """Bytes (T, T, 3) to float32 in [0, 1]."""
    table = np.empty(256, np.float32)
    for k in range(256):
        table[k] = np.float32(k) / np.float32(255)
    out = np.empty(texture.shape, np.float32)
    for j in range(texture.shape[0]):
        for i in range(texture.shape[1]):
            for q in range(3):
                out[j, i, q] = table[texture[j, i, q]]
    return out


@njit(cache=True, nogil=True)
def halve(level: F32) -> F32:
    """Means of 2 x 2 texels: (2n, 2n, 3) to (n, n, 3)."""
    n = level.shape[0] // 2
    out = np.empty((n, n, 3), np.float32)
    quarter = np.float32(0.25)
    for j in range(n):
        for i in range(n):
            for q in range(3):
                upper = level[2 * j, 2 * i, q] + level[2 * j, 2 * i + 1, q]
                lower = level[2 * j + 1, 2 * i, q] + level[2 * j + 1, 2 * i + 1, q]
                out[j, i, q] = quarter * (upper + lower)
    return out


@njit(cache=True, nogil=True)
def _bilinear(level: F32, u: float, v: float) -> tuple[float, float, float]:
    """The sample of `level` (n, n, 3) at uv, clamped at the border."""
    n = level.shape[0]
    x = u * n - 0.5
    y = v * n - 0.5
    i0 = int(np.floor(x))
    j0 = int(np.floor(y))
    fx = np.float32(x - i0)
    fy = np.float32(y - j0)
    gx, gy = np.float32(1) - fx, np.float32(1) - fy
    ia, ib = np.uint32(min(max(i0, 0), n - 1)), np.uint32(min(max(i0 + 1, 0), n - 1))
    ja, jb = np.uint32(min(max(j0, 0), n - 1)), np.uint32(min(max(j0 + 1, 0), n - 1))
    aa, ab, ba, bb = gx * gy, fx * gy, gx * fy, fx * fy
    return (
        aa * level[ja, ia, 0] + ab * level[ja, ib, 0] + ba * level[jb, ia, 0] + bb * level[jb, ib, 0],
        aa * level[ja, ia, 1] + ab * level[ja, ib, 1] + ba * level[jb, ia, 1] + bb * level[jb, ib, 1],
        aa * level[ja, ia, 2] + ab * level[ja, ib, 2] + ba * level[jb, ia, 2] + bb * level[jb, ib, 2],
    )


@njit(cache=True, nogil=True)
def _trilinear(levels: tuple[F32, ...], u: float, v: float, lod: float) -> tuple[float, float, float]:
    top = len(levels) - 1
    k = min(int(lod), top)
    t = np.float32(lod - k)
    r, g, b = _bilinear(levels[k], u, v)
    if t > 0 and k < top:
        r1, g1, b1 = _bilinear(levels[k + 1], u, v)
        s = np.float32(1) - t
        return r * s + r1 * t, g * s + g1 * t, b * s + b1 * t
    return r, g, b


@njit(cache=True, nogil=True)
def _lit(faces: I32, f: int, b0: float, b1: float, b2: float, normals: F64, light: F64, ambient: float) -> float:
    """Soft Lambert factor of the interpolated vertex `normals` (V, 3) for a `light` direction (3,)."""
    p, q, r = faces[f, 0], faces[f, 1], faces[f, 2]
    x = b0 * normals[p, 0] + b1 * normals[q, 0] + b2 * normals[r, 0]
    y = b0 * normals[p, 1] + b1 * normals[q, 1] + b2 * normals[r, 1]
    z = b0 * normals[p, 2] + b1 * normals[q, 2] + b2 * normals[r, 2]
    length = np.sqrt(x * x + y * y + z * z)
    lambert = max(0.0, (x * light[0] + y * light[1] + z * light[2]) / length) if length > 0.0 else 0.0
    return ambient + (1.0 - ambient) * lambert


@njit(cache=True, nogil=True)
def draw(
    points: F64,
    faces: I32,
    uv: F64,
    uv_faces: I32,
    lod: F32,
    levels: tuple[F32, ...],
    normals: F64,
    light: F64,
    ambient: float,
    supersample: int,
    rgb: F32,
    alpha: F32,
    depth: F32,
    face: I32,
) -> None:
    """Render over the prepared background images rgb (n, n, 3), alpha, depth and face (n, n).

    points: (V, 3) projected into the supersampled image of n * supersample; lod: (F,); normals: (V, 3), or
    (0, 3) for no light. Only pixels that the mesh covers are written; rgb is the mean of the samples over white,
    depth and face are those of the sample just right of and below the pixel's middle.
    """
    n = rgb.shape[0]
    s = supersample
    rows = BAND * s
    shaded = normals.shape[0] > 0
    start, members, left, right = sort_into_bands(points, faces, n * s, rows)
    left -= left % s
    first = left // s
    width = max(right - left + s, 0) // s * s
    near_depth = np.empty((rows, width), np.float64)
    near_face = np.empty((rows, width), np.int32)
    near_bary = np.empty((rows, width, 2), np.float32)
    share = np.float32(1.0) / np.float32(s * s)
    for k in range(start.shape[0] - 1):
        if start[k] == start[k + 1]:
            continue
        top = k * rows
        scan_band(
            points, faces, n * s, members[start[k] : start[k + 1]], top, left, near_depth, near_face, near_bary
        )
        for row in range(min(BAND, n - k * BAND)):
            j = k * BAND + row
            for column in range(width // s):
                i = first + column
                count = 0
                red, green, blue = np.float32(0), np.float32(0), np.float32(0)
                for y in range(row * s, row * s + s):
                    for x in range(column * s, column * s + s):
                        f = near_face[y, x]
                        if f < 0:
                            continue
                        b1, b2 = near_bary[y, x, 0], near_bary[y, x, 1]
                        b0 = 1.0 - b1 - b2
                        p, q, r = uv_faces[f, 0], uv_faces[f, 1], uv_faces[f, 2]
                        u = b0 * uv[p, 0] + b1 * uv[q, 0] + b2 * uv[r, 0]
                        v = b0 * uv[p, 1] + b1 * uv[q, 1] + b2 * uv[r, 1]
                        cr, cg, cb = _trilinear(levels, u, v, lod[f])
                        if shaded:
                            gain = np.float32(_lit(faces, f, b0, b1, b2, normals, light, ambient))
                            cr, cg, cb = cr * gain, cg * gain, cb * gain
                        red, green, blue = red + cr, green + cg, blue + cb
                        count += 1
                if count == 0:
                    continue
                white = np.float32(s * s - count)
                rgb[j, i, 0] = (red + white) * share
                rgb[j, i, 1] = (green + white) * share
                rgb[j, i, 2] = (blue + white) * share
                alpha[j, i] = np.float32(count) * share
                y, x = row * s + s // 2, column * s + s // 2
                if near_face[y, x] >= 0:
                    face[j, i] = near_face[y, x]
                    depth[j, i] = near_depth[y, x]
