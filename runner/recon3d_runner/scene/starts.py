"""Where the search for a depth range begins: from the outlines' extents and the codes' span."""

from __future__ import annotations

import numpy as np

from recon3d_runner.scene.agreement import Sight, frames

SPANS = (0.4, 0.55, 0.75, 1.0, 1.25, 1.5, 1.8, 2.2)
"""Shares of the object's largest reach that all depth codes together may span."""


def _extents(sights: list[Sight]) -> dict[tuple[int, int], float]:
    """Mean reach of the outlines along every world axis direction (axis, sign), in image units."""
    rotation = frames()
    found: dict[tuple[int, int], list[float]] = {}
    for s in sights:
        if not len(s.outline):
            continue
        for row, column in ((0, 0), (1, 1)):
            axis = rotation[s.name][row]
            k = int(np.argmax(np.abs(axis)))
            sign = int(np.sign(axis[k]))
            found.setdefault((k, sign), []).append(float(s.outline[:, column].max()))
            found.setdefault((k, -sign), []).append(float(-s.outline[:, column].min()))
    return {key: float(np.mean(values)) for key, values in found.items()}


def near_is_high(sights: list[Sight]) -> bool:
    """Whether larger codes are nearer: an object's middle is nearer than its outline."""
    score = 0.0
    for s in sights:
        edge = s.nearest >= 0
        rim = s.inside & edge
        middle = s.inside & ~edge
        if rim.any() and middle.any():
            score += float(s.code[middle].mean() - s.code[rim].mean()) / max(1.0, float(np.ptp(s.code[s.inside])))
    return score > 0


def first_ranges(sights: list[Sight], focal: float, high_is_near: bool) -> list[tuple[float, float]]:
    """Starting values for (a, b): the depth that all codes span, as shares of the object's largest reach.

    For each gain the offset makes the views' nearest points meet the extents that the side views show.
    """
    rotation = frames()
    extents = _extents(sights)
    nearest, reach = [], []
    lowest, highest = np.inf, -np.inf
    for s in sights:
        forward = rotation[s.name][2]
        k = int(np.argmax(np.abs(forward)))
        extent = extents.get((k, int(-np.sign(forward[k]))))
        if extent is None or not s.inside.any():
            continue
        low, high = (float(x) for x in np.percentile(s.code[s.inside], (0.5, 99.5)))
        lowest, highest = min(lowest, low), max(highest, high)
        nearest.append(high if high_is_near else low)
        reach.append(extent / focal)
    if not nearest:
        return []
    # A cube's sides have one code in common: then the gain is nobody's to know, and any will do.
    gain = (-1.0 if high_is_near else 1.0) * max(reach) / max(1.0, highest - lowest)
    return [(1.0 - float(np.mean(reach)) - b * float(np.mean(nearest)), b) for b in gain * np.array(SPANS)]
