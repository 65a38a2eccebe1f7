"""Where between pixels an edge lies, from the colours across it: to a few hundredths of a pixel.

A renderer's filter is narrower than two pixels, so that an edge shows in one or two of them only, and reading the half
way point off between neighbours is wrong by up to a sixth of a pixel, the same along all of an edge that runs with the
rows. So the edge's profile is fitted: a step under a filter (Blackman-Harris, whose width fits others as well), whose
width all edges of a picture share and tell together.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from scipy import ndimage

from recon3d_runner.types import F32, F64, Bool

NOISE: Final = 1.5 / 255
"""Of a colour, where the background shows less."""
WITHIN: Final = 2.0
"""Pixels inside the edge at which the object's own colour is taken: what the renderer's filter leaves alone."""
DEEPER: Final = 3.25
"""Where it is taken again: unless both are alike, print begins beside the edge."""
REACH: Final = 3
"""Pixels around a place that are looked at."""
STRIP: Final = 1.5
"""Pixels along the edge that belong to a place."""
NEAR: Final = 1.5
"""Pixels from the edge that are fitted."""
WIDTHS: Final = (1.5, 1.25, 1.0, 1.75, 2.0, 2.5, 3.0)
"""Of the filter, in pixels; the first is what most renderers have."""
BETTER: Final = 0.98
"""Share of the first width's residual that another must not exceed to be taken."""
STEPS: Final = 4
SURE: Final = 0.04
"""Pixels: no edge is taken to be better known than that."""
PROFILE: Final = (0.35875, 0.48829, 0.14128, 0.01168)
"""Of the Blackman-Harris window."""


class Beside(NamedTuple):
    """Edges beside given places."""

    offset: F64
    """(N,) how far outside its place an edge lies."""
    sigma: F64
    """(N,) standard deviation of that; infinite where the colours show none."""


def locate(rgb: F32, place: F64, normal: F64, background: F32, noise: float) -> Beside:
    """The edges beside `place` (N, 2; row, column) along the outward `normal` (N, 2), in pixels.

    noise: of a colour in [0, 1].
    """
    lines = _Lines(rgb, place, normal, background)
    offset, found = lines.half_way()
    own, deep = lines.at(offset - WITHIN), lines.at(offset - DEEPER)
    contrast = np.maximum(np.linalg.norm(own, axis=1), 1e-9)
    # The pixels around every place: their distance outward from it, and how much of the object's colour they show.
    grid = np.arange(-REACH, REACH + 1)
    window = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1).reshape(1, -1, 2)
    pixel = np.round(place).astype(np.int64)[:, None] + window
    apart = pixel - place[:, None]
    outward = (apart * normal[:, None]).sum(2)
    beside = np.abs(apart[..., 0] * normal[:, None, 1] - apart[..., 1] * normal[:, None, 0]) <= STRIP
    pixel = np.clip(pixel, 0, rgb.shape[0] - 1)
    colour = rgb[pixel[..., 0], pixel[..., 1]].astype(np.float64) - background
    share = (colour * own[:, None]).sum(2) / (contrast**2)[:, None]
    clear = found & (contrast > 20 * max(noise, NOISE)) & (np.linalg.norm(own - deep, axis=1) < 0.05 * contrast)
    fits = [_fit(outward[clear], share[clear], beside[clear], offset[clear], width)[1] for width in WIDTHS]
    typical = [float(np.median(fit)) if len(fit) else np.inf for fit in fits]
    best = int(np.argmin(typical))
    width = WIDTHS[best] if typical[best] < BETTER * typical[0] else WIDTHS[0]
    fitted, residual = _fit(outward, share, beside, offset, width)
    own, deep = lines.at(fitted - WITHIN), lines.at(fitted - DEEPER)
    uneven = np.linalg.norm(own - deep, axis=1) / contrast
    sigma = np.sqrt(SURE**2 + (max(noise, NOISE) / contrast) ** 2 + (0.3 * uneven) ** 2 + (2 * residual) ** 2)
    return Beside(fitted, np.where(found, sigma, np.inf))


def _fit(outward: F64, share: F64, beside: Bool, start: F64, width: float) -> tuple[F64, F64]:
    """Gauss-Newton on the places of steps under a filter: (N,) places and root mean squares of what is left."""
    offset = start.copy()
    residual = np.zeros(len(offset))
    for _ in range(STEPS):
        away = outward - offset[:, None]
        use = beside & (np.abs(away) <= NEAR)
        t = np.clip(away / width + 0.5, 0, 1)
        wave = 2 * np.pi * t
        p0, p1, p2, p3 = PROFILE
        # Height of the filter there, and what of it lies inside the edge.
        height = (p0 - p1 * np.cos(wave) + p2 * np.cos(2 * wave) - p3 * np.cos(3 * wave)) / (p0 * width)
        below = t - (p1 * np.sin(wave) - p2 / 2 * np.sin(2 * wave) + p3 / 3 * np.sin(3 * wave)) / (2 * np.pi * p0)
        wrong = np.where(use, share - (1 - below), 0.0)
        slope = np.where(use, height, 0.0)
        residual = np.sqrt((wrong**2).sum(1) / np.maximum(use.sum(1), 1))
        offset += np.clip((wrong * slope).sum(1) / np.maximum((slope**2).sum(1), 1e-3), -0.3, 0.3)
    return offset, residual


class _Lines:
    """Colours along the normals, less the background's."""

    def __init__(self, rgb: F32, place: F64, normal: F64, background: F32) -> None:
        self.reach = np.arange(-9.0, 5.0, 0.5)
        at = (place[:, None] + self.reach[:, None] * normal[:, None]).reshape(-1, 2).T
        channels = [ndimage.map_coordinates(rgb[..., k], at, order=1, mode="nearest") for k in range(3)]
        shape = (len(place), len(self.reach), 3)
        self.colour = np.stack(channels, 1).astype(np.float64).reshape(shape) - background
        self.rows = np.arange(len(place))

    def at(self, where: F64) -> F64:
        """(N, 3) at a distance outward of each place."""
        x = np.clip((where - self.reach[0]) / 0.5, 0, len(self.reach) - 1.001)
        k = x.astype(np.int64)
        part = (x - k)[:, None]
        out: F64 = (1 - part) * self.colour[self.rows, k] + part * self.colour[self.rows, k + 1]
        return out

    def half_way(self) -> tuple[F64, Bool]:
        """(N,) where the object's colour falls through a half, and whether it does."""
        offset, found = np.zeros(len(self.rows)), np.zeros(len(self.rows), np.bool_)
        for _ in range(3):
            own = self.at(offset - WITHIN)
            share = (self.colour * own[:, None]).sum(2) / np.maximum((own**2).sum(1), 1e-9)[:, None]
            inner, outer = share[:, :-1], share[:, 1:]
            falls = (inner >= 0.5) & (outer < 0.5)
            where = self.reach[:-1] + 0.5 * (inner - 0.5) / np.maximum(inner - outer, 1e-9)
            # The nearest such place: another edge may be beside this one.
            nearest = np.where(falls, np.abs(where), np.inf).argmin(1)
            found = falls.any(1)
            offset = np.where(found, np.clip(where[self.rows, nearest], -5.0, 3.0), 0.0)
        return offset, found
