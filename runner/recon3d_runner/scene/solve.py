"""Fit focal length and depth range to the agreement of six views (see agreement.py for the residuals).

Robust Levenberg-Marquardt over (log F, a, b) and one offset of the codes per plateau (agreement.py), which stays
within their rounding.
Correspondences of the silhouette support are found anew at every step, the Jacobian is numeric, weights are
Huber's inside a gate of a few times the scale, which shrinks (as in trimmed ICP, Chetverikov et al. 2002).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, reduce

import numpy as np
from recon3d_contract.conventions import VIEWS

from recon3d_runner.scene import equations, kernels
from recon3d_runner.scene.agreement import PLATEAUS, Sight, frames
from recon3d_runner.types import F64, I64

WINDOW = 1.0
REACH = 100.0
HIDDEN = 3.0
DEPTH_SCALE = 1.5
LEAST_SHARED = 0.05
"""Share of all points below which shared surface is too little to judge by."""
SETTLED = 5e-5
"""Relative change of the focal length, and of the offset, at which a scale is done."""
DEPTH_POINTS = 6000
"""Of a view, whose depth is compared with the other views'."""
ROUNDING_SCALE = 2.0
"""Residual scale in pixels from which on the codes' offsets are sought."""
PRIOR_WEIGHT = 10.0
"""Of an offset's standard deviation under rounding, against residuals that weigh 1000 in all, kind by kind."""
LEAST_VARIANCE = 0.01
"""Square pixels; residuals are never taken to be better than that."""
PARTS = 2
"""Of the points that are folded into one outline: with six views a dozen threads have work."""
UNSHIFTED = (0.0,) * (PLATEAUS * len(VIEWS))


Touched = tuple[F64, I64, F64]
"""Of one view's outline: how far out the points reach, which they are, and of each view how many lie outside."""
Normal = tuple[F64, F64, F64]
"""A normal matrix, its right side, and the sums of weights and of weighted squares."""


@cache
def pool() -> ThreadPoolExecutor:
    """Threads for the kernels, which release the interpreter's lock."""
    return ThreadPoolExecutor(os.cpu_count() or 1)


@dataclass(frozen=True)
class Hypothesis:
    """Camera and depth range, distance 1."""

    focal: float
    a: float
    b: float
    ray: bool = False
    offsets: tuple[float, ...] = UNSHIFTED
    """What the codes of every plateau are off by."""

    @property
    def fov_deg(self) -> float:
        """Full angle of view."""
        return float(np.degrees(2 * np.arctan(1 / self.focal)))

    def depths(self, code: np.ndarray) -> np.ndarray:
        """z-depths of a square image of codes, without their plateaus' offsets."""
        z: np.ndarray = self.a + self.b * code.astype(np.float32)
        if self.ray:
            axis = (2 * (np.arange(len(z)) + 0.5) / len(z) - 1) / self.focal
            z = z / np.sqrt(1 + axis[None, :] ** 2 + axis[:, None] ** 2)
        return z


@dataclass(frozen=True)
class Fit:
    """A hypothesis and how well the views agree on it."""

    hypothesis: Hypothesis
    cost: float
    """Mean robust residual, 0 (agree) to 1 (nothing agrees)."""
    by_view: dict[str, float]
    """The same for the pairs that a view takes part in."""
    sigma_fov: float = np.inf
    """Standard deviation of the FOV in degrees, from the residuals' curvature."""
    median_px: float = np.inf
    """Median absolute inlier residual in pixels of the depth render."""
    conflict: F64 = field(default_factory=lambda: np.zeros((0, 0)))
    """(n, n) share of view i's points that view j proves wrong: outside its silhouette, or in front of its depth."""


class Problem:
    """The residuals of one set of upright views. `stride` thins the points for coarse passes."""

    def __init__(self, sights: list[Sight], stride: int = 1) -> None:
        self.sights = sights
        n = len(sights)
        points = [s.points[::stride] for s in sights]
        sparse = [p[:: max(1, len(p) // (DEPTH_POINTS // stride))] for p in points]
        self.points, self.start = _joined(points)
        self.sparse, self.sparse_start = _joined(sparse)
        self.window = WINDOW * (1 if stride == 1 else 2.5 if stride <= 4 else 4.0)
        self.middle = float(np.mean([p[:, 2].mean() for p in sparse if len(p)] or [0.0]))
        self.rounding = np.zeros(len(UNSHIFTED))
        self.limit = np.zeros(len(UNSHIFTED))
        for s in sights:
            mine = slice(PLATEAUS * (base := int(s.plateau.flat[0]) // PLATEAUS), PLATEAUS * (base + 1))
            self.rounding[mine], self.limit[mine] = s.rounding, s.step / 2
        self.turn, self.shift = np.zeros((n, n, 3, 3)), np.zeros((n, n, 3))
        for j in range(n):
            for i in range(n):
                self.turn[j, i], self.shift[j, i] = carry(sights[i].name, sights[j].name)

    def _at(self, h: Hypothesis) -> float:
        """Depth of the codes' middle."""
        return h.a + h.b * self.middle

    def _camera(self, h: Hypothesis) -> tuple[float, float, float, F64, bool]:
        return h.focal, h.a, h.b, np.array(h.offsets), h.ray

    def _depth_cost(self, h: Hypothesis, scale: float, front: float, j: int) -> tuple[F64, I64]:
        s = self.sights[j]
        sums, histogram = np.zeros((len(self.sights), 3)), np.zeros(kernels.BINS, np.int64)
        kernels.depth_cost(
            self.sparse, self.sparse_start, self.turn[j], self.shift[j], j, s.code, s.slope, s.inside, s.plateau,
            *self._camera(h), HIDDEN * scale, scale, front, sums, histogram,
        )  # fmt: skip
        return sums, histogram

    def _touches(self, h: Hypothesis, limit: float) -> Callable[[], list[Touched]]:
        """Begin to fold all points into every view's outline, in PARTS of them side by side; then wait for that."""
        jobs = [
            [pool().submit(self._touch, h, limit, j, part) for part in range(PARTS)] for j in range(len(self.sights))
        ]
        return lambda: [reduce(_further, (job.result() for job in view)) for view in jobs]

    def _touch(self, h: Hypothesis, limit: float, j: int, part: int) -> Touched:
        s = self.sights[j]
        best, owner = np.full(len(s.outline), -REACH), np.full(len(s.outline), -1, np.int64)
        outside = np.zeros(len(self.sights))
        kernels.touch(
            self.points, self.start, self.turn[j], self.shift[j], j, s.outline, s.nearest, s.inside,
            *self._camera(h), self.window, limit, part, PARTS, best, owner, outside,
        )  # fmt: skip
        return best, owner, outside

    def evaluate(self, h: Hypothesis, scale: float) -> Fit:
        """Robust cost of a hypothesis at residual scale `scale` pixels."""
        n = len(self.sights)
        limit = HIDDEN * scale

        touching = self._touches(h, limit)
        parts = list(pool().map(lambda j: self._depth_cost(h, scale, limit, j), range(n)))
        touched = touching()
        # (n, n): source view i, target view j.
        rho, seen, front = np.stack([p[0] for p in parts], 1).transpose(2, 0, 1)
        points, sparse = np.diff(self.start)[:, None], np.diff(self.sparse_start)[:, None]
        lost = np.stack([outside for _, _, outside in touched], 1) / np.maximum(points, 1)
        sil = [best**2 / (best**2 + scale**2) for best, _, _ in touched]
        edges = int(sum(map(len, sil)))
        # Where hardly two views share a surface (a box), the few pixels that seem to must not decide.
        d = rho.sum() / max(1.0, seen.sum(), LEAST_SHARED * (n - 1) * sparse.sum())
        s = float(np.concatenate(sil).mean()) if edges else 0.0
        off = ~np.eye(n, dtype=bool)
        by_view = {}
        for k, name in enumerate(x.name for x in self.sights):
            shared = LEAST_SHARED * (n - 1) * (sparse[k, 0] + sparse.mean())
            dk = (rho[k].sum() + rho[:, k].sum()) / max(1.0, seen[k].sum() + seen[:, k].sum(), shared)
            sk = float(sil[k].mean()) if len(sil[k]) else 0.0
            by_view[name] = float(dk + sk + (lost[k].sum() + lost[:, k].sum()) / (n - 1))
        median = _median(sum((p[1] for p in parts), np.zeros(kernels.BINS, np.int64)), 3 * scale)
        conflict = lost + front / np.maximum(sparse, 1)
        return Fit(h, float(d + s + 2 * lost[off].mean()), by_view, median_px=median, conflict=conflict)

    def step(self, h: Hypothesis, scale: float, free: F64, damping: float) -> tuple[Hypothesis, float]:
        """One damped Gauss-Newton step over the free ones of (log F, a, b, offsets); returns it and sigma(log F)."""
        m = len(UNSHIFTED)
        near = HIDDEN * min(scale, DEPTH_SCALE)
        # Far from the answer, surfaces are matched to the wrong ones: then silhouettes alone decide.
        with_depth = scale <= DEPTH_SCALE or not any(len(s.outline) for s in self.sights)

        def depth(j: int) -> Normal:
            s, out = self.sights[j], (np.zeros((3 + m, 3 + m)), np.zeros(3 + m), np.zeros(2))
            if with_depth:
                equations.depth_normal(
                    self.sparse, self.sparse_start, self.turn[j], self.shift[j], j,
                    s.code, s.slope, s.inside, s.plateau,
                    *self._camera(h), near, min(scale, DEPTH_SCALE), *out,
                )  # fmt: skip
            return out

        def touch(j: int) -> Normal:
            s, out = self.sights[j], (np.zeros((3 + m, 3 + m)), np.zeros(3 + m), np.zeros(2))
            equations.touch_normal(
                self.points, self.start, self.turn[j], self.shift[j], s.outline, s.code.shape[0],
                *self._camera(h), touched[j][1], HIDDEN * scale, scale, *out,
            )  # fmt: skip
            return out

        touching = self._touches(h, HIDDEN * scale)
        by_depth = list(pool().map(depth, range(len(self.sights))))
        touched = touching()
        by_touch = list(pool().map(touch, range(len(self.sights))))
        normal, rhs, weight, squares = np.zeros((3 + m, 3 + m)), np.zeros(3 + m), 0.0, 0.0
        # Depth pairs and silhouettes weigh the same in all. Totals: the weights' sum, and that of the squares.
        for parts in (by_touch, by_depth):
            square, side, total = (np.sum(each, 0) for each in zip(*parts, strict=True))
            if total[0] > 0:
                normal += square * (1000 / total[0])
                rhs += side * (1000 / total[0])
                weight, squares = weight + 1000, squares + 1000 * total[1] / total[0]
        variance = squares / max(weight, 1e-9)
        loose = scale <= ROUNDING_SCALE and free[2] > 0
        keep = np.flatnonzero(np.concatenate([free > 0, loose & (self.rounding > 0)]))
        if loose:
            prior = PRIOR_WEIGHT * max(variance, LEAST_VARIANCE) / np.maximum(self.rounding, 1e-6) ** 2
            normal[3:, 3:] += np.diag(prior)
            rhs[3:] -= prior * np.array(h.offsets)
        # Offset and gain of codes far from 0 are nearly one number: the offset at the codes' middle is not.
        basis = np.eye(3 + m)
        basis[1, 2] = -self.middle if free[1] and free[2] else 0.0
        # What no residual depends on (the gain of a cube's one code) is nothing but rounding here, and stays.
        least = 1e-6 * np.sqrt(np.diag(normal))[keep] + 1e-12
        normal, rhs = (basis.T @ normal @ basis)[np.ix_(keep, keep)], (basis.T @ rhs)[keep]
        size = np.maximum(np.sqrt(np.maximum(np.diag(normal), 0.0)), least)
        scaled = normal / np.outer(size, size) + damping * np.eye(len(size))
        moved = np.zeros(3 + m)
        moved[keep] = np.linalg.solve(scaled, rhs / size) / size
        moved = basis @ moved
        covariance = np.linalg.inv(scaled) / np.outer(size, size)
        sigma = float(np.sqrt(covariance[0, 0] * max(variance, LEAST_VARIANCE))) if free[0] else 0.0
        shifted = np.array([moved[0], moved[1] + self.middle * moved[2], moved[2]])
        limit = np.array([0.1, 0.1, 0.1 * abs(h.b)])
        moved *= min(1.0, float(np.min(limit / np.maximum(np.abs(shifted), 1e-12))))
        offsets = np.clip(np.array(h.offsets) + moved[3:], -self.limit, self.limit)
        focal = h.focal * float(np.exp(moved[0]))
        return replace(
            h, focal=focal, a=h.a + float(moved[1]), b=h.b + float(moved[2]), offsets=tuple(offsets.tolist())
        ), sigma

    def refine(self, h: Hypothesis, scales: list[float], free: F64, steps: int = 1, damping: float = 1e-4) -> Fit:
        """Up to `steps` steps at every scale, until they settle; returns the last fit with its sigma."""
        sigma = np.inf
        for scale in scales:
            for _ in range(steps):
                before = h
                try:
                    h, sigma = self.step(h, scale, free, damping)
                except np.linalg.LinAlgError:
                    break
                if abs(h.focal / before.focal - 1) < SETTLED and abs(self._at(h) - self._at(before)) < SETTLED:
                    break
        fit = self.evaluate(h, scales[-1])
        return replace(fit, sigma_fov=sigma * np.degrees(h.focal * 2 / (1 + h.focal**2)))


def _further(one: Touched, other: Touched) -> Touched:
    """Of two parts' points the outermost along the outline; of two as far out, the first."""
    ahead = (other[0] > one[0]) | ((other[0] == one[0]) & (other[1] >= 0) & (other[1] < one[1]))
    return np.where(ahead, other[0], one[0]), np.where(ahead, other[1], one[1]), one[2] + other[2]


def carry(source: str, target: str) -> tuple[F64, F64]:
    """Rotation and shift from one view's camera frame into another's, distance 1."""
    forward = np.array([0.0, 0.0, 1.0])
    turn = frames()[target] @ frames()[source].T
    return turn, forward - turn @ forward


def _joined(parts: list[np.ndarray]) -> tuple[np.ndarray, I64]:
    start = np.concatenate([[0], np.cumsum([len(p) for p in parts])]).astype(np.int64)
    return np.ascontiguousarray(np.concatenate(parts), np.float32), start


def _median(histogram: I64, width: float) -> float:
    """Median of what a histogram over [0, width) counted."""
    total = np.cumsum(histogram)
    if not total[-1]:
        return float("inf")
    return float(np.searchsorted(total, total[-1] / 2) + 0.5) * width / len(histogram)
