"""Every arrangement at once: which of all swaps, rolls and mirrors make six views agree under one hypothesis.

What one view says about another does not depend on the other four. So all pairs are looked at once, each file in
each way it may have been turned, and the 704 arrangements are sums over that table: together they cost as much as a
score of them would one by one. Views are put upright by turning points, never images.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numba import njit
from recon3d_contract.conventions import VIEWS

from recon3d_runner.scene import kernels
from recon3d_runner.scene.agreement import Sight
from recon3d_runner.scene.orient import Arrangement, Turn
from recon3d_runner.scene.solve import LEAST_SHARED, REACH, Hypothesis, carry, pool
from recon3d_runner.types import F32, F64, I64

SAMPLES, OUTLINE = 240, 160
"""Samples of a view on its surface, as many along its outline, and of the outline that others must touch."""
MIRRORS = 2
"""At most; a mirror of all six cannot be observed."""
WINDOW = 4.0
"""Pixels along the outline that a sample of it stands for."""


@dataclass(frozen=True)
class _Content:
    """What may stand in a view's place: a file, turned."""

    slot: int
    source: int
    turn: Turn


@dataclass(frozen=True)
class Judged:
    """All arrangements under one hypothesis."""

    cost: F64
    """(A,) as Fit.cost."""
    colour: F64
    """(A,) mean difference of colours where two views see the same surface, 0 to 1."""
    shared: F64
    """(A,) how many samples that is."""
    pairs: F64
    """(C, C, 5) the table itself (kernels.pair_cost), by content."""


class Arrangements:
    """The table's fixed part: samples of every file, and the list of all arrangements."""

    def __init__(self, sights: list[Sight], samples: int = SAMPLES) -> None:
        """`sights` as the files are, in the order of `VIEWS`; `samples` of every kind and view."""
        self.sights = sights
        self.samples = [_samples(s, samples) for s in sights]
        self.contents = _contents()
        self.all = _all(self.contents)
        self.carry = [[carry(source, target) for target in VIEWS] for source in VIEWS]
        self.lifted = [_lifted(c.turn) for c in self.contents]
        self.outline = [_thinned(len(s.outline), min(samples, OUTLINE)) for s in sights]
        self.choices = np.array([choice for choice, _ in self.all], np.int64)
        self.repairs = np.array([arrangement.repairs() for _, arrangement in self.all])

    def judge(self, h: Hypothesis, scale: float) -> Judged:
        """Compare every arrangement at residual scale `scale` pixels."""
        n = len(self.contents)
        sums = np.zeros((n, n, 5))
        best = np.full((n, n, OUTLINE), -REACH, np.float32)
        camera = (h.focal, h.a, h.b, np.array(h.offsets), h.ray)

        def column(j: int) -> None:
            target = self.contents[j]
            s = self.sights[target.source]
            upright = np.ascontiguousarray(_matrix(target.turn).T)
            at = self.outline[target.source]
            full = np.empty(len(s.outline), np.float32)
            for i, source in enumerate(self.contents):
                if source.slot == target.slot or source.source == target.source:
                    continue
                points, rim, tint = self.samples[source.source]
                full[:] = -REACH
                turn, shift = self.carry[source.slot][target.slot]
                kernels.pair_cost(
                    points, rim, turn @ self.lifted[i], shift, upright,
                    s.code, s.slope, s.inside, s.plateau, s.outline, s.nearest,
                    *camera, scale, WINDOW, full, tint, s.tint, sums[i, j],
                )  # fmt: skip
                best[i, j, : len(at)] = full[at]

        list(pool().map(column, range(n)))
        lengths = np.array([len(self.outline[c.source]) for c in self.contents])
        count = np.array([len(self.samples[c.source][0]) for c in self.contents], np.float64)
        rim = np.array([len(self.samples[c.source][1]) for c in self.contents], np.float64)
        out = np.zeros((len(self.choices), 3))
        _combine(self.choices, sums, best, lengths, count, rim, scale, out)
        return Judged(out[:, 0], out[:, 1], out[:, 2], sums)


def _samples(s: Sight, count: int) -> tuple[F32, F32, F32]:
    """Points on the surface, points along the outline, and the surface points' colours."""
    inner = s.points[: len(s.points) - s.rim]
    points = np.ascontiguousarray(inner[:: max(1, len(inner) // count)])
    rim = s.points[len(s.points) - s.rim :]
    rim = np.ascontiguousarray(rim[:: max(1, len(rim) // count)])
    c = s.tint.shape[0]
    at = np.clip(((points[:, :2] + 1) * c / 2).astype(np.int64), 0, c - 1)
    return points, rim, np.ascontiguousarray(s.tint[at[:, 1], at[:, 0]])


def _thinned(length: int, count: int) -> I64:
    """Which samples of an outline are looked at: `count` at most."""
    return np.arange(0, length, max(1, -(-length // count)))


def _matrix(turn: Turn) -> F64:
    """(2, 2) from a file's image to the upright one."""
    return np.asarray(turn.uv(np.eye(2, dtype=np.float32)).T, np.float64)


def _lifted(turn: Turn) -> F64:
    """(3, 3) the same in the camera's frame."""
    out = np.eye(3)
    out[:2, :2] = _matrix(turn)
    return out


def _contents() -> list[_Content]:
    """What may stand in each place: rolls for top and bottom only, either file for left and right."""
    out = []
    for slot, view in enumerate(VIEWS):
        sources = [slot] if view not in ("left", "right") else [VIEWS.index("left"), VIEWS.index("right")]
        rolls = range(4) if view in ("top", "bottom") else range(1)
        out += [_Content(slot, source, Turn(r, m)) for source in sources for r in rolls for m in (False, True)]
    return out


def _all(contents: list[_Content]) -> list[tuple[tuple[int, ...], Arrangement]]:
    by_slot = [[k for k, c in enumerate(contents) if c.slot == slot] for slot in range(len(VIEWS))]
    out = []
    for choice in product(*by_slot):
        chosen = [contents[k] for k in choice]
        if len({c.source for c in chosen}) < len(VIEWS) or sum(c.turn.mirror for c in chosen) > MIRRORS:
            continue
        turns: dict[str, Turn] = {VIEWS[c.slot]: c.turn for c in chosen if c.turn != Turn()}
        out.append((choice, Arrangement(turns, any(c.slot != c.source for c in chosen))))
    return out


@njit(cache=True, nogil=True)
def _combine(choices: I64, sums: F64, best: F32, lengths: I64, count: F64, rim: F64, scale: float, out: F64) -> None:
    """Cost, colour difference and shared samples of every arrangement, from the table of pairs."""
    n = choices.shape[1]
    for k in range(len(choices)):
        c = choices[k]
        depth, seen, lost, colour, shared, touch, edges, points = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0.0
        for j in range(n):
            for i in range(n):
                if i == j:
                    continue
                pair = sums[c[i], c[j]]
                depth += pair[0]
                seen += pair[1]
                lost += pair[2] / max(1.0, count[c[i]] + rim[c[i]])
                colour += pair[3]
                shared += pair[4]
                points += count[c[i]]
            for m in range(lengths[c[j]]):
                high = -REACH
                for i in range(n):
                    if i != j:
                        high = max(high, best[c[i], c[j], m])
                touch += high * high / (high * high + scale * scale)
                edges += 1
        out[k, 0] = depth / max(1.0, seen, LEAST_SHARED * points) + touch / max(1, edges) + 2.0 * lost / (n * (n - 1))
        out[k, 1] = colour / max(1.0, shared)
        out[k, 2] = shared
