"""Find FOV, depth range and orientation of the six views from their own agreement.

The distance is the unit of length here, so that three numbers are free: focal length F and the depth code's
offset a and gain b. The orientation is searched only when the views disagree as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from recon3d_contract.errors import Code, Recon3dError

from recon3d_runner.run import Run
from recon3d_runner.scene.agreement import Sight
from recon3d_runner.scene.orient import Arrangement
from recon3d_runner.scene.solve import Fit, Hypothesis, Problem
from recon3d_runner.scene.starts import first_ranges, near_is_high
from recon3d_runner.types import F64

PRIOR_FOV = 40.0
FOVS = (14.0, 22.0, 32.0, 42.0, 52.0, 64.0, 78.0)
COARSE = (48.0, 32.0, 16.0, 16.0, 8.0, 8.0)
FINE = (8.0, 4.0, 2.0, 1.0, 0.5, 0.3)
FINE_STEPS = 6
"""At most, at every scale."""
GRID = 40.0
"""Residual scale in pixels at which the starting grid is compared."""
JUDGE = 2.0
"""Residual scale in pixels at which hypotheses are compared."""
AGREE = 0.62
"""Cost at JUDGE below which the views are taken to agree."""
ASIDE = 0.06
"""Relative change of the focal length for the searches that test an answer."""
WIDEST = (8.0, 100.0)
"""Angles of view in degrees beyond which an answer is not believed."""
GOOD = 0.2
"""Cost at JUDGE of views that agree as well as renders of one object do."""
SIGMA_GAIN = 8.0
"""Residuals of neighbouring pixels are not independent: the formal sigma of the FOV is too small by about this."""


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


class Calibrator:
    """Searches continuous and discrete unknowns; `free` marks the unknown ones of (log F, a, b)."""

    def __init__(self, sights: list[Sight], known: Known, run: Run) -> None:
        self.sights = sights
        self.known = known
        self.run = run
        fixed_range = known.near is not None and known.far is not None and known.distance is not None
        fixed_metric = known.unit is not None and known.distance is not None
        self.range_known = fixed_range or fixed_metric
        self.free = np.array([known.fov_deg is None, not self.range_known, not self.range_known], float)
        self.rays = (known.ray,) if known.ray is not None else (False,)

    def _given_range(self) -> tuple[float, float] | None:
        k = self.known
        if not self.range_known or k.distance is None:
            return None
        if k.unit is not None:
            return 0.0, k.unit / k.distance
        if k.near is None or k.far is None:
            return None
        top = 255.0 if max(float(s.code.max()) for s in self.sights) <= 255.5 else 65535.0
        span = (k.far - k.near) / top / k.distance
        if k.encoding == "black-near" or (k.encoding is None and not near_is_high(self.sights)):
            return k.near / k.distance, span
        return k.far / k.distance, -span

    def _starts(self, sights: list[Sight]) -> list[Hypothesis]:
        """A grid over the FOV, both polarities and a few gains."""
        fovs = FOVS if self.known.fov_deg is None else (self.known.fov_deg,)
        given = self._given_range()
        out = []
        polarities = {"white-near": (True,), "black-near": (False,), "metric": (False,)}
        for high in polarities.get(self.known.encoding or "", (True, False)):
            for fov in fovs:
                focal = 1 / float(np.tan(np.radians(fov) / 2))
                ranges = [given] if given else first_ranges(sights, focal, high)
                out += [Hypothesis(focal, a, b, self.rays[0]) for a, b in ranges if given or (b < 0) == high]
        return out

    def coarse(self, arrangement: Arrangement) -> Fit:
        """Best fit over the grid: all are judged, the best few refined."""
        problem = Problem(arrangement.apply(self.sights), stride=2)
        starts = self._starts(problem.sights)
        if not starts:
            raise Recon3dError(Code.INCONSISTENT_VIEWS, message="No view shows an object in front of its background.")
        thin = Problem(problem.sights, stride=8)
        judged = sorted((thin.evaluate(h, GRID).cost, k) for k, h in enumerate(starts))
        self.run.tick(0.3)
        rough = [self._refine(thin, starts[k], COARSE) for _, k in judged[:6]]
        rough.sort(key=lambda fit: fit.cost)
        self.run.tick(0.4)
        fits: list[Fit] = []
        for start in rough[:3]:
            fits.append(self._refine(problem, start.hypothesis, COARSE))
            if fits[-1].cost < 0.7 * AGREE:
                break
        return min(fits, key=lambda fit: fit.cost)

    def _refine(self, problem: Problem, start: Hypothesis, scales: tuple[float, ...], steps: int = 1) -> Fit:
        if not self.free.any():
            return problem.evaluate(start, JUDGE)
        fit = problem.refine(start, list(scales), self.free, steps)
        return replace(problem.evaluate(fit.hypothesis, JUDGE), sigma_fov=fit.sigma_fov)

    def orient(self, base: Fit) -> tuple[Fit, Arrangement]:
        """Greedy search over swaps, rolls and mirrors, from the plain arrangement; at most three repairs."""
        current, best = Arrangement({}), base
        for _ in range(3):
            if best.cost < AGREE:
                break
            tried = []
            for option in current.neighbours():
                problem = Problem(option.apply(self.sights), stride=4)
                tried.append((problem.evaluate(best.hypothesis, 4.0).cost, option))
                self.run.tick(0.5)
            tried.sort(key=lambda t: t[0])
            found = False
            for _, option in tried[:4]:
                fit = self._refine(Problem(option.apply(self.sights), stride=2), best.hypothesis, COARSE)
                self.run.tick(0.6)
                if fit.cost < best.cost - 0.02:
                    best, current, found = fit, option, True
            if not found:
                break
        return self._without_needless(best, current)

    def _without_needless(self, best: Fit, found: Arrangement) -> tuple[Fit, Arrangement]:
        """Undo every repair without which the views agree as well: on a symmetric object it repaired nothing."""
        options = [replace(found, swapped=False)] if found.swapped else []
        options += [replace(found, turns={v: t for v, t in found.turns.items() if v != view}) for view in found.turns]
        for option in options:
            fit = self._refine(Problem(option.apply(self.sights), stride=2), best.hypothesis, COARSE)
            if fit.cost < max(best.cost + 0.03, 0.7 * AGREE):
                return self._without_needless(fit, option)
        return best, found

    def solve(self) -> Solution:
        """Run the whole search. Raises INCONSISTENT_VIEWS naming the worst view."""
        arrangement = self.known.arrangement or Arrangement({})
        best = self.coarse(arrangement)
        if best.cost >= AGREE and self.known.arrangement is None:
            best, arrangement = self.orient(best)
            if arrangement.repairs():
                again = self.coarse(arrangement)
                best = again if again.cost < best.cost else best
        problem = Problem(arrangement.apply(self.sights))
        thin = Problem(problem.sights, stride=3)
        near = self._refine(thin, best.hypothesis, FINE[:4], FINE_STEPS)
        self.run.tick(0.8)
        if self.known.ray is None:
            as_ray = self._refine(thin, replace(near.hypothesis, ray=True), FINE[2:4], FINE_STEPS)
            if self._sharp(thin, as_ray) < 0.95 * self._sharp(thin, near):
                near = as_ray
        fit = self._refine(problem, near.hypothesis, FINE[3:], FINE_STEPS)
        self.run.tick(0.9)
        if fit.cost >= AGREE:
            raise self._inconsistent(fit, arrangement)
        sigma = SIGMA_GAIN * fit.sigma_fov
        if self.free[0]:
            sigma = max(sigma, self._spread(thin, fit))
        confidence, prior = 1.0, None
        if self.free[0]:
            # Views that agree less than they should are less to be trusted than the residuals' curvature says.
            doubt = sigma * max(1.0, fit.cost / GOOD)
            confidence = float(1 / (1 + (doubt / 0.25) ** 2))
        if self.free[0] and sigma > 0.25 and confidence < 0.5:
            prior = f"the views do not fix the angle of view; {PRIOR_FOV:g} deg assumed"
            focal = 1 / float(np.tan(np.radians(PRIOR_FOV) / 2))
            h = fit.hypothesis
            shrink = h.focal / focal
            start = Hypothesis(focal, 1 + (h.a - 1) * shrink, h.b * shrink, h.ray)
            fixed: F64 = self.free * np.array([0.0, 1.0, 1.0])
            pinned = (
                problem.refine(start, list(FINE), fixed, FINE_STEPS) if fixed.any() else problem.evaluate(start, JUDGE)
            )
            fit = replace(problem.evaluate(pinned.hypothesis, JUDGE), sigma_fov=fit.sigma_fov)
        return Solution(fit, arrangement, confidence, prior)

    def _spread(self, problem: Problem, fit: Fit) -> float:
        """How far apart, in degrees of FOV, searches end that start on either side of the answer.

        Where the data fix the angle they meet; along a valley of equal agreement they stay where they began.
        """
        h = fit.hypothesis
        ends = [h.fov_deg]
        for factor in (1 - ASIDE, 1 + ASIDE):
            start = Hypothesis(h.focal * factor, 1 + (h.a - 1) / factor, h.b / factor, h.ray)
            ends.append(self._refine(problem, start, FINE[:4], FINE_STEPS).hypothesis.fov_deg)
        if not WIDEST[0] <= h.fov_deg <= WIDEST[1]:
            return float("inf")
        return max(ends) - min(ends)

    def without_offset(self, solution: Solution) -> Solution:
        """The same for metric depth, whose offset is exactly 0: one unknown less."""
        problem = Problem(solution.arrangement.apply(self.sights))
        start = replace(solution.fit.hypothesis, a=0.0)
        fixed = self.free * np.array([1.0 if solution.prior is None else 0.0, 0.0, 1.0])
        fit = (
            problem.refine(start, list(FINE[3:]), fixed, FINE_STEPS) if fixed.any() else problem.evaluate(start, JUDGE)
        )
        return replace(solution, fit=replace(problem.evaluate(fit.hypothesis, JUDGE), sigma_fov=fit.sigma_fov))

    def _sharp(self, problem: Problem, fit: Fit) -> float:
        return problem.evaluate(fit.hypothesis, 0.3).cost

    def _inconsistent(self, fit: Fit, arrangement: Arrangement) -> Recon3dError:
        """The error; the worst view is the one without which the other five agree best."""
        sights = arrangement.apply(self.sights)
        without: dict[str, float] = {}
        for k, left_out in enumerate(sights):
            problem = Problem(sights[:k] + sights[k + 1 :], stride=4)
            starts = [h for h in self._starts(problem.sights) if abs(h.fov_deg - 40) < 15]
            if not starts:
                continue
            first = min(starts, key=lambda h: problem.evaluate(h, GRID).cost)
            without[left_out.name] = self._refine(problem, first, COARSE).cost
            self.run.tick(0.9)
        worst = (
            min(without, key=lambda name: without[name]) if without else max(fit.by_view, key=fit.by_view.__getitem__)
        )
        return Recon3dError(
            Code.INCONSISTENT_VIEWS,
            message=f"The six views do not show one object from six axis directions; '{worst}' fits the others worst.",
            details={
                "worst_view": worst,
                "disagreement": round(fit.cost, 3),
                "disagreement_without": {name: round(value, 3) for name, value in without.items()},
                "limit": AGREE,
            },
        )
