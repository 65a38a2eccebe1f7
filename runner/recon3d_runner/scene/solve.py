"""Fit focal length and depth range to the agreement of six views (see agreement.py for the residuals).

Robust Levenberg-Marquardt over (log F, a, b): correspondences of the silhouette support are found anew at
every step, the Jacobian is numeric, weights are Huber's
inside a gate of a few times the scale, which shrinks (as in trimmed ICP, Chetverikov et al. 2002).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from recon3d_runner.scene.agreement import Sight, depth_residuals, frames, lift, support
from recon3d_runner.types import F64

WINDOW = 1.0
REACH = 100.0
HIDDEN = 3.0
DEPTH_SCALE = 1.5
LEAST_SHARED = 0.05
"""Share of all points below which shared surface is too little to judge by."""
SETTLED = 5e-5
"""Relative change of the focal length, and of the offset, at which a scale is done."""


@dataclass(frozen=True)
class Hypothesis:
    """Camera and depth range, distance 1."""

    focal: float
    a: float
    b: float
    ray: bool = False

    @property
    def fov_deg(self) -> float:
        """Full angle of view."""
        return float(np.degrees(2 * np.arctan(1 / self.focal)))


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


class Problem:
    """The residuals of one set of upright views. `stride` thins the points for coarse passes."""

    def __init__(self, sights: list[Sight], stride: int = 1) -> None:
        self.sights = sights
        self.points = [s.points[::stride] for s in sights]
        self.sparse = [p[:: max(1, len(p) // (6000 // stride))] for p in self.points]
        self.window = WINDOW * (1 if stride == 1 else 2.5 if stride <= 4 else 4.0)
        self.rotation = frames()

    def _move(self, points: F64, i: int, j: int) -> F64:
        ri, rj = self.rotation[self.sights[i].name], self.rotation[self.sights[j].name]
        turn = rj @ ri.T
        back = turn @ np.array([0.0, 0.0, 1.0])
        return np.ascontiguousarray(points @ turn.T - back + np.array([0.0, 0.0, 1.0]))

    def _pairs(self) -> list[tuple[int, int]]:
        n = len(self.sights)
        return [(i, j) for i in range(n) for j in range(n) if i != j]

    def depth(self, h: Hypothesis, reach: float) -> F64:
        """(pairs, N) residuals, NaN where a pair says nothing."""
        lifted = [lift(p, h.focal, h.a, h.b, h.ray) for p in self.sparse]
        width = max(len(p) for p in self.sparse)
        pairs = self._pairs()
        out = np.full((len(pairs), width), np.nan)

        def one(k: int) -> None:
            i, j = pairs[k]
            s = self.sights[j]
            r = depth_residuals(self._move(lifted[i], i, j), s.code, s.slope, s.inside, h.focal, h.a, h.b, h.ray, reach)
            out[k, : len(r)] = r

        with ThreadPoolExecutor() as pool:
            list(pool.map(one, range(len(pairs))))
        return out

    def touch(self, h: Hypothesis) -> tuple[list[F64], list[tuple[np.ndarray, np.ndarray]], F64]:
        """Support of every outline: per view (M,) residuals, the (view, point) that attains each, and lost shares."""
        lifted = [lift(p, h.focal, h.a, h.b, h.ray) for p in self.points]
        n = len(self.sights)

        def one(j: int) -> tuple[F64, tuple[np.ndarray, np.ndarray], F64]:
            s = self.sights[j]
            best = np.full(len(s.outline), -REACH)
            owner = np.full(len(s.outline), -1, np.int32)
            lost = np.zeros(n)
            base, starts = 0, []
            for i in range(n):
                starts.append(base)
                if i != j and len(s.outline):
                    moved = self._move(lifted[i], i, j)
                    lost[i] = support(
                        moved, s.outline, s.nearest, s.inside, h.focal, self.window, best, owner, base
                    ) / max(1, len(moved))
                base += len(lifted[i])
            view = np.searchsorted(np.array([*starts, base]), owner, side="right") - 1
            return best, (view, owner - np.array(starts)[np.clip(view, 0, n - 1)]), lost

        with ThreadPoolExecutor() as pool:
            parts = list(pool.map(one, range(n)))
        return [p[0] for p in parts], [p[1] for p in parts], np.stack([p[2] for p in parts])

    def touch_again(self, h: Hypothesis, owners: list[tuple[np.ndarray, np.ndarray]]) -> list[F64]:
        """The support residuals of fixed (view, point) correspondences under another hypothesis."""
        out = []
        for j, s in enumerate(self.sights):
            view, index = owners[j]
            r = np.full(len(s.outline), np.nan)
            for i in range(len(self.sights)):
                pick = (view == i) & (index >= 0)
                if i == j or not pick.any():
                    continue
                p = self._move(lift(self.points[i][index[pick]], h.focal, h.a, h.b, h.ray), i, j)
                size = s.code.shape[0]
                uv = h.focal * p[:, :2] / p[:, 2:]
                r[pick] = ((uv - s.outline[pick, :2]) * s.outline[pick, 2:]).sum(1) * size / 2
            out.append(r)
        return out

    def evaluate(self, h: Hypothesis, scale: float) -> Fit:
        """Robust cost of a hypothesis at residual scale `scale` pixels."""
        depth = self.depth(h, HIDDEN * scale)
        touch, _, lost = self.touch(h)
        names = [s.name for s in self.sights]
        n = len(names)
        rho = depth**2 / (depth**2 + scale**2)
        seen = np.isfinite(rho)
        per_pair = np.where(seen, rho, 0).sum(1)
        counts = seen.sum(1)
        sil = [t**2 / (t**2 + scale**2) for t in touch]
        outside = lost.mean()
        # Where hardly two views share a surface (a box), the few pixels that seem to must not decide.
        d = per_pair.sum() / max(1.0, counts.sum(), LEAST_SHARED * depth.size)
        s = float(np.mean(np.concatenate(sil))) if sum(map(len, sil)) else 0.0
        by_view = {}
        pairs = self._pairs()
        for k, name in enumerate(names):
            mine = [q for q, (i, j) in enumerate(pairs) if k in (i, j)]
            dk = per_pair[mine].sum() / max(1.0, counts[mine].sum(), LEAST_SHARED * depth[mine].size)
            sk = float(sil[k].mean()) if len(sil[k]) else 0.0
            by_view[name] = float(dk + sk + lost[k].sum() / (n - 1) + lost[:, k].sum() / (n - 1))
        inlier = np.concatenate([np.abs(depth[seen]), *[np.abs(t) for t in touch]])
        inlier = inlier[inlier < 3 * scale]
        median = float(np.median(inlier)) if len(inlier) else np.inf
        return Fit(h, float(d + s + 2 * outside), by_view, median_px=median)

    def step(self, h: Hypothesis, scale: float, free: F64, damping: float) -> tuple[Hypothesis, float]:
        """One damped Gauss-Newton step over the free ones of (log F, a, b); returns it and sigma(log F)."""
        delta = np.array([1e-4, 1e-4, 1e-4 * max(1e-9, abs(h.b))])
        near = HIDDEN * min(scale, DEPTH_SCALE)
        touch, owners, _ = self.touch(h)
        r0 = np.concatenate([self.depth(h, near).ravel(), *touch])
        columns = []
        for k in range(3):
            if not free[k]:
                continue
            plus, minus = _nudge(h, k, delta[k]), _nudge(h, k, -delta[k])
            rp = np.concatenate([self.depth(plus, 2 * near).ravel(), *self.touch_again(plus, owners)])
            rm = np.concatenate([self.depth(minus, 2 * near).ravel(), *self.touch_again(minus, owners)])
            columns.append((rp - rm) / (2 * delta[k]))
        jac = np.stack(columns, 1)
        # A jump of a correspondence between surfaces is no derivative.
        kind = np.zeros(len(r0), bool)
        kind[len(r0) - sum(map(len, touch)) :] = True
        ok = np.isfinite(r0) & np.isfinite(jac).all(1) & (np.abs(r0) < np.where(kind, HIDDEN * scale, near))
        ok &= (np.abs(jac) * delta[free.astype(bool)]).max(1) < 2.0
        r, jac = r0[ok], jac[ok]
        width = np.where(kind[ok], scale, min(scale, DEPTH_SCALE))
        weight = np.minimum(1.0, width / np.maximum(np.abs(r), 1e-12))
        # Depth pairs and silhouettes weigh the same in all.
        kind = kind[ok]
        for mask in (kind, ~kind):
            total = weight[mask].sum()
            if total > 0:
                weight[mask] *= 1000.0 / total
        if scale > DEPTH_SCALE and kind.any():
            weight[~kind] = 0.0  # Far from the answer, surfaces are matched to the wrong ones.
        normal = jac.T @ (weight[:, None] * jac)
        rhs = -jac.T @ (weight * r)
        size = np.sqrt(np.diag(normal))
        scaled = normal / np.outer(size, size) + damping * np.eye(len(size))
        move = np.linalg.solve(scaled, rhs / size) / size
        covariance = np.linalg.inv(scaled) / np.outer(size, size)
        variance = float((weight * r**2).sum() / max(weight.sum(), 1e-9))
        sigma = float(np.sqrt(covariance[0, 0] * variance)) if free[0] else 0.0
        full = np.zeros(3)
        full[free.astype(bool)] = move
        limit = np.array([0.1, 0.1, 0.1 * abs(h.b)])
        full *= min(1.0, float(np.min(limit / np.maximum(np.abs(full), 1e-12))))
        return replace(h, focal=h.focal * float(np.exp(full[0])), a=h.a + float(full[1]), b=h.b + float(full[2])), sigma

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
                if abs(h.focal / before.focal - 1) < SETTLED and abs(h.a - before.a) < SETTLED:
                    break
        fit = self.evaluate(h, scales[-1])
        return replace(fit, sigma_fov=sigma * np.degrees(h.focal * 2 / (1 + h.focal**2)))


def _nudge(h: Hypothesis, k: int, amount: float) -> Hypothesis:
    if k == 0:
        return replace(h, focal=h.focal * float(np.exp(amount)))
    if k == 1:
        return replace(h, a=h.a + amount)
    return replace(h, b=h.b + amount)
