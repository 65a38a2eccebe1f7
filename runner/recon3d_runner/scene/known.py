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

    @property
    def range_known(self) -> bool:
        """Whether this says what depth every code means."""
        ends = self.near is not None and self.far is not None
        return self.distance is not None and (ends or self.unit is not None)

    def unit_distance(self, gain: float, encoding: str | None) -> float:
        """Camera distance in world units: given, from the metric unit and the gain found at distance 1, or 1."""
        if self.distance is not None:
            return self.distance
        if encoding == "metric" and self.unit is not None:
            return self.unit / gain
        return 1.0


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
