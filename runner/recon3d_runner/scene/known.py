"""What a job says of its cameras, and what calibration finds."""

from __future__ import annotations

from dataclasses import dataclass

from recon3d_runner.scene.orient import Arrangement
from recon3d_runner.scene.solve import Fit


@dataclass(frozen=True)
class Known:
    """What the job gives; None is to be found. Lengths in one unit of the user's choice."""

    fov_deg: float | None = None
    distance: float | None = None
    near: float | None = None
    far: float | None = None
    encoding: str | None = None
    """white-near | black-near | metric."""
    unit: float | None = None
    """World units per code, for metric depth."""
    ray: bool | None = None
    arrangement: Arrangement | None = None


@dataclass(frozen=True)
class Solution:
    """Calibration with distance 1, before it is scaled to world units."""

    fit: Fit
    arrangement: Arrangement
    confidence: float
    prior: str | None
    unproven: tuple[str, ...] = ()
    """Views that agree as well when they are turned or mirrored."""
    foreign: str | None = None
    """The view whose colours are not the others'."""
