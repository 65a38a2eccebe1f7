"""Flat walls under coarse depth: where within its level's rounding a wall lies, the other views' outlines say.

A wall that faces the camera has one depth level all over, so that nothing in its own view tells where within that
level it lies, and with eight bits that is several pixels. But no part of it may lie outside the object's outline in
another view, and a wall at the object's end touches that outline with its rim. So it is taken as near as the outlines
let it be, where that is within its level; else nothing speaks against the level's middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

import numpy as np
from scipy import ndimage

from recon3d_runner.engines.nvdiffrec.fusion import Silhouette
from recon3d_runner.raster.cpu import project
from recon3d_runner.types import F32, F64, I32, Bool, View

COARSE: Final = 0.5
"""Steps of depth below this many pixels are left alone."""
LEVEL: Final = 0.02
"""Share of a step by which neighbours on one level may differ."""
LEAST_SHARE: Final = 0.005
"""Of a view's foreground, for a plateau to be looked at."""
RIM: Final = 12
"""Pixels from a plateau's edge in which it can touch an outline."""
BESIDE: Final = 0.1
"""Distance from a plateau, of its width, at which the surface is looked for again: beyond a rounded edge."""
ENDS: Final = 0.5
"""Share of the pixels there that may be of the same or the next level, if the plateau is to be a wall."""
STRIP: Final = 1.0
"""Share of a plateau's width: so many pixels of it must be outside to count, since outlines are not perfect."""
ENOUGH: Final = 20_000
"""Pixels of a rim that are looked at."""
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
    label, count = ndimage.label(_level(depth, LEVEL * view.depth_step))
    size = np.bincount(label.ravel(), minlength=count + 1)
    least = LEAST_SHARE * int(np.isfinite(depth).sum())
    out: F32 = depth.copy()
    for number, place in enumerate(ndimage.find_objects(label), 1):
        if size[number] < least:
            continue
        flat = label == number
        middle = float(np.median(depth[flat]))
        if _goes_on(depth, label, number, place, middle, view.depth_step):
            continue
        wall = _extent(view, depth, flat, middle)
        if _ends(depth, wall, view.depth_step):
            out[wall] = middle + _shift(_rim(view, wall), middle, view, others)
        else:
            near = ndimage.binary_dilation(flat, np.ones((3, 3), bool)) & wall
            out[near] += np.float32(_shift(_rim(view, near), middle, view, others))
    return out


def _goes_on(depth: F32, label: I32, number: int, place: tuple[slice, ...], middle: float, step: float) -> bool:
    """Whether the surface goes on beyond the plateau: then it is a curved one's flattest part, and no wall."""
    at = BESIDE * float(np.sqrt((label[place] == number).sum()))
    margin = int(at) + 3  # all pixels that near are within it
    around = tuple(slice(max(s.start - margin, 0), s.stop + margin) for s in place)
    away = ndimage.distance_transform_edt(label[around] != number)
    ring = (away > at) & (away <= at + 1.5)
    with np.errstate(invalid="ignore"):
        on = np.abs(depth[around][ring] - middle) < 1.5 * step
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


def _extent(view: View, depth: F32, flat: Bool, middle: float) -> Bool:
    """(n, n) the wall around a plateau: all that is connected and of its level."""
    with np.errstate(invalid="ignore"):
        level = np.abs(depth - middle) < 0.5 * view.depth_step
    return np.asarray(ndimage.binary_propagation(flat, np.ones((3, 3), bool), level))


def _ends(depth: F32, wall: Bool, step: float) -> bool:
    """Whether a wall ends at a sharp edge: nothing of the levels next to its own is beside it.

    Then it reaches all of its level, whatever smoothing has made of the depth towards its edge; one whose edge is round
    ends somewhere within.
    """
    rim = wall & ~ndimage.binary_erosion(wall, np.ones((3, 3), bool))
    rows, columns = np.nonzero(ndimage.binary_dilation(rim, np.ones((3, 3), bool)) & ~wall)
    with np.errstate(invalid="ignore"):
        beside = np.abs(depth[rows, columns] - np.median(depth[wall])) < 2 * step
    return bool(beside.mean() < ENDS)


def _rim(view: View, wall: Bool) -> tuple[F64, float]:
    """(N, 3) rays, in world axes and of depth 1, of the pixels near its edge; and how many must be outside."""
    size = wall.shape[0]
    rows, columns = np.nonzero(wall & (ndimage.distance_transform_edt(wall) <= RIM))
    flat = (np.stack([columns, rows], 1) + 0.5 - size / 2) / view.camera.focal(size)
    ray = np.concatenate([flat, np.ones((len(flat), 1))], 1)
    every = len(ray) // ENOUGH + 1
    return ray[::every] @ view.camera.rotation, STRIP * float(np.sqrt(wall.sum())) / every


def _shift(rim: tuple[F64, float], middle: float, view: View, others: Sequence[tuple[View, Silhouette]]) -> float:
    """How far behind its level's middle the wall lies; 0 where the outlines do not say."""
    rays, enough = rim

    def outside(shift: float) -> bool:
        points = view.camera.centre + (middle + shift) * rays
        out = np.zeros(len(points), bool)
        for other, p in others:
            size = p.distance.shape[0]
            at = project(points, other.camera, size)
            out |= ndimage.map_coordinates(p.distance, (at[:, 1] - 0.5, at[:, 0] - 0.5), order=1, mode="nearest") > 0
        return int(out.sum()) > enough

    most = 0.5 * view.depth_step
    # Outlines are a fraction of a pixel off, and a wall may lie at its level's very end.
    margin = view.camera.pixel(len(others[0][1].distance))
    low, high = -most - margin, most + margin
    if not outside(low) or outside(high):
        return 0.0
    for _ in range(HALVINGS):
        half = (low + high) / 2
        low, high = (half, high) if outside(half) else (low, half)
    return min(max(high, -most), most)
