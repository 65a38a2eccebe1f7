"""What a job says of its cameras, and what calibration finds."""

from __future__ import annotations

from dataclasses import dataclass

from recon3d_contract.spec import JobSpec

from recon3d_runner.scene.orient import Arrangement, Turn
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

    @classmethod
    def of(cls, spec: JobSpec) -> Known:
        """What a job's own JSON says."""
        depth, cameras = spec.depth, spec.cameras
        turns: dict[str, Turn] = {
            name: Turn(int(s.roll_deg or 0) // 90, bool(s.mirror))
            for name, s in cameras.views.items()
            if s.roll_deg is not None or s.mirror is not None
        }
        # An image turned clockwise is put upright by turning it back.
        turns = {name: Turn((4 - t.roll) % 4, t.mirror) for name, t in turns.items()}
        given = cameras.preset is not None or bool(turns)
        return cls(
            fov_deg=cameras.fov_deg,
            distance=cameras.distance,
            near=depth.near,
            far=depth.far,
            encoding=None if depth.encoding == "auto" else depth.encoding,
            unit=depth.unit_m,
            ray=None if depth.kind == "auto" else depth.kind == "ray",
            arrangement=Arrangement(turns, cameras.preset == "swapped") if given else None,
        )

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
