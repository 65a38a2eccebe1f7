"""What colours say of the depth's range, where eight-bit depth leaves it open: no print may be seen twice.

Calibration fits offset and gain of z = a + b g to surfaces and outlines. Both are blunt where an object is made of
walls, each of which has a rounding of its own, and of ridges, which smoothing lowers: on a printed column the gain was
half a per cent wrong, two pixels of depth from end to end. But a place that two views see has one colour. Wherever
print has an edge, a wrong depth puts the two views' edges beside each other, and two numbers for all six views have
hundreds of thousands of pixels to be told by.

Gauss-Newton on the difference of colours between every pixel's place in its view and in the others that see it, bounded
as of Geman and McClure, on blurred pictures first. The angle of view stays: colours hardly know it apart from the gain.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from scipy import ndimage

from recon3d_runner.comparison import shrink
from recon3d_runner.types import F32, F64, Bool, View

COARSE: Final = 0.5
"""Pixels of depth between levels below which calibration knows better."""
BLURS: Final = ((5, 3), (1, 4))
"""Pixels a side over which colours are averaged, and steps on such pictures."""
STRIDE: Final = 2
"""Of the pixels that are compared, in both directions."""
EAGER: Final = 1.6
"""Times the step of Gauss and Newton, which falls short where print is finer than what it is off by."""
HOPELESS: Final = 1e12
"""Condition from which on there is no print to speak of."""
OTHER: Final = 0.15
"""Difference of colours from which on they may be of different things."""
STEEPEST: Final = 3.5
"""Slope, in pixels of depth per pixel, of surface that is compared."""
BESIDE: Final = 2
"""Pixels from the end of a surface that are not."""
ROOM: Final = 2.5
"""Pixels of depth, and that many more per slope, within which two views show the same surface."""
FAINT: Final = 0.02
"""Change of colour per pixel that is none."""
DOUBT: Final = 0.2
"""Pixels of depth, anywhere on the object, below which a change is left alone: print is not surer than that."""
FARTHEST: Final = 4.0
"""Pixels of depth beyond which a change is not believed."""
BETTER: Final = 0.95
"""Share of the bounded differences of colours that may be left; under a wrong angle of view they fall less."""
RELATED: Final = 30.0
"""Neighbouring pixels err alike: the formal standard deviation is too small by about this."""


class Range(NamedTuple):
    """A change of all depths z: z + shift + stretch (z - distance)."""

    shift: float
    stretch: float
    distance: float

    def at(self, depth: float) -> float:
        """A depth, changed."""
        return depth + self.shift + self.stretch * (depth - self.distance)

    def of(self, depth: F32) -> F32:
        """Depths, changed."""
        return (depth + self.shift + self.stretch * (depth - self.distance)).astype(np.float32)

    def view(self, view: View) -> View:
        """A view with its depth changed."""
        depth, level = (None if z is None else self.of(z) for z in (view.depth, view.depth_level))
        return replace(view, depth=depth, depth_step=view.depth_step * (1 + self.stretch), depth_level=level)


class _Pictures(NamedTuple):
    """All views at the size of their depth."""

    depth: F32
    """(K, n, n)."""
    slope: F32
    """(K, n, n) pixels of depth per pixel."""
    good: Bool
    """(K, n, n) pixels well within one surface."""
    rotation: F64
    translation: F64


def depth_range(views: Sequence[View]) -> Range | None:
    """The change of depth under which the views' colours agree; None for none, or where they cannot say."""
    distance = float(np.linalg.norm(views[0].camera.centre))
    depths = [view.depth for view in views if view.depth is not None]
    if len(depths) < len(views) or not depths:
        return None
    size = len(depths[0])
    focal = views[0].camera.focal(size)
    pixel = distance / focal
    if views[0].rgb.shape[0] < size or max(view.depth_step for view in views) <= COARSE * pixel:
        return None
    pictures, colours = _pictures(views, size, pixel)
    low, high = float(np.nanmin(pictures.depth)) - distance, float(np.nanmax(pictures.depth)) - distance
    found = np.zeros(2)
    normal, _, squares = _step(pictures, colours, focal, distance, found)
    before = squares[2] / max(squares[3], 1.0)
    for blur, steps in BLURS:
        shown = _blurred(colours, blur)
        for _ in range(steps):
            normal, side, squares = _step(pictures, shown, focal, distance, found)
            if not np.linalg.cond(normal) <= HOPELESS:
                return None
            found = found + EAGER * np.linalg.solve(normal, side)
        change = Range(float(found[0]) * pixel, float(found[1]) * pixel, distance)
        if max(abs(change.shift + change.stretch * end) for end in (low, high)) > FARTHEST * pixel:
            return None
    ends = np.array([[1.0, low], [1.0, high]])
    variance = np.diag(ends @ np.linalg.inv(normal) @ ends.T) * squares[0] / max(squares[1], 1e-9)
    moved = np.abs(ends @ found)
    if RELATED * float(np.sqrt(variance.max())) > DOUBT or moved.max() < DOUBT:
        return None
    if squares[2] / max(squares[3], 1.0) > BETTER * before:
        return None
    return change


def _blurred(colours: F32, blur: int) -> F32:
    """Means over `blur` pixels a side."""
    if blur == 1:
        return colours
    with ThreadPoolExecutor() as pool:
        return np.stack(list(pool.map(lambda image: ndimage.uniform_filter(image, (blur, blur, 1)), colours)))


def _pictures(views: Sequence[View], size: int, pixel: float) -> tuple[_Pictures, F32]:
    """The views prepared, and their colours (K, n, n, 3)."""

    def one(view: View) -> tuple[F32, F32, Bool, F32]:
        depth = np.asarray(view.depth)
        down, across = np.full_like(depth, np.nan), np.full_like(depth, np.nan)
        across[:, 1:-1] = (depth[:, 2:] - depth[:, :-2]) / 2
        down[1:-1] = (depth[2:] - depth[:-2]) / 2
        slope = np.hypot(down, across) / np.float32(pixel)
        with np.errstate(invalid="ignore"):
            smooth = (slope <= STEEPEST) & (shrink(view.alpha, size) > 0.99)
        good = ndimage.binary_erosion(smooth, iterations=BESIDE)
        return depth, np.nan_to_num(slope, nan=np.inf), good, shrink(view.rgb, size)

    with ThreadPoolExecutor() as pool:
        depth, slope, good, rgb = (np.stack(images) for images in zip(*pool.map(one, views), strict=True))
    cameras = [view.camera for view in views]
    rotation, translation = np.stack([c.rotation for c in cameras]), np.stack([c.translation for c in cameras])
    return _Pictures(depth, slope, good, rotation, translation), rgb


def _step(p: _Pictures, rgb: F32, focal: float, distance: float, found: F64) -> tuple[F64, F64, F64]:
    """Normal equations, in pixels, over all views; sums of weighted squares, weights, bounded squares; how many."""
    pixel = distance / focal
    change = Range(float(found[0]) * pixel, float(found[1]) * pixel, distance)
    moved = change.of(p.depth)

    def one(k: int) -> tuple[F64, F64, F64]:
        out = np.zeros((2, 2)), np.zeros(2), np.zeros(4)
        _compare(k, moved, p.slope, p.good, rgb, p.rotation, p.translation, focal, distance, *out)
        return out

    with ThreadPoolExecutor() as pool:
        parts = list(pool.map(one, range(len(moved))))
    normal, side, squares = (np.sum(each, 0) for each in zip(*parts, strict=True))
    return normal, side, squares


@njit(cache=True, nogil=True)
def _compare(
    k: int,
    depth: F32,
    slope: F32,
    good: Bool,
    rgb: F32,
    rotation: F64,
    translation: F64,
    focal: float,
    distance: float,
    normal: F64,
    side: F64,
    squares: F64,
) -> None:
    """Add what view `k` shows against all others."""
    n = depth.shape[1]
    half, pixel = n / 2, distance / focal
    turn = np.empty((3, 3))
    shift, along, grade = np.empty(3), np.empty(3), np.empty(2)
    for m in range(depth.shape[0]):
        if m == k:
            continue
        for row in range(3):
            shift[row] = translation[m, row]
            for column in range(3):
                turn[row, column] = 0.0
                for x in range(3):
                    turn[row, column] += rotation[m, row, x] * rotation[k, column, x]
            for column in range(3):
                shift[row] -= turn[row, column] * translation[k, column]
        for j in range(1, n - 1, STRIDE):
            for i in range(1, n - 1, STRIDE):
                if not good[k, j, i]:
                    continue
                z = depth[k, j, i]
                rx, ry = (i + 0.5 - half) / focal, (j + 0.5 - half) / focal
                for row in range(3):
                    along[row] = turn[row, 0] * rx + turn[row, 1] * ry + turn[row, 2]
                cx, cy, cz = z * along[0] + shift[0], z * along[1] + shift[1], z * along[2] + shift[2]
                if cz <= 0.0:
                    continue
                u, v = focal * cx / cz + half - 0.5, focal * cy / cz + half - 0.5
                if not (u >= 1.0 and v >= 1.0 and u < n - 2 and v < n - 2):
                    continue
                a, b = int(u), int(v)
                if not (good[m, b, a] and good[m, b, a + 1] and good[m, b + 1, a] and good[m, b + 1, a + 1]):
                    continue
                if not abs(depth[m, b, a] - cz) <= pixel * (ROOM + 2.0 * slope[m, b, a]):
                    continue
                fu, fv = u - a, v - b
                # How the place moves in the other picture where this view's depth grows by a pixel.
                du = focal * (along[0] - cx / cz * along[2]) / cz * pixel
                dv = focal * (along[1] - cy / cz * along[2]) / cz * pixel
                square, steepest, gr, gg = 0.0, 0.0, 0.0, 0.0
                for q in range(3):
                    c00, c01 = rgb[m, b, a, q], rgb[m, b, a + 1, q]
                    c10, c11 = rgb[m, b + 1, a, q], rgb[m, b + 1, a + 1, q]
                    gx, gy = (1 - fv) * (c01 - c00) + fv * (c11 - c10), (1 - fu) * (c10 - c00) + fu * (c11 - c01)
                    r = c00 + fu * (c01 - c00) + fv * (c10 - c00 + fu * (c11 - c10 - c01 + c00)) - rgb[k, j, i, q]
                    g = gx * du + gy * dv
                    square += r * r
                    steepest = max(steepest, gx * gx + gy * gy)
                    gr += g * r
                    gg += g * g
                weight = 1.0 / (1.0 + square / (OTHER * OTHER)) ** 2
                squares[0] += weight * square / 3
                squares[1] += weight
                squares[2] += square / (square + OTHER * OTHER)
                squares[3] += 1.0
                if steepest < FAINT * FAINT:
                    continue
                grade[0], grade[1] = 1.0, z - distance
                for x in range(2):
                    side[x] -= weight * gr * grade[x]
                    for y in range(2):
                        normal[x, y] += weight * gg * grade[x] * grade[y]
