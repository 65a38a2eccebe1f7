"""Depth renders whose edges are blended: anti-aliased, or made smaller or larger by averaging.

A pixel across an edge then has a code between those of both sides, which is the depth of neither: a fringe far behind
or before the object, that every other view contradicts. Each such pixel goes to the side that it has more of.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from recon3d_runner.scene.agreement import SLOPE_LIMIT
from recon3d_runner.scene.images import RawView
from recon3d_runner.scene.masks import background_code
from recon3d_runner.types import Bool

APART: Final = 2.0
"""Times the steepest slope of a surface that a pixel must be away from both sides."""
MIDDLE: Final = (3.0, 97.0)
"""Percentiles of an object's codes between which its depth reaches: the fringe reaches to the background."""
BLENDED: Final = 0.25
"""Share of the outlines' pixels above which the files are taken to be blended; of sharp ones it is a hundredth."""


def sharp_edges(views: Sequence[RawView]) -> list[RawView]:
    """The views, every blended pixel of their depth renders given to one side; as they are where edges are sharp."""
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(_between, views))
        rim = list(pool.map(lambda parts: parts[2] & ~ndimage.binary_erosion(parts[2]), found))
    mixed = sum(int((between & edge).sum()) for (between, _, _), edge in zip(found, rim, strict=True))
    if mixed <= BLENDED * sum(int(edge.sum()) for edge in rim):
        return list(views)
    return [
        view if view.gray is None else replace(view, gray=np.where(between, side, view.gray))
        for view, (between, side, _) in zip(views, found, strict=True)
    ]


def _between(view: RawView) -> tuple[Bool, NDArray[np.uint16], Bool]:
    """Pixels far from both the lowest and the highest code around them; the nearer of the two; the object's pixels."""
    if view.gray is None:
        nothing = np.zeros((1, 1), np.bool_)
        return nothing, nothing.astype(np.uint16), nothing
    inside = view.gray != background_code(view.gray)
    if not inside.any():
        return inside, view.gray, inside
    low, high = np.percentile(view.gray[inside], MIDDLE)
    apart = APART * max(4.0, SLOPE_LIMIT * (high - low) / float(np.sqrt(inside.sum())))
    lowest, highest = ndimage.minimum_filter(view.gray, 3), ndimage.maximum_filter(view.gray, 3)
    below, above = view.gray - lowest, highest - view.gray
    return (below > apart) & (above > apart), np.where(below <= above, lowest, highest), inside
