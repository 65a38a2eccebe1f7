"""Flat walls under coarse depth: where within its level's rounding a wall lies, the other views' outlines say.

A wall that faces the camera has one depth level all over, so that nothing in its own view tells where within that
level it lies, and with eight bits that is several pixels. But no part of it may lie outside the object's outline in
another view, and a wall at the object's end touches that outline with its rim. So it is taken as near as the outlines
let it be, where that is within its level; else nothing speaks against what calibration found for it. How its rim bends
away, the width of the next level tells (`_Wall`).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
from scipy import ndimage

from recon3d_runner.crop import around
from recon3d_runner.engines.nvdiffrec.fusion import Silhouette
from recon3d_runner.raster.cpu import project
from recon3d_runner.types import F32, F64, I64, Bool, View

COARSE: Final = 0.5
"""Steps of depth below this many pixels are left alone."""
LEVEL: Final = 0.02
"""Share of a step by which neighbours on one level may differ."""
LEAST_SHARE: Final = 0.005
"""Of a view's foreground, for a plateau to be looked at."""
RIM: Final = 24
"""Pixels from a wall's edge in which it can touch an outline."""
ALONG: Final = 31
"""Pixels a side around a place of its rim by which the next level's width there is told."""
BESIDE: Final = 0.1
"""Distance from a wall, of its width, at which the surface is looked for again: beyond a rounded edge."""
ENDS: Final = 0.5
"""Share of the pixels there that may be of the same or the next level, if it is to be a wall."""
LEVELS: Final = 2
"""Beyond its own that tell how a wall bends away at its rim."""
SQUARE: Final = np.ones((3, 3), bool)
NONE: Final = 0.5
"""Pixels of the next level beside an edge up to which it is sharp."""
STRIP: Final = 1.0
"""Share of a plateau's width: so many pixels of it must be outside to count, since outlines are not perfect."""
ENOUGH: Final = 20_000
"""Pixels of a rim that are looked at."""
ASTRAY: Final = 0.75
"""Pixels of depth beyond its level at which a wall may yet be: the range of all depths is not exact."""
HALVINGS: Final = 8


def settle(views: Sequence[View], prepared: Sequence[Silhouette]) -> tuple[list[View], list[Silhouette]]:
    """Views, and what was prepared of them, with their plateaus where the outlines put them."""

    def one(k: int) -> F32 | None:
        view = views[k]
        if view.depth is None or view.depth_step <= COARSE * view.camera.pixel(len(view.depth)):
            return view.depth
        others = [(v, p) for j, (v, p) in enumerate(zip(views, prepared, strict=True)) if j != k]
        return _settled(view, view.depth, others)

    with ThreadPoolExecutor() as pool:
        depths = list(pool.map(one, range(len(views))))
    return (
        [replace(view, depth=depth) for view, depth in zip(views, depths, strict=True)],
        [p if depth is None else replace(p, depth=depth) for p, depth in zip(prepared, depths, strict=True)],
    )


def _settled(view: View, depth: F32, others: Sequence[tuple[View, Silhouette]]) -> F32:
    level = depth if view.depth_level is None else view.depth_level
    label, count = ndimage.label(_level(depth, LEVEL * view.depth_step))
    size = np.bincount(label.ravel(), minlength=count + 1)
    least = LEAST_SHARE * int(np.isfinite(depth).sum())
    out: F32 = depth.copy()
    done = np.zeros(depth.shape, np.bool_)
    for number in np.flatnonzero(size[1:] >= least) + 1:
        flat = label == number
        if done[flat].any():
            continue
        middle, before = float(np.median(level[flat])), done.copy()
        with np.errstate(invalid="ignore"):
            same = ndimage.binary_propagation(flat, SQUARE, np.abs(level - middle) < 0.5 * view.depth_step)
        done |= same
        if not any(_goes_on(depth, part, middle, view.depth_step) for part in (flat, done & ~before)):
            wall = _Wall.of(view, level, same, middle)
            shift = _shift(wall, float(np.median(depth[flat])) - wall.middle, view, others)
            out[wall.rows, wall.columns] = wall.middle + shift + wall.drop(shift)
    return out


def _goes_on(depth: F32, part: Bool, middle: float, step: float) -> bool:
    """Whether the surface goes on beyond a part of it: then that is a curved one's flattest part, and no wall."""
    at = BESIDE * float(np.sqrt(part.sum()))
    place = around(part, int(at) + 3)
    away = ndimage.distance_transform_edt(~part[place])
    with np.errstate(invalid="ignore"):
        on = np.abs(depth[place][(away > at) & (away <= at + 1.5)] - middle) < 1.5 * step
    return bool(on.mean() > ENDS)


def _level(depth: F32, tolerance: float) -> Bool:
    """(n, n) pixels of the same depth as all around them; comparisons with NaN are false."""
    flat = np.ones(depth.shape, bool)
    flat[[0, -1]] = flat[:, [0, -1]] = False
    with np.errstate(invalid="ignore"):
        for axis in (0, 1):
            same = np.abs(np.diff(depth, axis=axis)) <= tolerance
            low, high = [slice(None)] * 2, [slice(None)] * 2
            low[axis], high[axis] = slice(None, -1), slice(1, None)
            flat[tuple(low)] &= same
            flat[tuple(high)] &= same
    return flat


class _Wall(NamedTuple):
    """All that is connected to a plateau and of its level: flat in the middle, and round towards its rim.

    How round, the next level tells: a wall that ends sharply has nothing of it, one that bends away as a circle does
    has the more of it the larger the circle is. So for every place of the wall its depth is known but for one number.
    """

    rows: I64
    columns: I64
    """(N,) its pixels."""
    away: F64
    """(N,) how far it is from there to its rim, in world units."""
    gap: F64
    """(N,) width of the next level beyond the rim there, in world units."""
    middle: float
    """Depth of its level's middle."""
    step: float
    least: float
    """Width of the next level, in world units, below which there is none: the edge is sharp."""

    @classmethod
    def of(cls, view: View, level: F32, wall: Bool, middle: float) -> _Wall:
        """The wall of the pixels `wall` in an image of every pixel's level."""
        step = view.depth_step
        with np.errstate(invalid="ignore"):
            beyond = np.abs(level - middle - LEVELS / 2 * step) < (LEVELS + 1) / 2 * step
            further = ndimage.binary_propagation(wall, SQUARE, beyond)
        pixel = middle / view.camera.focal(len(level))
        rows, columns = np.nonzero(wall)
        # What is nearest to a place of a region stands beside the region.
        place = around(wall, 1)
        here = rows - place[0].start, columns - place[1].start
        distance, beside = ndimage.distance_transform_edt(wall[place], return_indices=True)
        width, around_it = np.zeros(level.shape), around(further, 1)
        width[around_it] = ndimage.distance_transform_edt(further[around_it])
        rim = ndimage.binary_dilation(wall, SQUARE) & ~wall
        known = ndimage.uniform_filter(rim.astype(np.float32), ALONG)
        mean = ndimage.uniform_filter(np.where(rim, width, 0).astype(np.float32), ALONG) / np.maximum(known, 1e-6)
        nearest = beside[0][here] + place[0].start, beside[1][here] + place[1].start
        away = (distance[here] - 0.5) * pixel  # a centre beside the rim is half a pixel from it
        return cls(rows, columns, away, mean[nearest] * pixel, middle, step, NONE * pixel)

    def drop(self, shift: float, part: slice | I64 = slice(None)) -> F64:
        """(N,) how far behind its flat part the wall lies, if that is `shift` behind its level's middle.

        The rim is where the next level begins, half a step behind the middle, and that one's end a step further.
        """
        near, far = 0.5 * self.step - shift, (LEVELS + 0.5) * self.step - shift
        radii = max(near, 0.0) + np.geomspace(1e-3, 1e3, 200) * self.step
        radius = np.interp(self.gap[part], _across(radii, far) - _across(radii, near), radii)
        radius[self.gap[part] < self.least] = 0.0
        bent = np.clip(_across(radius, near) - self.away[part], 0, radius)
        return np.asarray(radius - np.sqrt(radius**2 - bent**2))


def _across(radius: F64, drop: float) -> F64:
    """How far from a circle's top, along its tangent there, the circle has fallen by `drop`, or ends."""
    return np.asarray(np.sqrt(np.maximum(radius**2 - np.maximum(radius - max(drop, 0.0), 0) ** 2, 0)))


def _shift(wall: _Wall, usual: float, view: View, others: Sequence[tuple[View, Silhouette]]) -> float:
    """How far behind its level's middle the wall lies; `usual` where the outlines do not say."""
    size = others[0][1].distance.shape[0]
    near = np.flatnonzero(wall.away <= RIM * wall.middle / view.camera.focal(size))
    every = len(near) // ENOUGH + 1
    enough = STRIP * float(np.sqrt(len(wall.rows))) / every
    near = near[::every]
    flat = (np.stack([wall.columns[near], wall.rows[near]], 1) + 0.5 - size / 2) / view.camera.focal(size)
    rays = np.concatenate([flat, np.ones((len(flat), 1))], 1) @ view.camera.rotation

    def outside(shift: float) -> bool:
        points = view.camera.centre + (wall.middle + shift + wall.drop(shift, near))[:, None] * rays
        out = np.zeros(len(points), bool)
        for other, p in others:
            out |= p.outside(project(points, other.camera, size)) > 0
        return int(out.sum()) > enough

    most = 0.5 * view.depth_step + ASTRAY * view.camera.pixel(size)
    low, high = -most, most
    if not outside(low) or outside(high):
        return usual
    for _ in range(HALVINGS):
        half = (low + high) / 2
        low, high = (half, high) if outside(half) else (low, half)
    return high
