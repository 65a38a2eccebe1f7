"""An angle of view and how sure it is; two measurements of it become one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEAST_SIGMA = 0.01
"""Degrees; no measurement is taken to be better than that."""
HALF_SURE = 0.25
"""Standard deviation in degrees at which the confidence is one half."""


@dataclass(frozen=True)
class Angle:
    """A measured angle of view."""

    focal: float
    """1 / tan(half of it)."""
    sigma: float
    """Standard deviation in degrees; infinite where nothing depends on it."""

    @classmethod
    def of_fov(cls, degrees: float) -> Angle:
        """One that is given."""
        return cls(1 / float(np.tan(np.radians(degrees) / 2)), 0.0)

    @classmethod
    def of_log(cls, log_focal: float, sigma: float) -> Angle:
        """One that was sought as log F, with the standard deviation of that."""
        focal = float(np.exp(log_focal))
        return cls(focal, sigma * float(np.degrees(2 * focal / (1 + focal**2))))

    @property
    def fov_deg(self) -> float:
        """Full angle of view."""
        return float(np.degrees(2 * np.arctan(1 / self.focal)))

    @property
    def confidence(self) -> float:
        """In [0, 1]; .9 at a twelfth of a degree."""
        return float(1 / (1 + (self.sigma / HALF_SURE) ** 2))

    def joined(self, other: Angle) -> Angle:
        """Both as independent measurements; where they contradict each other, less sure by as much (Birge's ratio)."""
        trust = np.array([1 / max(one.sigma, LEAST_SIGMA) ** 2 for one in (self, other)])
        if not trust.all():
            return self if trust[0] else other
        apart = abs(self.fov_deg - other.fov_deg) * float(np.sqrt(trust.prod() / trust.sum()))
        log_f = float(trust @ np.log([self.focal, other.focal])) / float(trust.sum())
        return Angle(float(np.exp(log_f)), max(1.0, apart) / float(np.sqrt(trust.sum())))
