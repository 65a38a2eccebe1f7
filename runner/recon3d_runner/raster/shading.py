"""Numba kernels that turn a mesh with a texture into a picture: mip levels, look-ups, soft light, box filter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recon3d_runner.bands import in_bands
from recon3d_runner.raster.kernels import scan_band, sort_into_bands, within
from recon3d_runner.types import F32, F64, I32, U8

I64 = NDArray[np.int64]

BAND = 16
"""Rows of finished pixels in a band."""


@dataclass(frozen=True)
class Pyramid:
    """A texture and its mip levels, one after the other in one array (a tuple of arrays is slow to index)."""

    texels: F32
    """(N, 3) sRGB in [0, 1]; level k is texels[start[k]:start[k + 1]] in rows of side[k]."""
    start: I64
    """(L + 1,)."""
    side: I64
    """(L,), each half the one before."""

    def level(self, k: int) -> F32:
        """(side, side, 3) of level `k`, a view."""
        return self.texels[self.start[k] : self.start[k + 1]].reshape(self.side[k], self.side[k], 3)


def build_pyramid(texture: U8 | F32) -> Pyramid:
    """Box-filtered levels of (T, T, 3), bytes or [0, 1], down to at least 8 x 8 texels, as deep as T is even."""
    sides = [texture.shape[0]]
    while sides[-1] % 2 == 0 and sides[-1] > 8:
        sides.append(sides[-1] // 2)
    start = np.concatenate([[0], np.cumsum(np.square(np.array(sides, np.int64)))])
    made = Pyramid(np.empty((int(start[-1]), 3), np.float32), start, np.array(sides, np.int64))
    if texture.dtype == np.uint8:
        pixels, finest = np.ascontiguousarray(texture, np.uint8), made.level(0)
        in_bands(lambda first, last: _to_unit(pixels[first:last], finest[first:last]), sides[0])
    else:
        made.level(0)[:] = texture
    for k in range(1, len(sides)):
        halve(made.level(k - 1), made.level(k))
    return made


def halve(level: F32, out: F32) -> None:
    """Set `out`, of half the side, to the means of 2 x 2 texels of `level`."""
    in_bands(lambda first, last: _halve(level[2 * first : 2 * last], out[first:last]), len(out))


@njit(cache=True, nogil=True)
def _to_unit(texture: U8, out: F32) -> None:
    """Bytes (T, T, 3) to [0, 1]."""
    table = np.empty(256, np.float32)
    for k in range(256):
        table[k] = np.float32(k) / np.float32(255)
    for j in range(texture.shape[0]):
        for i in range(texture.shape[1]):
            for q in range(3):
                out[j, i, q] = table[texture[j, i, q]]


@njit(cache=True, nogil=True)
def _halve(level: F32, out: F32) -> None:
    """Means of 2 x 2 texels."""
    quarter = np.float32(0.25)
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            for q in range(3):
                upper = level[2 * j, 2 * i, q] + level[2 * j, 2 * i + 1, q]
                lower = level[2 * j + 1, 2 * i, q] + level[2 * j + 1, 2 * i + 1, q]
                out[j, i, q] = quarter * (upper + lower)


@njit(cache=True, nogil=True)
def _bilinear(texels: F32, start: int, n: int, u: float, v: float) -> tuple[float, float, float]:
    """The sample of the level of side `n` that begins at `start`, at uv, clamped at the border."""
    x = u * n - 0.5
    y = v * n - 0.5
    i0 = int(np.floor(x))
    j0 = int(np.floor(y))
    fx = np.float32(x - i0)
    fy = np.float32(y - j0)
    gx, gy = np.float32(1) - fx, np.float32(1) - fy
    ia, ib = min(max(i0, 0), n - 1), min(max(i0 + 1, 0), n - 1)
    ja, jb = start + n * min(max(j0, 0), n - 1), start + n * min(max(j0 + 1, 0), n - 1)
    # Unsigned: no test for indices from the end.
    a, b, c, d = np.uint64(ja + ia), np.uint64(ja + ib), np.uint64(jb + ia), np.uint64(jb + ib)
    wa, wb, wc, wd = gx * gy, fx * gy, gx * fy, fx * fy
    return (
        wa * texels[a, 0] + wb * texels[b, 0] + wc * texels[c, 0] + wd * texels[d, 0],
        wa * texels[a, 1] + wb * texels[b, 1] + wc * texels[c, 1] + wd * texels[d, 1],
        wa * texels[a, 2] + wb * texels[b, 2] + wc * texels[c, 2] + wd * texels[d, 2],
    )


@njit(cache=True, nogil=True)
def _trilinear(texels: F32, start: I64, side: I64, u: float, v: float, lod: float) -> tuple[float, float, float]:
    top = side.shape[0] - 1
    k = min(int(lod), top)
    t = np.float32(lod - k)
    r, g, b = _bilinear(texels, start[k], side[k], u, v)
    if t > 0 and k < top:
        r1, g1, b1 = _bilinear(texels, start[k + 1], side[k + 1], u, v)
        s = np.float32(1) - t
        return r * s + r1 * t, g * s + g1 * t, b * s + b1 * t
    return r, g, b


@njit(cache=True, nogil=True)
def _lit(faces: I32, f: int, b1: float, b2: float, normals: F64, light: F64, ambient: float) -> float:
    """Soft Lambert factor of the interpolated vertex `normals` (V, 3) for a `light` direction (3,)."""
    x = within(normals, faces, f, b1, b2, 0)
    y = within(normals, faces, f, b1, b2, 1)
    z = within(normals, faces, f, b1, b2, 2)
    length = np.sqrt(x * x + y * y + z * z)
    lambert = max(0.0, (x * light[0] + y * light[1] + z * light[2]) / length) if length > 0.0 else 0.0
    return ambient + (1.0 - ambient) * lambert


def draw(
    points: F64,
    faces: I32,
    uv: F64,
    uv_faces: I32,
    lod: F32,
    levels: Pyramid,
    normals: F64,
    light: F64,
    ambient: float,
    supersample: int,
    rgb: F32,
    alpha: F32,
) -> None:
    """Render over the prepared background images rgb (n, n, 3) and alpha (n, n).

    points: (V, 3) projected into the supersampled image of n * supersample; lod: (F,); normals: (V, 3), or
    (0, 3) for no light. Only pixels that the mesh covers are written; rgb is the mean of the samples over white.
    """
    start, members, left, right = sort_into_bands(points, faces, len(rgb) * supersample, BAND * supersample)
    texels, begin, side = levels.texels, levels.start, levels.side

    def band(first: int, last: int) -> None:
        picture = (
            points,
            faces,
            uv,
            uv_faces,
            lod,
            texels,
            begin,
            side,
            normals,
            light,
            ambient,
            supersample,
            rgb,
            alpha,
        )
        _draw(*picture, start, members, left, right, first, last)

    in_bands(band, len(start) - 1)


@njit(cache=True, nogil=True)
def _draw(
    points: F64,
    faces: I32,
    uv: F64,
    uv_faces: I32,
    lod: F32,
    texels: F32,
    level_start: I64,
    level_side: I64,
    normals: F64,
    light: F64,
    ambient: float,
    supersample: int,
    rgb: F32,
    alpha: F32,
    start: I32,
    members: I32,
    left: int,
    right: int,
    first_band: int,
    last_band: int,
) -> None:
    """Draw the bands [first_band, last_band) of sort_into_bands."""
    n = rgb.shape[0]
    s = supersample
    rows = BAND * s
    shaded = normals.shape[0] > 0
    left -= left % s
    first = left // s
    width = max(right - left + s, 0) // s * s
    near_depth = np.empty((rows, width), np.float64)
    near_face = np.empty((rows, width), np.int32)
    near_bary = np.empty((rows, width, 2), np.float32)
    share = np.float32(1.0) / np.float32(s * s)
    for k in range(first_band, last_band):
        if start[k] == start[k + 1]:
            continue
        top = k * rows
        scan_band(points, faces, n * s, members[start[k] : start[k + 1]], top, left, near_depth, near_face, near_bary)
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
                        u = within(uv, uv_faces, f, b1, b2, 0)
                        v = within(uv, uv_faces, f, b1, b2, 1)
                        cr, cg, cb = _trilinear(texels, level_start, level_side, u, v, lod[f])
                        if shaded:
                            gain = np.float32(_lit(faces, f, b1, b2, normals, light, ambient))
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
