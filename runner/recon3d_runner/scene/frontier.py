"""The angle of view from outlines alone: planes through two camera centres that touch the object.

Two cameras of which neither looks along the line between them see the same two planes through that line touch the
object, each at one point of its outline (a frontier point: Cipolla, Astroem and Giblin 1995). The twelve pairs of
perpendicular views give 24 equations in one unknown, the focal length: where both outlines reach as far (a sphere, a
cube) it drops out of them, elsewhere edges known to a twentieth of a pixel fix it. Depth has no part in it, nor has
its rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np

from recon3d_runner.scene.agreement import Sight, frames
from recon3d_runner.scene.angle import Angle
from recon3d_runner.types import F64

ANGLES = np.geomspace(8.0, 100.0, 48)
"""Angles of view in degrees among which the search begins."""
WIDE = 3.0
"""Pixels: the scale of residuals at which they are compared."""
SHARP = 0.12
"""Pixels: outlines are never taken to be better known than that; corners are cut by about this much."""
GAIN = 1.4
"""The equations share corners, so that their scatter says too little by about this."""
WIDTHS = (3.0, 3.0, 1.0, 1.0, 0.5, 0.5, 0.5)
"""Pixels: the scale of residuals at every step from there."""
OUTERMOST = 40.0
"""Degrees from the axis: at 45 lies the line to the next camera, and an outline that reaches it says nothing."""
NUDGE = 1e-3
"""Of the numeric derivatives, in log F."""


class Outlined(NamedTuple):
    """What is needed of an upright view."""

    name: str
    hull: F64
    """(K, 3) u, v of the outline's convex hull, and standard deviations in pixels."""
    pixel: float
    """Size of a pixel in units of u."""


@dataclass(frozen=True)
class _Outline:
    """One view of a pair: its hull, and two directions that both have in common, in its camera's frame."""

    hull: F64
    across: F64
    """(3,) out of the plane of both cameras and the origin."""
    ahead: F64
    """(3,) from between the cameras to the origin."""
    edge: float
    """Coordinates beyond this are the image's border."""

    def touched(self, focal: float, side: int) -> tuple[float, float]:
        """Slope of the plane through both cameras that touches the hull, and its change over what that is known to.

        NaN where the outline is cut off by the image's border.
        """
        u, v = self.hull[:, 0] / focal, self.hull[:, 1] / focal
        ahead = u * self.ahead[0] + v * self.ahead[1] + self.ahead[2]
        slope = (u * self.across[0] + v * self.across[1] + self.across[2]) / ahead
        k = int(np.argmax(side * slope))
        if np.abs(self.hull[k, :2]).max() > self.edge:
            return np.nan, 1.0
        change = (self.across[:2] - slope[k] * self.ahead[:2]) / (ahead[k] * focal)
        known = np.hypot(1, self.hull[k, 2] / SHARP)
        return float(slope[k]), float(np.hypot(change[0], change[1]) * known)


class Outlines:
    """The equations of one set of upright views; `least` is the smallest log focal length that they speak of."""

    def __init__(self, sights: Sequence[Sight | Outlined]) -> None:
        self.pairs: list[tuple[_Outline, _Outline]] = []
        self.pixel = max((s.pixel for s in sights), default=1.0)
        reach = max((float(np.abs(s.hull[:, :2]).max()) for s in sights if len(s.hull)), default=0.0)
        self.least = float(np.log(max(reach, 1e-6) / np.tan(np.radians(OUTERMOST))))
        axes = frames()
        for one, other in combinations([s for s in sights if len(s.hull)], 2):
            # Cameras look along their third axis, from one unit before the origin.
            here, there = -axes[one.name][2], -axes[other.name][2]
            if abs(here @ there) > 0.5:
                continue  # Opposite each other: the line between them meets the object.
            across, ahead = np.cross(here, there), -(here + there)
            first, second = (
                _Outline(s.hull, axes[s.name] @ across, axes[s.name] @ ahead, 1 - 2 * s.pixel) for s in (one, other)
            )
            self.pairs.append((first, second))

    def residuals(self, focal: float) -> F64:
        """(2 pairs,) by how much the two views' planes differ, in pixels of the colour images; less where unsure."""
        out = []
        for one, other in self.pairs:
            for side in (1, -1):
                (a, by_a), (b, by_b) = one.touched(focal, side), other.touched(focal, side)
                out.append((a - b) / np.hypot(by_a, by_b) / self.pixel)
        found: F64 = np.array(out, np.float64)
        return found[np.isfinite(found)]

    def solve(self) -> Angle:
        """The angle of view on which the pairs agree best, and how well they fix it."""
        if not self.pairs:
            return Angle.of_log(0.0, np.inf)
        grid = [max(self.least, float(np.log(Angle.of_fov(fov).focal))) for fov in ANGLES]
        log_f = min(grid, key=lambda x: _cost(self.residuals(np.exp(x))))
        sigma = np.inf
        for width in WIDTHS:
            r, ahead, back = (self.residuals(np.exp(log_f + nudge)) for nudge in (0, NUDGE, -NUDGE))
            if not len(r) == len(ahead) == len(back) > 0:
                return Angle.of_log(log_f, np.inf)
            slope = (ahead - back) / (2 * NUDGE)
            scale = max(width, 2 * float(np.median(np.abs(r))))
            weight = 1 / (1 + (r / scale) ** 2) ** 2
            known = max(float((weight * slope**2).sum()), 1e-9)
            scatter = float((weight * r**2).sum() / weight.sum())
            sigma = GAIN * float(np.sqrt((SHARP**2 + scatter) / known))
            log_f = max(self.least, log_f - float(np.clip((weight * slope * r).sum() / known, -0.1, 0.1)))
        return Angle.of_log(log_f, sigma)


def _cost(r: F64) -> float:
    return float((r**2 / (r**2 + WIDE**2)).sum())
