"""Rolled, mirrored or swapped views: apply a hypothesis to prepared views without preparing them again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from recon3d_runner.scene.agreement import Sight

T = TypeVar("T", bound=np.generic)
R = TypeVar("R", np.float32, np.float64)


@dataclass(frozen=True)
class Turn:
    """What has to be done to a file's image to make it upright: mirror left-right, then roll clockwise."""

    roll: int = 0
    """Quarter turns clockwise, 0 to 3."""
    mirror: bool = False

    def image(self, pixels: NDArray[T]) -> NDArray[T]:
        """Apply to an (n, n, ...) image."""
        if self.mirror:
            pixels = pixels[:, ::-1]
        return np.ascontiguousarray(np.rot90(pixels, -self.roll))

    def uv(self, uv: NDArray[R]) -> NDArray[R]:
        """Apply to (N, 2) image coordinates or directions, origin in the middle."""
        out: NDArray[R] = uv.copy()
        if self.mirror:
            out[:, 0] = -out[:, 0]
        for _ in range(self.roll % 4):
            out = np.stack([-out[:, 1], out[:, 0]], 1)
        return out

    def sight(self, s: Sight) -> Sight:
        """Apply to a prepared view."""
        if self == Turn():
            return s
        points, outline, hull = s.points.copy(), s.outline.copy(), s.hull.copy()
        points[:, :2] = self.uv(points[:, :2])
        outline[:, :2] = self.uv(outline[:, :2])
        outline[:, 2:] = self.uv(outline[:, 2:])
        hull[:, :2] = self.uv(hull[:, :2])
        return replace(
            s,
            code=self.image(s.code),
            inside=self.image(s.inside),
            slope=self.image(s.slope),
            nearest=self.image(s.nearest),
            tint=self.image(s.tint),
            plateau=self.image(s.plateau),
            points=points,
            outline=outline,
            hull=hull,
        )


@dataclass(frozen=True)
class Arrangement:
    """Which file shows which view, and how each is turned."""

    turns: dict[str, Turn]
    swapped: bool = False
    """The files named left and right show each other's view."""

    def source(self, view: str) -> str:
        """The file that shows `view`."""
        if self.swapped and view in ("left", "right"):
            return "right" if view == "left" else "left"
        return view

    def apply(self, sights: list[Sight]) -> list[Sight]:
        """Upright views in their true places."""
        by_name = {s.name: s for s in sights}
        return [
            replace(self.turns.get(s.name, Turn()).sight(by_name[self.source(s.name)]), name=s.name) for s in sights
        ]

    def repairs(self) -> int:
        """How many things differ from the convention."""
        return int(self.swapped) + sum(t != Turn() for t in self.turns.values())
