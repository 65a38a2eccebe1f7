"""Which of several arrangements the colours prefer, and which view does not belong to the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from recon3d_contract.errors import Code, Recon3dError

from recon3d_runner.scene.agreement import Sight
from recon3d_runner.scene.arrange import Arrangements, Judged
from recon3d_runner.scene.frontier import Outlines
from recon3d_runner.scene.orient import Arrangement, Turn
from recon3d_runner.scene.solve import Fit
from recon3d_runner.types import F64

if TYPE_CHECKING:
    from recon3d_runner.scene.calibrate import Calibrator

CONTRADICTS = 0.03
"""Share of a view's points that others prove wrong, or of others' that it does, above which it does not belong."""
AS_GOOD = 0.05
"""Difference of two arrangements' cost that says nothing."""
SAME_SURFACE = 150
"""Samples that must be seen by two views before their colours say anything."""
CLEARER = (0.02, 0.6)
"""Colours must differ by that much less, and by that factor, for another arrangement to be taken."""
FOREIGN = (0.1, 3.0)
"""A view's colours are not the others' when they differ by that much, and by that factor more than the rest do."""
VISIBLE = 0.04
"""Mean colour difference of a view and itself turned, below which nobody can tell."""
SPOKEN, FIRM, TOUCHING = 16, 1.0, 4.0
"""Outlines agree where so many of 24 planes, under an angle known to so many degrees, are within so many pixels."""


@dataclass(frozen=True)
class Settled:
    """An arrangement, and what is not known about it."""

    arrangement: Arrangement
    unproven: tuple[str, ...] = ()
    foreign: str | None = None


def by_view(fit: Fit) -> F64:
    """(n,) share of contradictions that every view takes part in: the mean over the other views."""
    c = fit.conflict
    return np.asarray((c.sum(0) + c.sum(1)) / max(1, len(c) - 1))


def contradiction(fit: Fit) -> float:
    """The worst view's."""
    return float(by_view(fit).max(initial=0.0))


def settle(table: Arrangements, fit: Fit, found: Arrangement, scale: float) -> Settled:
    """Of all arrangements that agree as well in shape, the one whose colours agree, or else with fewest repairs.

    On a symmetric object shape cannot tell a view from its mirror image; its colours may.
    """
    judged = table.judge(fit.hypothesis, scale)
    now = next(k for k, (_, arrangement) in enumerate(table.all) if arrangement == found)
    good = np.flatnonzero(judged.cost <= judged.cost[now] + AS_GOOD)
    plain = good[np.argmin(table.repairs[good], keepdims=True)[0]]
    telling = good[judged.shared[good] >= SAME_SURFACE]
    if not len(telling):
        return Settled(table.all[plain][1], _unproven(table, judged, int(plain)))
    least = judged.colour[telling].min()
    # Of those with the least difference, the one that changes the fewest views.
    close = telling[judged.colour[telling] <= max(least + 0.25 * CLEARER[0], 1.1 * least)]
    best = close[np.argmin(table.repairs[close])]
    margin, factor = CLEARER
    clear = judged.colour[best] < min(judged.colour[plain] - margin, factor * judged.colour[plain])
    chosen = best if clear else plain
    unproven = _unproven(table, judged, int(chosen))
    return Settled(table.all[chosen][1], unproven, _foreign(table, judged, int(chosen)))


def _foreign(table: Arrangements, judged: Judged, chosen: int) -> str | None:
    """The view whose colours differ from the others' where they see the same surface, if it is one."""
    choice = table.choices[chosen]
    pairs = judged.pairs[np.ix_(choice, choice)]
    colour, shared = pairs[..., 3] + pairs[..., 3].T, pairs[..., 4] + pairs[..., 4].T
    worst, found = FOREIGN[0], None
    for k in range(len(choice)):
        rest = np.delete(np.arange(len(choice)), k)
        among = colour[np.ix_(rest, rest)].sum() / max(1.0, shared[np.ix_(rest, rest)].sum())
        mine = colour[k].sum() / max(1.0, shared[k].sum())
        if shared[k].sum() >= SAME_SURFACE and mine > max(worst, FOREIGN[1] * among):
            worst, found = mine, k
    return None if found is None else table.sights[found].name


def _unproven(table: Arrangements, judged: Judged, chosen: int) -> tuple[str, ...]:
    """Views that one visible turn more would leave in agreement, in shape and in colour."""
    base = table.all[chosen][1]
    out = []
    for k, (_, other) in enumerate(table.all):
        if other.swapped != base.swapped or judged.cost[k] > judged.cost[chosen] + AS_GOOD:
            continue
        changed = [v for v in {*base.turns, *other.turns} if base.turns.get(v) != other.turns.get(v)]
        if len(changed) != 1 or changed[0] in out:
            continue
        if judged.shared[k] >= SAME_SURFACE and judged.colour[k] > judged.colour[chosen] + CLEARER[0] / 2:
            continue
        sight = table.sights[[s.name for s in table.sights].index(base.source(changed[0]))]
        if _changes(sight, base, other, changed[0]):
            out.append(changed[0])
    return tuple(s.name for s in table.sights if s.name in out)


def _changes(sight: Sight, base: Arrangement, other: Arrangement, view: str) -> bool:
    """Whether a view looks different when it is turned the other way."""
    one = base.turns.get(view, Turn()).image(sight.tint)
    two = other.turns.get(view, Turn()).image(sight.tint)
    difference = np.abs(one - two)
    seen = np.isfinite(difference)
    return bool(seen.any() and difference[seen].mean() > VISIBLE)


def _outlines_agree(sights: list[Sight]) -> bool:
    """Whether the files' outlines alone are those of one object from six axes: then the depth is what is wrong."""
    outlines = Outlines(sights)
    angle = outlines.solve()
    off = np.abs(outlines.residuals(angle.focal))
    return len(off) >= SPOKEN and angle.sigma < FIRM and float(off.max()) < TOUCHING


def inconsistent(calibrator: Calibrator, fit: Fit, sights: list[Sight]) -> Recon3dError:
    """The error; the worst view is the one without which the other five agree best."""
    without: dict[str, float] = {}
    for k, left_out in enumerate(sights):
        rest = calibrator.left_out(sights[:k] + sights[k + 1 :], fit.hypothesis)
        without[left_out.name] = rest.cost + contradiction(rest)
    worst = min(without, key=lambda name: without[name])
    shares = by_view(fit)
    only_depth = _outlines_agree(calibrator.sights)
    what = (
        "The outlines of the six views agree, but their depth renders do not: depth must be linear, with one range for "
        "all six views"
        if only_depth
        else "The six views do not show one object from six axis directions"
    )
    return Recon3dError(
        Code.INCONSISTENT_VIEWS,
        message=f"{what}; '{worst}' fits the others worst.",
        details={
            "worst_view": worst,
            "outlines_agree": only_depth,
            "disagreement": round(fit.cost, 3),
            "contradiction": {s.name: round(float(share), 3) for s, share in zip(sights, shares, strict=True)},
            "disagreement_without": {name: round(value, 3) for name, value in without.items()},
        },
    )
