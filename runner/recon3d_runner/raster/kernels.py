"""Numba kernels of the CPU rasteriser: a z-buffer that works through the image in bands of rows.

A band's buffers stay in the processor's cache, and only the part of the image that the mesh covers is ever
touched. All kernels release the interpreter lock, and bands are drawn side by side; none depends on another, so
that the bytes are the same whatever the thread count. Pixel centres are at +0.5.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recon3d_runner.bands import in_bands
from recon3d_runner.types import F32, F64, I32

ROWS = 32
"""Rows of a band in `rasterize`."""
WIDE = 512
"""Pixels a side below which an image is not worth several threads."""


@njit(cache=True, nogil=True)
def within(values: F64, faces: I32, f: int, b1: float, b2: float, k: int) -> float:
    """What face `f` has inside where its corners have column `k` of `values`; b1, b2: weights of corners 1 and 2."""
    return float((1.0 - b1 - b2) * values[faces[f, 0], k] + b1 * values[faces[f, 1], k] + b2 * values[faces[f, 2], k])


@njit(cache=True, nogil=True)
def extent(points: F64, faces: I32, size: int, f: int) -> tuple[int, int, int, int]:
    """First and last pixel column and row whose centres face `f` may cover in an image of `size`.

    first > last for a face that is not drawn: outside, without area, not finite, or not wholly before the camera.
    """
    a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
    if not (points[a, 2] > 0.0 and points[b, 2] > 0.0 and points[c, 2] > 0.0):
        return 1, 0, 1, 0
    xa, xb, xc = points[a, 0], points[b, 0], points[c, 0]
    ya, yb, yc = points[a, 1], points[b, 1], points[c, 1]
    area = abs((xb - xa) * (yc - ya) - (xc - xa) * (yb - ya))
    if not 0.0 < area < np.inf:
        return 1, 0, 1, 0
    last = size - 1.0
    x0 = int(np.ceil(min(max(min(xa, xb, xc) - 0.5, 0.0), size)))
    x1 = int(np.floor(max(min(max(xa, xb, xc) - 0.5, last), -1.0)))
    y0 = int(np.ceil(min(max(min(ya, yb, yc) - 0.5, 0.0), size)))
    y1 = int(np.floor(max(min(max(ya, yb, yc) - 0.5, last), -1.0)))
    return x0, x1, y0, y1


@njit(cache=True, nogil=True)
def sort_into_bands(points: F64, faces: I32, size: int, rows: int) -> tuple[I32, I32, int, int]:
    """Which faces touch which band of `rows` rows.

    Returns start (bands + 1,) and members, so that band k holds members[start[k]:start[k + 1]] in rising order
    of the faces, and the first and last column that any face may cover (first > last: nothing to draw).
    """
    bands = (size + rows - 1) // rows
    start = np.zeros(bands + 1, np.int32)
    left, right = size, -1
    for f in range(faces.shape[0]):
        x0, x1, y0, y1 = extent(points, faces, size, f)
        if x0 > x1 or y0 > y1:
            continue
        left, right = min(left, x0), max(right, x1)
        for k in range(y0 // rows, y1 // rows + 1):
            start[k + 1] += 1
    for k in range(bands):
        start[k + 1] += start[k]
    members = np.empty(start[bands], np.int32)
    fill = start[:bands].copy()
    for f in range(faces.shape[0]):
        x0, x1, y0, y1 = extent(points, faces, size, f)
        if x0 > x1 or y0 > y1:
            continue
        for k in range(y0 // rows, y1 // rows + 1):
            members[fill[k]] = f
            fill[k] += 1
    return start, members, left, right


@njit(cache=True, nogil=True)
def scan_band(
    points: F64, faces: I32, size: int, members: I32, top: int, left: int, nearest: F64, face: I32, bary: F32
) -> None:
    """Z-buffer the faces `members` into one band whose first row is `top` and first column `left`.

    nearest (rows, width) depth, face (rows, width) and bary (rows, width, 2) are overwritten; bary only where
    a face is.
    """
    nearest[:] = np.inf
    face[:] = -1
    bottom = top + face.shape[0] - 1
    for m in range(members.shape[0]):
        f = members[m]
        x0, x1, y0, y1 = extent(points, faces, size, f)
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        xa, ya = points[a, 0], points[a, 1]
        xb, yb = points[b, 0], points[b, 1]
        xc, yc = points[c, 0], points[c, 1]
        inv = 1.0 / ((xb - xa) * (yc - ya) - (xc - xa) * (yb - ya))
        ia, ib, ic = 1.0 / points[a, 2], 1.0 / points[b, 2], 1.0 / points[c, 2]
        for j in range(max(y0, top), min(y1, bottom) + 1):
            y = j + 0.5
            row = j - top
            for i in range(x0, x1 + 1):
                x = i + 0.5
                wb = ((x - xa) * (yc - ya) - (xc - xa) * (y - ya)) * inv
                wc = ((xb - xa) * (y - ya) - (x - xa) * (yb - ya)) * inv
                wa = 1.0 - wb - wc
                if wa < 0.0 or wb < 0.0 or wc < 0.0:
                    continue
                z = 1.0 / (wa * ia + wb * ib + wc * ic)
                k = i - left
                if z < nearest[row, k]:
                    nearest[row, k] = z
                    face[row, k] = f
                    bary[row, k, 0] = wb * ib * z
                    bary[row, k, 1] = wc * ic * z


def rasterize(points: F64, faces: I32, size: int) -> tuple[I32, F32, F32]:
    """Z-buffer the triangles.

    points: (V, 3) pixel x, pixel y, depth z; faces: (F, 3). Both windings are drawn; a face is drawn whole, or
    not at all where a corner is not before the camera (z > 0).
    Returns face (n, n) with -1 for background, depth (n, n) with NaN for background and
    bary (n, n, 2), the perspective-correct weights of a face's corners 1 and 2, 0 on the background.
    """
    face, depth = np.empty((size, size), np.int32), np.empty((size, size), np.float32)
    bary = np.empty((size, size, 2), np.float32)
    bands = sort_into_bands(points, faces, size, ROWS)

    def draw(first: int, last: int) -> None:
        _draw(points, faces, size, *bands, first, last, face, depth, bary)

    count = len(bands[0]) - 1
    if size < WIDE:
        draw(0, count)
    else:
        in_bands(draw, count)
    return face, depth, bary


@njit(cache=True, nogil=True)
def _draw(
    points: F64,
    faces: I32,
    size: int,
    start: I32,
    members: I32,
    left: int,
    right: int,
    first: int,
    last: int,
    face: I32,
    depth: F32,
    bary: F32,
) -> None:
    """Draw the bands [first, last) of sort_into_bands."""
    width = max(right - left + 1, 0)
    nearest = np.empty((ROWS, width), np.float64)
    near_face = np.empty((ROWS, width), np.int32)
    near_bary = np.empty((ROWS, width, 2), np.float32)
    for k in range(first, last):
        top = k * ROWS
        rows = min(ROWS, size - top)
        face[top : top + rows] = -1
        depth[top : top + rows] = np.nan
        bary[top : top + rows] = 0.0
        if start[k] == start[k + 1]:
            continue
        scan_band(points, faces, size, members[start[k] : start[k + 1]], top, left, nearest, near_face, near_bary)
        for row in range(rows):
            for i in range(width):
                if near_face[row, i] >= 0:
                    face[top + row, left + i] = near_face[row, i]
                    depth[top + row, left + i] = nearest[row, i]
                    bary[top + row, left + i, 0] = near_bary[row, i, 0]
                    bary[top + row, left + i, 1] = near_bary[row, i, 1]


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
