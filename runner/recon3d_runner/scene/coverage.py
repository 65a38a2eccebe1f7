"""The outline between pixels: by colour where the object differs from its background, else as straight as it can be.

A depth render tells of every pixel's centre whether the object is there, whatever its colour. So the outline crosses
the line between two neighbours of which one is inside, and each such crossing is known to a pixel of depth. Where
between the two, the colours beside it say (edges.py), unless the object looks like its background there or its print
begins or ends beside the edge. All crossings of a loop are then found together,

    min  sum w (u - colour)^2  +  sum wall(|u| - 1/2)^2  +  sum (curvature - around)^2 / (STRAIGHT^2 + before^2)

with u a crossing's place between its two centres, `around` the curvature that its neighbourhood had and `before` its
own. What is straight is stiff and carries an edge past white print from where it is seen; what is round keeps its
curvature; corners bend freely, and where two straight sides meet they are put in (corners.py).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from scipy import ndimage
from scipy.linalg import solveh_banded

from recon3d_runner.outline import outlines
from recon3d_runner.scene.corners import with_corners
from recon3d_runner.scene.edges import Beside, locate
from recon3d_runner.types import F32, F64, I64, U8, Bool

FAINT: Final = 0.6
"""Colour pixels: an edge known worse than that is not taken from its colours."""
SLACK: Final = 0.12
"""Colour pixels by which an edge seen in the colours may lie beyond its two pixels of depth."""
STRAIGHT: Final = 2e-3
"""Curvature, per pixel of depth, below which an outline is straight."""
LIMP: Final = 3e-2
"""The same where the colours show the edge, and nothing has to be carried on."""
FIRST: Final = 1e-2
"""The same in the first iteration."""
ROUNDS: Final = 8
LOOSE: Final = 4
"""So many rounds let colours that do not fit pull all the same, less in each."""
WALL: Final = 100.0
"""Weight of leaving the crossing's two pixels."""
REST: Final = 0.05
"""Weight of its middle."""
FARTHEST: Final = 0.55
"""Pixels of depth from its middle that a crossing may end at."""
SHORT: Final = 8
"""Loops of fewer crossings are left as they are."""
AROUND: Final = 25
"""Crossings whose median curvature is a round outline's."""
OVERLAP: Final = 128
"""Crossings by which a loop is gone round again, in place of closing it."""
RAMP: Final = 1.5
"""Width in pixels of the coverage's ramp, a renderer's filter's: its half-way contour is exact to a few hundredths."""


def trace(rgb: U8, inside: Bool, background: F32, noise: float) -> list[F64]:
    """Outlines of the object that is `inside` (h, h) in the picture `rgb` (H, H, 3).

    Closed loops as in Mask.outline. noise: of a colour in [0, 1].
    """
    h = inside.shape[0]
    ratio = rgb.shape[0] / h
    loops = [loop[:-1] for loop in outlines(inside.astype(np.float32))]
    if not loops:
        return []
    at = np.concatenate(loops)
    steep = np.gradient(ndimage.gaussian_filter(np.pad(inside, 1).astype(np.float32), 1.5))
    normal = -np.stack([ndimage.map_coordinates(d, at.T + 1, order=1) for d in steep], 1).astype(np.float64)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    axis = (at[:, 1] % 1 != 0).astype(np.int64)  # the coordinate that lies between two centres
    along = normal[np.arange(len(at)), axis]
    seen = locate(rgb, (at + 0.5) * ratio - 0.5, normal, background, noise)
    border = ((at < 0) | (at > h - 1)).any(1)
    lost = (np.abs(seen.offset) > 0.5 * ratio * np.abs(along) + SLACK) | (seen.sigma > FAINT) | border
    seen = Beside(seen.offset / ratio, np.where(lost, np.inf, seen.sigma / ratio))
    out, first = [], 0
    for loop in loops:
        part = slice(first, first + len(loop))
        first += len(loop)
        place = at[part]
        shift = _settle(place, normal[part], axis[part], seen.offset[part], seen.sigma[part], border[part])
        place[np.arange(len(loop)), axis[part]] += shift
        out.append(with_corners(np.concatenate([place, seen.sigma[part, None]], 1), inside) * ratio)
        out[-1][:, :2] += (ratio - 1) / 2
    return out


def coverage(loops: list[F64], size: int) -> F32:
    """(size, size) coverage of what the loops enclose: a ramp across them."""
    out = np.zeros((size, size), np.float32)
    away = np.full((size, size), np.float32(RAMP / 2))
    for loop in loops:
        _flip(loop, out)
        _near(loop, away)
    _ramp(out, away)
    return out


def _settle(at: F64, normal: F64, axis: I64, offset: F64, sigma: F64, fixed: Bool) -> F64:
    """(N,) how far every crossing lies from the middle between its two centres, in pixels of depth."""
    count = len(at)
    if count < SHORT:
        return np.zeros(count)
    more = min(count, OVERLAP)
    around = np.arange(-more, count + more) % count
    at, normal, offset, sigma, fixed = at[around], normal[around], offset[around], sigma[around], fixed[around]
    n = len(at)
    way = np.zeros((n, 2))
    way[np.arange(n), axis[around]] = 1.0
    along = (normal * way).sum(1)
    # Curvature across the middle one's normal of three crossings: a constant and a factor of each of their u.
    tangent = np.stack([-normal[:, 1], normal[:, 0]], 1)
    gap = np.maximum(np.abs((np.diff(at, axis=0) * (tangent[1:] + tangent[:-1]) / 2).sum(1)), 0.2)
    before, after = gap[:-1], gap[1:]
    a, c = 2 / (before + after) / before, 2 / (before + after) / after
    middle = normal[1:-1]
    factor = np.stack(
        [w * (middle * way[k : n - 2 + k]).sum(1) for k, w in enumerate((a, -(a + c), c))],
        1,
    )
    constant = (middle * (a[:, None] * at[:-2] - (a + c)[:, None] * at[1:-1] + c[:, None] * at[2:])).sum(1)
    known = np.isfinite(sigma) & (np.abs(along) > 0.3)
    target = np.where(known, offset / np.where(known, along, 1.0), 0.0)
    spread = np.where(known, sigma / np.maximum(np.abs(along), 0.3), 1.0)
    floor = np.where(ndimage.minimum_filter1d(known, 5)[1:-1], LIMP, STRAIGHT)
    u, bend, round_ = np.zeros(n), np.full(n - 2, FIRST), np.zeros(n - 2)
    for k in range(ROUNDS):
        wide = 3 * spread * 2.0 ** max(0, LOOSE - k)
        trust = known / spread**2 / (1 + ((u - target) / wide) ** 2 * (k > 0))
        out = np.abs(u) > 0.5
        load = trust * target + np.where(out, WALL * 0.5 * np.sign(u), 0.0)
        stiff = (before + after) / 2 / bend**2
        bands = np.zeros((3, n))
        bands[2] = trust + REST + WALL * out + 1e6 * fixed
        for p in range(3):
            for q in range(p, 3):
                bands[2 - (q - p), q : n - 2 + q] += stiff * factor[:, p] * factor[:, q]
            load[p : n - 2 + p] -= stiff * factor[:, p] * (constant - round_)
        u = solveh_banded(bands, load, check_finite=False)
        curve = constant + factor[:, 0] * u[:-2] + factor[:, 1] * u[1:-1] + factor[:, 2] * u[2:]
        around_ = ndimage.gaussian_filter1d(ndimage.median_filter(curve, AROUND), 4.0, mode="nearest")
        round_ = np.sign(around_) * np.maximum(np.abs(around_) - STRAIGHT, 0)
        own = np.abs(ndimage.gaussian_filter1d(curve - round_, 2.0, mode="nearest"))
        bend = np.hypot(floor, ndimage.maximum_filter1d(own, 5))
    settled: F64 = np.clip(u, -FARTHEST, FARTHEST)[more : more + count]
    return settled


@njit(cache=True, nogil=True)
def _flip(loop: F64, flips: F32) -> None:
    """Mark in every row the first centre right of each crossing of the loop: running parity says what is inside."""
    size = flips.shape[0]
    count = loop.shape[0]
    for k in range(count):
        y0, x0 = loop[k, 0], loop[k, 1]
        y1, x1 = loop[(k + 1) % count, 0], loop[(k + 1) % count, 1]
        low, high = min(y0, y1), max(y0, y1)
        for j in range(max(0, int(np.ceil(low))), min(size, int(np.ceil(high)))):
            i = max(int(np.ceil(x0 + (j - y0) / (y1 - y0) * (x1 - x0))), 0)
            if i < size:
                flips[j, i] = 1 - flips[j, i]


@njit(cache=True, nogil=True)
def _near(loop: F64, away: F32) -> None:
    """Lower distances to those from the loop, where that is nearer."""
    size = away.shape[0]
    count = loop.shape[0]
    reach = RAMP / 2
    for k in range(count):
        y0, x0 = loop[k, 0], loop[k, 1]
        down, right = loop[(k + 1) % count, 0] - y0, loop[(k + 1) % count, 1] - x0
        square = max(down * down + right * right, 1e-12)
        for j in range(
            max(0, int(np.ceil(y0 + min(down, 0.0) - reach))), min(size, int(y0 + max(down, 0.0) + reach) + 1)
        ):
            for i in range(
                max(0, int(np.ceil(x0 + min(right, 0.0) - reach))), min(size, int(x0 + max(right, 0.0) + reach) + 1)
            ):
                t = min(max(((j - y0) * down + (i - x0) * right) / square, 0.0), 1.0)
                away[j, i] = min(away[j, i], np.float32(np.hypot(j - y0 - t * down, i - x0 - t * right)))


@njit(cache=True, nogil=True)
def _ramp(flips: F32, away: F32) -> None:
    """From the rows' parity to coverage, in place."""
    for j in range(flips.shape[0]):
        inside = False
        for i in range(flips.shape[1]):
            inside = inside != (flips[j, i] > 0)
            off = away[j, i] / np.float32(RAMP)
            flips[j, i] = np.float32(0.5) + (off if inside else -off)
