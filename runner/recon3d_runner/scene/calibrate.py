"""Find FOV, depth range and orientation of the six views from their own agreement.

The distance is the unit of length here, so that three numbers are free: focal length F and the depth code's
offset a and gain b. Where the views disagree as they are, every arrangement is searched (arrange.py); where several
agree, their colours decide (blame.py and settle below).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from recon3d_contract.conventions import DEPTH_SIZE
from recon3d_contract.errors import Code, Recon3dError

from recon3d_runner.run import Run
from recon3d_runner.scene import blame
from recon3d_runner.scene.agreement import OTHERS, PLATEAUS, Sight
from recon3d_runner.scene.angle import Angle
from recon3d_runner.scene.arrange import Arrangements
from recon3d_runner.scene.frontier import Outlines
from recon3d_runner.scene.known import Known, Solution
from recon3d_runner.scene.orient import Arrangement
from recon3d_runner.scene.solve import Fit, Hypothesis, Problem
from recon3d_runner.scene.starts import first_ranges, near_is_high
from recon3d_runner.types import F64

PRIOR_FOV = 40.0
FOVS = (14.0, 22.0, 32.0, 42.0, 52.0, 64.0, 78.0)
COARSE = (48.0, 32.0, 16.0, 16.0, 8.0, 8.0)
FINE = (8.0, 4.0, 2.0, 1.0, 0.5, 0.3, 0.2)
MIDDLE = 4
"""So many of FINE are done with when all points are looked at."""
NOT_FOCAL = np.array([0.0, 1.0, 1.0])
FIRM = 1.0
"""Degrees: outlines this sure of the angle of view spare the search for it."""
FINE_STEPS = 6  # at most, at every scale
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
PER_STEP = 0.06
"""Degrees of FOV that depth levels one pixel of depth apart leave open."""
PER_PLATEAU = 0.2
"""The same where all surface faces its camera: one rounding then holds for all of a side, and does not average out."""
UNFIXED = 0.7
"""Degrees: less sure than this, the assumed angle of view is as good."""
SPARSE, SECOND = 40, 16
"""Samples of a view for the search over all arrangements and the whole grid, and how many hypotheses come further."""
LEAST_GRID = 8.0
"""Pixels: the scale of that search follows the pictures' size down to here."""
FINALISTS = 6
PER_REPAIR = 0.02
"""Of the cost: every repair must earn that much."""


class Calibrator:
    """Searches continuous and discrete unknowns; `free` marks the unknown ones of (log F, a, b)."""

    def __init__(self, sights: list[Sight], known: Known, run: Run) -> None:
        self.sights = sights
        self.known = known
        self.run = run
        self.free = np.array([known.fov_deg is None, not known.range_known, not known.range_known], float)
        self.rays = (known.ray,) if known.ray is not None else (False,)
        self._seen: tuple[Arrangement, Angle] | None = None

    def _given_range(self) -> tuple[float, float] | None:
        k = self.known
        if not k.range_known or k.distance is None:
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

    def starts(self, sights: list[Sight], fovs: tuple[float, ...] = FOVS) -> list[Hypothesis]:
        """A grid over the FOV, both polarities and a few gains."""
        fovs = fovs if self.known.fov_deg is None else (self.known.fov_deg,)
        given = self._given_range()
        out = []
        told = {"white-near": (True,), "black-near": (False,), "metric": (False,)}
        for high in told.get(self.known.encoding or "", (True, False)):
            for fov in fovs:
                focal = Angle.of_fov(fov).focal
                ranges = [given] if given else first_ranges(sights, focal, high)
                out += [Hypothesis(focal, a, b, self.rays[0]) for a, b in ranges if given or (b < 0) == high]
        return out

    def coarse(self, arrangement: Arrangement) -> Fit:
        """Best fit over the grid, all of which is judged and the best few refined.

        Where the outlines fix the angle of view by themselves it is not searched.
        """
        problem = Problem(arrangement.apply(self.sights), stride=2)
        seen, free = self._outlines(arrangement, problem.sights), self.free
        if seen.sigma < FIRM:
            starts, free = self.starts(problem.sights, (seen.fov_deg,)), self.free * NOT_FOCAL
        else:
            starts = self.starts(problem.sights)
        if not starts:
            raise Recon3dError(Code.INCONSISTENT_VIEWS, message="No view shows an object in front of its background.")
        thin = Problem(problem.sights, stride=8)
        with ThreadPoolExecutor() as aside:
            costs = aside.map(lambda h: thin.evaluate(h, GRID).cost, starts)
            judged = sorted(zip(costs, range(len(starts)), strict=True))
            self.run.tick(0.3)
            tried = aside.map(lambda k: self._refine(thin, starts[k], COARSE, free=free), [k for _, k in judged[:6]])
            rough = sorted(tried, key=lambda fit: fit.cost)
        self.run.tick(0.4)
        fits: list[Fit] = []
        for start in rough[:3]:
            fits.append(self._refine(problem, start.hypothesis, COARSE, free=free))
            if fits[-1].cost < 0.7 * AGREE:
                break
        return min(fits, key=lambda fit: fit.cost)

    def _refine(
        self, problem: Problem, start: Hypothesis, scales: tuple[float, ...], steps: int = 1, free: F64 | None = None
    ) -> Fit:
        free = self.free if free is None else free
        if not free.any():
            return problem.evaluate(start, JUDGE)
        fit = problem.refine(start, list(scales), free, steps)
        return replace(problem.evaluate(fit.hypothesis, JUDGE), sigma_fov=fit.sigma_fov)

    def orient(self, base: Fit) -> tuple[Fit, Arrangement]:
        """The arrangement under which the views agree, else the plain one: all are searched over the whole grid."""
        # A roll of top or bottom exchanges its axes: the sides alone say how far the object reaches.
        sides = [s for s in self.sights if s.name not in ("top", "bottom")]
        starts = [base.hypothesis, *self.starts(sides)]
        scale = max(LEAST_GRID, GRID / 2 * self.sights[0].code.shape[0] / DEPTH_SIZE)
        sparse = Arrangements(self.sights, SPARSE)
        first = []
        for k, h in enumerate(starts):
            first.append(float((sparse.judge(h, scale).cost + PER_REPAIR * sparse.repairs).min()))
            self.run.tick(0.4 + 0.15 * k / len(starts))
        table = Arrangements(self.sights)
        starts = [starts[k] for k in np.argsort(first, kind="stable")[:SECOND]]
        every = np.stack([table.judge(h, scale).cost for h in starts]) + PER_REPAIR * table.repairs
        tried: list[tuple[float, Fit, Arrangement]] = []
        for index in np.argsort(every.min(0), kind="stable")[:FINALISTS]:
            _, option = table.all[index]
            thin = Problem(option.apply(self.sights), stride=8)
            few = np.argsort(every[:, index], kind="stable")[:2]
            fit = min((self._refine(thin, starts[k], COARSE) for k in few), key=lambda found: found.cost)
            tried.append((fit.cost + PER_REPAIR * option.repairs(), fit, option))
            self.run.tick(0.6)
        tried.sort(key=lambda t: t[0])
        best, arrangement = base, Arrangement({})
        for _, start, option in tried[:2]:
            fit = self._refine(Problem(option.apply(self.sights), stride=2), start.hypothesis, COARSE)
            if fit.cost + PER_REPAIR * option.repairs() < best.cost:
                best, arrangement = fit, option
        return best, arrangement

    def _outlines(self, arrangement: Arrangement, sights: list[Sight]) -> Angle:
        """What the outlines of `sights`, so arranged, say of the angle of view; not found again for the same ones."""
        if self._seen is None or self._seen[0] != arrangement:
            self._seen = arrangement, Outlines(sights).solve()
        return self._seen[1]

    def _fine(self, arrangement: Arrangement, start: Fit) -> tuple[Fit, Problem, Angle]:
        """Refine to the last under the angle of view that surfaces and outlines give together."""
        sights = arrangement.apply(self.sights)
        problem, thin = Problem(sights), Problem(sights, stride=3)
        with ThreadPoolExecutor() as aside:
            outlines = aside.submit(self._outlines, arrangement, sights)
            near = self._refine(thin, start.hypothesis, FINE, FINE_STEPS)
            surfaces = aside.submit(self._by_surfaces, thin, near)
            self.run.tick(0.8)
            if self.known.ray is None:
                as_ray = self._refine(thin, replace(near.hypothesis, ray=True), FINE, FINE_STEPS)
                if self._sharp(thin, as_ray) < 0.95 * self._sharp(thin, near):
                    near, surfaces = as_ray, aside.submit(self._by_surfaces, thin, as_ray)
        angle, seen = surfaces.result(), outlines.result()
        if self.free[0]:
            if angle.sigma < seen.sigma:  # Then all points are worth their time.
                near = self._refine(problem, near.hypothesis, FINE[MIDDLE - 1 :], FINE_STEPS)
                angle = replace(angle, focal=near.hypothesis.focal)
            angle = angle.joined(seen)
        # A fit that ran away from where the outlines put it is no place to go on from.
        near = min((near, start), key=lambda fit: abs(fit.hypothesis.fov_deg - angle.fov_deg))
        return self._pinned(problem, near, angle), problem, angle

    def solve(self) -> Solution:
        """Run the whole search. Raises INCONSISTENT_VIEWS naming the worst view."""
        search = self.known.arrangement is None
        arrangement = self.known.arrangement or Arrangement({})
        best = self.coarse(arrangement)
        if search and (best.cost >= AGREE or blame.contradiction(best) > blame.CONTRADICTS):
            best, arrangement = self.orient(best)
        fit, problem, angle = self._fine(arrangement, best)
        settled = blame.Settled(arrangement)
        if search and fit.cost < AGREE:
            settled = blame.settle(Arrangements(self.sights), fit, arrangement, JUDGE)
            if settled.arrangement != arrangement:
                arrangement = settled.arrangement
                fit, problem, angle = self._fine(arrangement, fit)
        self.run.tick(0.9)
        if fit.cost >= AGREE or blame.contradiction(fit) > blame.CONTRADICTS:
            raise blame.inconsistent(self, fit, problem.sights)
        confidence, prior = angle.confidence, None
        if angle.sigma > UNFIXED:
            confidence = min(confidence, 0.3)
            prior = f"the views do not fix the angle of view; {PRIOR_FOV:g} deg assumed"
            fit = self._pinned(problem, fit, Angle.of_fov(PRIOR_FOV))
        return Solution(fit, arrangement, confidence, prior, settled.unproven, settled.foreign)

    def _by_surfaces(self, problem: Problem, fit: Fit) -> Angle:
        """The angle of a fit to depth and outlines, with the worst of three reasons to doubt it; the angle given."""
        if not self.free[0]:
            return Angle(fit.hypothesis.focal, 0.0)
        sigma = max(SIGMA_GAIN * fit.sigma_fov, self._spread(problem, fit), self._rounding(fit))
        # Views that agree less than they should are less to be trusted than the residuals' curvature says.
        return Angle(fit.hypothesis.focal, sigma * max(1.0, fit.cost / GOOD))

    def _rounding(self, fit: Fit) -> float:
        """What is left of the levels' rounding after all smoothing, in degrees of FOV, as seen on known objects."""
        pixel = 2 / (self.sights[0].code.shape[0] * fit.hypothesis.focal)
        flat = float(np.mean([(s.plateau[s.inside] % PLATEAUS != OTHERS).mean() for s in self.sights]))
        return float((PER_STEP + PER_PLATEAU * flat) * abs(fit.hypothesis.b) * self.sights[0].step / pixel)

    def _pinned(self, problem: Problem, fit: Fit, angle: Angle) -> Fit:
        """The best fit under an angle of view that need not be its own."""
        h = fit.hypothesis
        shrink = h.focal / angle.focal
        start = replace(h, focal=angle.focal, a=1 + (h.a - 1) * shrink, b=h.b * shrink)
        far = abs(np.log(shrink)) > ASIDE
        scales = FINE if far else FINE[MIDDLE - 1 :]
        return self._refine(problem, start, scales, FINE_STEPS, self.free * NOT_FOCAL)

    def _spread(self, problem: Problem, fit: Fit) -> float:
        """How far apart, in degrees of FOV, searches end that start on either side of the answer.

        Where the data fix the angle they meet; along a valley of equal agreement they stay where they began.
        """
        h = fit.hypothesis
        if not WIDEST[0] <= h.fov_deg <= WIDEST[1]:
            return float("inf")

        def end(factor: float) -> float:
            start = Hypothesis(h.focal * factor, 1 + (h.a - 1) / factor, h.b / factor, h.ray)
            return self._refine(problem, start, FINE[:MIDDLE], FINE_STEPS).hypothesis.fov_deg

        with ThreadPoolExecutor() as aside:
            ends = [h.fov_deg, *aside.map(end, (1 - ASIDE, 1 + ASIDE))]
        return max(ends) - min(ends)

    def without_offset(self, solution: Solution) -> Solution:
        """The same for metric depth, whose offset is exactly 0: one unknown less."""
        problem = Problem(solution.arrangement.apply(self.sights))
        start = replace(solution.fit.hypothesis, a=0.0)
        fixed = self.free * np.array([1.0 if solution.prior is None else 0.0, 0.0, 1.0])
        scales = list(FINE[MIDDLE - 1 :])
        fit = problem.refine(start, scales, fixed, FINE_STEPS) if fixed.any() else problem.evaluate(start, JUDGE)
        return replace(solution, fit=replace(problem.evaluate(fit.hypothesis, JUDGE), sigma_fov=fit.sigma_fov))

    def _sharp(self, problem: Problem, fit: Fit) -> float:
        return problem.evaluate(fit.hypothesis, 0.3).cost

    def left_out(self, sights: list[Sight], first: Hypothesis) -> Fit:
        """Quick best fit of fewer views, for naming the one that does not belong."""
        problem = Problem(sights, stride=4)
        starts = [first, *(h for h in self.starts(sights) if abs(h.fov_deg - PRIOR_FOV) < 25)]
        judged = sorted((problem.evaluate(h, GRID).cost, k) for k, h in enumerate(starts))
        fits = [self._refine(problem, starts[k], COARSE) for k in {0, *(k for _, k in judged[:2])}]
        self.run.tick(0.9)
        return self._refine(problem, min(fits, key=lambda fit: fit.cost).hypothesis, FINE[1:MIDDLE], 3)
