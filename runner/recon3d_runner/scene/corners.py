"""Corners of an outline: where two straight sides meet.

A picture's pixels, and an outline of points between them, cut every sharp corner by a good part of a pixel. Planes that
touch an object touch it at its corners, so the angle of view would follow that (frontier.py). Where an outline is
straight to either side of a turn, the corner is where those sides meet.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import ndimage

from recon3d_runner.types import F64, Bool

BESIDE: Final = 3
"""Points to either side of a corner that it may have cut."""
SIDES: Final = (32, 11)
"""Points to either side up to which it is straight: as far as possible."""
TURN: Final = 0.9
"""Cosine between two sides below which they make a corner."""
EVEN: Final = 0.07
"""Pixels by which a point may lie beside its straight side, and as far again as it is doubted."""
FIRM: Final = 0.05
"""Pixels: no point is taken to be better known than that,"""
LOOSE: Final = 0.2
"""nor worse than that."""
CUT: Final = 0.08
"""Pixels by which a turn is cut that has no corner put in."""
CLOSE: Final = 2.5
"""Pixels between a corner and the outline without it."""
DOUBT: Final = 0.1
"""Pixels from a corner's sides within which a pixel's centre says nothing."""
AROUND: Final = 3
"""Pixels around a corner whose centres must agree with it."""


def with_corners(loop: F64, inside: Bool) -> F64:
    """The closed loop with the corners that straight sides make, in place of what cut them.

    loop: (N, 3) rows, columns, standard deviations. inside: the pixels within; a corner with which their centres around
    do not agree is none.
    """
    out: F64 = loop.copy()
    out[:, 2] = np.minimum(loop[:, 2], LOOSE)
    count, far = len(loop), SIDES[-1]
    if count < 4 * far:
        return out
    # Among the points around a corner it is the one farthest from the line between its sides' ends.
    first, last = np.roll(loop[:, :2], far, axis=0), np.roll(loop[:, :2], -far, axis=0)
    chord, apart = last - first, loop[:, :2] - first
    height = np.abs(apart[:, 0] * chord[:, 1] - apart[:, 1] * chord[:, 0]) / np.maximum(np.hypot(*chord.T), 1e-9)
    sharpest = height == ndimage.maximum_filter1d(height, 2 * BESIDE + 1, mode="wrap")
    cut, sure = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    for k in np.flatnonzero(sharpest & (_along(loop, BESIDE, far) < TURN)):
        around = (k + np.arange(-BESIDE, BESIDE + 1)) % count
        corner = None if sure[around[1:-1]].any() else _corner(out, int(k), inside)
        if corner is not None:
            out[k], sure[around], cut[around[1:-1]] = corner, True, True
            cut[k] = False
    # Where the outline turns and no corner was put in, it is cut the more, the more it turns.
    turns = ndimage.maximum_filter1d(1 - _along(loop, 0, BESIDE), BESIDE, mode="wrap") / (1 - TURN)
    out[:, 2] = np.where(sure, out[:, 2], np.maximum(out[:, 2], CUT * np.minimum(turns, 1)))
    return out[~cut]


def _along(loop: F64, near: int, far: int) -> F64:
    """(N,) cosine between a closed loop's ways before and after each point, from `near` to `far` points from it."""
    at = [np.roll(loop[:, :2], k, axis=0) for k in (far, near, -near, -far)]
    before, after = at[1] - at[0], at[3] - at[2]
    size = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    return np.asarray((before * after).sum(1) / np.maximum(size, 1e-9))


def _corner(loop: F64, k: int, inside: Bool) -> F64 | None:
    """(3,) where the sides before and after point k meet; None where they are not straight or centres deny it."""
    before, after = _side(loop, k, -1), _side(loop, k, 1)
    if before is None or after is None:
        return None
    normal, height = np.stack([before[:2], after[:2]]), np.array([before[2], after[2]])
    if abs(float(np.linalg.det(normal))) < np.sqrt(1 - TURN**2):
        return None
    corner: F64 = np.linalg.solve(normal, height)
    low, wide = np.round(corner).astype(np.int64) - AROUND, 2 * AROUND + 1
    if np.linalg.norm(corner - loop[k, :2]) > CLOSE or low.min() < 0 or (low + wide).max() > len(inside):
        return None
    off = (np.stack(np.meshgrid(np.arange(wide), np.arange(wide), indexing="ij"), -1) + low) @ normal.T - height
    there, clear = inside[low[0] : low[0] + wide, low[1] : low[1] + wide], (np.abs(off) > DOUBT).all(-1)
    # Both normals point to the same side of the loop, the object's or the other.
    fits = [(shape == there)[clear].all() for s in (off, -off) for shape in ((s > 0).all(-1), (s > 0).any(-1))]
    return np.append(corner, max(before[3], after[3])) if any(fits) else None


def _side(loop: F64, k: int, way: int) -> F64 | None:
    """(4,) normal and height of the line that the points before (-1) or after (1) point k lie on; how sure; or None."""
    for far in SIDES:
        if 3 * far > len(loop):
            continue
        points = loop[(k + way * np.arange(BESIDE - 1, far + 1)) % len(loop)]
        doubt, weight = points[:, 2], 1 / (FIRM**2 + points[:, 2] ** 2)
        weight[0] = 0  # nearly at the corner: it must fit, and does not decide
        middle = weight @ points[:, :2] / weight.sum()
        apart = points[:, :2] - middle
        ahead = np.linalg.svd(apart * np.sqrt(weight)[:, None], full_matrices=False)[2][0]
        ahead = ahead if ahead @ (apart[-1] - apart[0]) * way > 0 else -ahead
        normal = np.array([-ahead[1], ahead[0]])
        if (np.abs(apart @ normal) <= EVEN + doubt).all():
            return np.array([*normal, middle @ normal, np.median(doubt)])
    return None
