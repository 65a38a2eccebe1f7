"""Which pixels show the object, to a fraction of a pixel.

Order of trust: the file's own alpha; the depth render (exact at its pixel centres, and blind to the object's
colour); the background's colour. Depth or alpha decide what is inside; the colour then places the edge
between pixels where foreground and background differ (coverage.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy import ndimage

from recon3d_runner.nearest import nearest_marked
from recon3d_runner.outline import HALF, outlines
from recon3d_runner.scene.corners import with_corners
from recon3d_runner.scene.coverage import coverage, trace
from recon3d_runner.scene.images import RawView, unit
from recon3d_runner.types import F32, F64, U8, Bool

CONTOUR = 0.1
"""Pixels by which the half-coverage contour may be off: it leans to the pixels' centres."""


@dataclass(frozen=True)
class Mask:
    """The object's coverage in one view."""

    alpha: F32
    """(H, H) coverage in [0, 1] at the resolution of the RGB image."""
    inside_depth: Bool | None
    """(h, h) pixels of the depth render whose centre shows the object."""
    source: str
    """alpha | depth | colour."""
    background: F32
    """(3,) background colour in [0, 1]."""
    outline: list[F64]
    """Closed loops (N, 3): rows, columns, standard deviations, in pixels of the RGB image, centres at whole numbers."""


@njit(cache=True, nogil=True)
def unlike(rgb: U8, colour: F32, tolerance: float) -> Bool:
    """(H, H) pixels of a picture of which a channel differs from `colour` by more than `tolerance`, both in [0, 1]."""
    out = np.empty(rgb.shape[:2], np.bool_)
    limit = np.float32(tolerance)
    for j in range(rgb.shape[0]):
        for i in range(rgb.shape[1]):
            most = np.float32(0)
            for k in range(3):
                most = max(most, abs(np.float32(rgb[j, i, k]) / np.float32(255) - colour[k]))
            out[j, i] = most > limit
    return out


def background_code(gray: np.ndarray) -> int:
    """The depth code of the background: what most of the image's border holds."""
    border = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    values, counts = np.unique(border, return_counts=True)
    return int(values[counts.argmax()])


def _background_colour(rgb: U8) -> tuple[F32, float]:
    """Median colour of the border and the largest deviation that is still background."""
    border = unit(np.concatenate([rgb[:2].reshape(-1, 3), rgb[-2:].reshape(-1, 3), rgb[:, :2].reshape(-1, 3)]))
    colour = np.median(border, axis=0)
    spread = 1.4826 * float(np.median(np.abs(border - colour).max(1)))
    return colour.astype(np.float32), max(3 / 255, 4 * spread)


def _edge_alpha(rgb: U8, solid: Bool, empty: Bool, background: F32) -> F32:
    """Coverage of the pixels between `solid` and `empty` from colour.

    A pixel of coverage a shows a F + (1 - a) B, with F the colour of the nearest solid pixel. Where F and B
    differ by less than a few grey levels the colour says nothing, and the edge is put half way.
    """
    alpha = solid.astype(np.float32)
    rows, columns = np.nonzero(~solid & ~empty)
    index = nearest_marked(solid)[1][rows, columns]
    foreground = unit(rgb.reshape(-1, 3)[index])
    span = foreground - background
    contrast = (span**2).sum(1)
    a = ((unit(rgb[rows, columns]) - background) * span).sum(1) / np.maximum(contrast, 1e-6)
    alpha[rows, columns] = np.where(contrast > (6 / 255) ** 2, np.clip(a, 0, 1), 0.5)
    return alpha


def find_mask(view: RawView) -> Mask:
    """Coverage of one view; an image without any foreground gives an all-zero alpha."""
    background, tolerance = _background_colour(view.rgb)
    inside = None if view.gray is None else view.gray != background_code(view.gray)
    if view.alpha is not None:
        return Mask(view.alpha, inside, "alpha", background, _loops(view.alpha))
    if inside is not None:
        loops = trace(view.rgb, inside, background, tolerance / 4)
        return Mask(coverage(loops, view.rgb.shape[0]), inside, "depth", background, loops)
    # Colour alone: the background is what is connected to the border.
    labels, _ = ndimage.label(~unlike(view.rgb, background, tolerance))
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    outside = np.isin(labels, border[border > 0])
    solid = ndimage.binary_erosion(~outside, iterations=2)
    empty = ndimage.binary_erosion(outside, iterations=1, border_value=1)
    alpha = _edge_alpha(view.rgb, solid, empty, background)
    return Mask(alpha, None, "colour", background, _loops(alpha))


def _loops(alpha: F32) -> list[F64]:
    """The half-coverage contour, as Mask.outline."""
    loops = (np.pad(loop[:-1], ((0, 0), (0, 1)), constant_values=CONTOUR) for loop in outlines(alpha))
    return [with_corners(loop, alpha > HALF) for loop in loops]
