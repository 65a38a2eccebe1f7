"""How well six views agree under a hypothesis of focal length and depth range.

Everything is in units of the camera distance, which is 1: camera i sits at POSITION[i] and looks at the
origin. Image coordinates u, v run over [-1, 1]; a point (x, y, z) of the camera frame lands on F x/z, F y/z
with F = 1 / tan(fov / 2). A depth code g means z = a + b g (or that distance along the ray).

Two kinds of residual, both in pixels of the depth render as seen at the object's distance:
- depth: a surface point of view i that view j also sees must lie on j's surface (point to plane);
- silhouette: along each point of j's outline, the outermost of the other views' surface points must
  just touch it (the support function of the outline), not stick out of it and not stay inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from recon3d_contract.conventions import POSITION, VIEWS, camera_axes
from scipy import ndimage
from scipy.spatial import ConvexHull

from recon3d_runner.crop import around
from recon3d_runner.nearest import nearest_marked
from recon3d_runner.scene.masks import Mask
from recon3d_runner.types import F32, F64, I32, U8, Bool


@dataclass(frozen=True)
class Sight:
    """One upright view, prepared for calibration."""

    name: str
    code: F32
    """(h, h) dequantised depth codes."""
    inside: Bool
    """(h, h) object pixels."""
    slope: F32
    """(h, h) code change per pixel, NaN where a neighbour is outside or across a depth edge."""
    points: F32
    """(N, 4) u, v, code, plateau of object pixels: sparse inside, dense along the outline."""
    outline: F32
    """(M, 4) u, v of outline points and the outward unit normal."""
    hull: F64
    """(K, 3) u, v of the outline's convex hull, and standard deviations in colour pixels."""
    pixel: float
    """Size of a colour pixel in units of u."""
    nearest: I32
    """(h, h) index of the nearest outline point within BAND pixels, else -1."""
    tint: F32
    """(c, c, 3) smoothed colours of the object, NaN where there is none."""
    rim: int
    """How many of `points`, at their end, are the outline's own."""
    step: float
    """Codes between neighbouring levels of the file."""
    plateau: U8
    """(h, h) which of all views' plateaus a pixel belongs to: OTHERS + PLATEAUS * view, where to none."""
    rounding: F32
    """(PLATEAUS,) standard deviation, in codes, of what rounding may have moved every plateau by; 0: there is none."""


BAND = 72
PLATEAUS, OTHERS = 8, 0
"""Plateaus of a view, the first being all that is none."""
LEAST_PLATEAU = 0.03
"""Share of the object that one level must cover to be a plateau."""
FLAT = 0.26
"""Standard deviation within a level, after smoothing, up to which it is one side and no part of a slope."""
RIM_SLOPE = 1.0
"""A surface steeper than this at the outline, in pixels of depth per pixel, turns away there."""
TINT = 256
"""Colours are compared between views at about this many pixels a side."""
CREASE = 0.5
"""Second differences beyond this many pixels of depth mark a crease."""
LEAST_LOOP = 8
"""Pixels of depth around; shorter loops are noise."""
SLOPE_LIMIT = 15.0
"""A surface steeper than this, in pixels of depth per pixel, is a depth edge."""


def code_jump(code: F32, inside: Bool) -> float:
    """Largest code step between neighbouring pixels of one surface (SLOPE_LIMIT pixels of depth)."""
    spread = float(np.ptp(code[inside])) if inside.any() else 0.0
    return max(4.0, SLOPE_LIMIT * spread / max(1.0, float(np.sqrt(inside.sum()))))


def prepare(name: str, code: F32, inside: Bool, mask: Mask, rgb: U8, step: float) -> Sight:
    """Sample points and outline of one view. code, inside: (h, h); rgb: (H, H, 3), H a multiple or fraction of h.

    step: codes between neighbouring levels of the file.
    """
    h = inside.shape[0]
    jump = code_jump(code, inside)
    gy, gx = np.full_like(code, np.nan), np.full_like(code, np.nan)
    gx[:, 1:-1] = (code[:, 2:] - code[:, :-2]) / 2
    gy[1:-1] = (code[2:] - code[:-2]) / 2
    core = ndimage.binary_erosion(inside)
    slope = np.hypot(gx, gy)
    slope[~core | (slope > jump)] = np.nan
    outline, hull = contours(mask.outline, rgb.shape[0], h)
    plateau, rounding = _plateaus(code, inside, step)
    plateau += np.uint8(PLATEAUS * VIEWS.index(name))
    away, near = nearest_marked(inside)
    points, rim = _points(code, inside, slope, jump, outline, away, near)
    at = np.clip(((points[:, :2] + 1) * h / 2).astype(np.int64), 0, h - 1)
    if rim:
        at[-rim:] = np.stack(np.divmod(near[at[-rim:, 1], at[-rim:, 0]], h)[::-1], 1)
    points = np.concatenate([points, plateau[at[:, 1], at[:, 0]][:, None]], 1)
    nearest = np.full((h, h), -1, np.int32)
    if len(outline):
        at = np.clip(((outline[:, :2] + 1) * h / 2).astype(np.int64), 0, h - 1)
        which = np.full((h, h), -1, np.int32)
        which[at[:, 1], at[:, 0]] = np.arange(len(outline))
        distance, index = nearest_marked(which >= 0)
        nearest = np.where(distance <= BAND, which.ravel()[index], -1).astype(np.int32)
    return Sight(
        name=name,
        code=code,
        inside=inside,
        slope=slope.astype(np.float32),
        points=points.astype(np.float32),
        outline=outline,
        hull=hull,
        pixel=2 / rgb.shape[0],
        nearest=nearest,
        tint=_tint(rgb, mask.alpha),
        rim=rim,
        step=step,
        plateau=plateau,
        rounding=rounding,
    )


def _plateaus(code: F32, inside: Bool, step: float) -> tuple[U8, F32]:
    """Levels that cover much of the object, and how far rounding may have moved each (a standard deviation).

    A side that faces the camera is off by the same fraction of a level everywhere, which no smoothing can know.
    Elsewhere many levels alternate and their errors cancel.
    """
    level = np.round(code / step).astype(np.int64)
    values, counts = np.unique(level[inside], return_counts=True)
    total = max(1, int(counts.sum()))
    large = np.argsort(-counts, kind="stable")[: PLATEAUS - 1]
    large = large[counts[large] > LEAST_PLATEAU * total]
    off = np.where(inside, code / step - level, 0)
    large = large[[float(off[inside & (level == values[index])].std()) < FLAT for index in large]]
    plateau = np.zeros(code.shape, np.uint8)
    rounding = np.zeros(PLATEAUS, np.float32)
    for k, index in enumerate(large):
        plateau[inside & (level == values[index])] = k + 1
        rounding[k + 1] = step / np.sqrt(12)
    rest = np.delete(counts, large) / total
    if len(rest):
        share = rest / rest.sum()
        levels = float(np.exp(-(share * np.log(share)).sum()))
        rounding[OTHERS] = step / np.sqrt(12 * levels)
    return plateau, rounding


def _tint(rgb: U8, alpha: F32) -> F32:
    """The object's colours at TINT pixels a side, smoothed within the object."""
    size = rgb.shape[0]
    solid = alpha >= 0.99
    place = around(solid, 0)
    solid[place] = ndimage.binary_erosion(solid[place], iterations=1 + size // 1024)
    smooth = ndimage.gaussian_filter(_blocks(rgb, solid, max(1, size // TINT)), (1.5, 1.5, 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = smooth[..., :3] / smooth[..., 3:]
    found[smooth[..., 3] < 0.3] = np.nan
    return np.ascontiguousarray(found, np.float32)


@njit(cache=True, nogil=True)
def _blocks(rgb: U8, solid: Bool, cell: int) -> F64:
    """(n, n, 4) means over blocks of `cell` pixels: colours in [0, 1], nothing where not solid, and how much is."""
    n = rgb.shape[0] // cell
    out = np.zeros((n, n, 4))
    for j in range(n * cell):
        for i in range(n * cell):
            if solid[j, i]:
                block = out[j // cell, i // cell]
                for k in range(3):
                    block[k] += np.float32(rgb[j, i, k]) / np.float32(255)
                block[3] += 1.0
    return out / (cell * cell)


def _points(code: F32, inside: Bool, slope: F32, jump: float, outline: F32, away: F32, near: I32) -> tuple[F32, int]:
    """(N, 3) u, v, code: sparse on smooth surface, every pixel near outlines, depth edges and creases.

    Edges of flat-sided objects end between pixels, so that the outline's own points are added, with the depth that
    the nearest object pixel's slope leads to; the second value says how many. Where a surface turns away smoothly its
    outline has no depth, and the pixels beside it lie on the surface already. away, near: `nearest_marked(inside)`.
    """
    h = code.shape[0]
    bend = np.zeros_like(code)
    bend[:, 1:-1] = np.abs(code[:, 2:] - 2 * code[:, 1:-1] + code[:, :-2])
    bend[1:-1] = np.maximum(bend[1:-1], np.abs(code[2:] - 2 * code[1:-1] + code[:-2]))
    sharp = inside & (np.isnan(slope) | (bend > CREASE * jump / SLOPE_LIMIT))
    dense = ndimage.binary_dilation(sharp) & inside
    rows, columns = np.nonzero(inside)
    keep = ((rows % 3 == 1) & (columns % 3 == 1)) | dense[rows, columns]
    rows, columns = rows[keep], columns[keep]
    found = np.stack([2 * (columns + 0.5) / h - 1, 2 * (rows + 0.5) / h - 1, code[rows, columns]], 1)
    if not len(outline):
        return found.astype(np.float32), 0
    at = np.clip(((outline[:, :2] + 1) * h / 2).astype(np.int64), 0, h - 1)
    j, i = np.divmod(near[at[:, 1], at[:, 0]], h)
    down, across = _inward(code, inside, 0)[j, i], _inward(code, inside, 1)[j, i]
    flat = np.hypot(down, across) < RIM_SLOPE * jump / SLOPE_LIMIT
    close = (away[at[:, 1], at[:, 0]] <= 1.5) & flat
    j, i, down, across = j[close], i[close], down[close], across[close]
    beyond = (outline[close, :2] + 1) * h / 2 - 0.5 - np.stack([i, j], 1)
    extended = code[j, i] + down * beyond[:, 1] + across * beyond[:, 0]
    rim = np.concatenate([outline[close, :2], extended[:, None]], 1)
    return np.concatenate([found, rim]).astype(np.float32), len(rim)


def _inward(code: F32, inside: Bool, axis: int) -> F32:
    """Code change per pixel along an axis from neighbours within the object, NaN where there are none."""
    before, after = np.roll(inside, 1, axis) & inside, np.roll(inside, -1, axis) & inside
    back, ahead = code - np.roll(code, 1, axis), np.roll(code, -1, axis) - code
    total = np.where(before, back, 0) + np.where(after, ahead, 0)
    count = before.astype(np.float32) + after
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan), np.float32)


def contours(loops: list[F64], size: int, h: int) -> tuple[F32, F64]:
    """Of loops as in Mask.outline, in a picture of `size`: samples about a depth pixel apart, and the convex hull.

    (M, 4) u, v and outward normals; (K, 3) as in Sight.hull.
    """
    pieces, whole = [], []
    for loop in loops:
        closed = np.concatenate([loop, loop[:1]])[:, :2]
        length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
        count = int(length[-1] * h / size)
        if count < LEAST_LOOP:
            continue
        at = length[-1] * np.arange(count) / count
        point = np.stack([np.interp(at, length, closed[:, k]) for k in (1, 0)], 1)
        ahead = np.roll(point, -1, axis=0) - np.roll(point, 1, axis=0)
        normal = np.stack([ahead[:, 1], -ahead[:, 0]], 1)
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        pieces.append(np.concatenate([point, normal], 1))
        whole.append(loop[:, [1, 0, 2]])
    if not pieces:
        return np.zeros((0, 4), np.float32), np.zeros((0, 3))
    outline = np.concatenate(pieces)
    # An outline cut off by the image's border is no outline of the object.
    outline = outline[((outline[:, :2] > 1) & (outline[:, :2] < size - 2)).all(1)]
    outline[:, :2] = 2 * (outline[:, :2] + 0.5) / size - 1
    every = np.concatenate(whole)
    every[:, :2] = 2 * (every[:, :2] + 0.5) / size - 1
    return outline.astype(np.float32), every[ConvexHull(every[:, :2]).vertices]


def frames() -> dict[str, F64]:
    """(3, 3) world-to-camera rotation of every view."""
    return {name: np.array(camera_axes(name)) for name in POSITION}
