"""The rules that turn measurements into a verdict, and the verdicts of engines into that of the job.

PSNR and SSIM decide between normal, warning and failure. They can flatter a wrong shape, since the texture
was fitted to the same six views; so a `normal` is lowered to `warning` where the shape does not hold:
silhouettes, depth, or the views predicted without themselves (leave-one-out); and where the cameras under which it
was computed are not what the views fix, since then all of these may agree on a distorted shape.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from recon3d_contract.spec import ENGINES, QualityThresholds

Verdict = Literal["normal", "warning", "failure"]
RANK: Final[dict[Verdict, int]] = {"failure": 0, "warning": 1, "normal": 2}
DEFAULT_THRESHOLDS: Final = QualityThresholds()
UNSURE: Final = 0.5
"""Confidence of the calibration below which the angle of view is rather assumed than found."""


@dataclass(frozen=True)
class Measured:
    """What the rules look at: means over the six views."""

    psnr: float
    """dB over the foreground."""
    ssim: float
    """Over the foreground, at most 1."""
    iou: float
    """Of the silhouettes, in [0, 1]."""
    depth_error_pct: float | None = None
    """Median, in percent of the bounding-box diagonal; None for a job without depth."""
    leave_one_out_psnr: float | None = None
    """dB; None where no view shares enough surface with another to be predicted."""
    confidence: float | None = None
    """Of the calibration, in [0, 1]; None where it is not known."""


@dataclass(frozen=True)
class Judgement:
    """A verdict and, unless it is normal, why."""

    verdict: Verdict
    reasons: tuple[str, ...]


def judge(measured: Measured, thresholds: QualityThresholds = DEFAULT_THRESHOLDS) -> Judgement:
    """Return the verdict on one engine's result. A value that is not a number never passes."""
    verdict: Verdict = "normal"
    reasons: list[str] = []

    def lower(to: Verdict, reason: str) -> None:
        nonlocal verdict
        if RANK[to] < RANK[verdict]:
            verdict = to
        reasons.append(reason)

    def appearance(name: str, unit: str, digits: int, value: float, normal: float, warning: float) -> None:
        if math.isnan(value):
            lower("failure", f"{name} could not be measured")
        elif value < normal:
            limit, target = (normal, "normal") if value >= warning else (warning, "warning")
            lower(
                "warning" if value >= warning else "failure",
                f"{name} {_shown(value, limit, digits)}{unit} is below {limit:g}{unit}, the least for {target}",
            )

    appearance("PSNR", " dB", 1, measured.psnr, thresholds.psnr_normal, thresholds.psnr_warning)
    appearance("SSIM", "", 3, measured.ssim, thresholds.ssim_normal, thresholds.ssim_warning)
    iou, depth, alone = measured.iou, measured.depth_error_pct, measured.leave_one_out_psnr
    if not iou >= thresholds.iou:
        limit = thresholds.iou
        lower("warning", f"silhouettes agree only to IoU {_shown(iou, limit, 3)}, below {limit:g}")
    if depth is not None and not depth <= thresholds.depth_error_pct:
        limit = thresholds.depth_error_pct
        lower("warning", f"median depth error {_shown(depth, limit, 2)} % of the diagonal, above {limit:g} %")
    if alone is not None and not alone >= thresholds.leave_one_out_psnr:
        limit = thresholds.leave_one_out_psnr
        lower(
            "warning",
            f"a view predicted from the others reaches only {_shown(alone, limit, 1)} dB, below {limit:g} dB",
        )
    sure = measured.confidence
    if sure is not None and not sure >= UNSURE:
        lower(
            "warning",
            f"the views do not fix the angle of view: confidence {_shown(sure, UNSURE, 2)}, below {UNSURE:g}; "
            "give cameras.fovDeg",
        )
    return Judgement(verdict, tuple(reasons))


def _shown(value: float, limit: float, digits: int) -> str:
    """Round for people, but never so far that the value reads as its limit."""
    if math.isfinite(value):
        while digits < 9 and float(f"{value:.{digits}f}") == limit:
            digits += 1
    return f"{value:.{digits}f}"


@dataclass(frozen=True)
class Outcome:
    """How one engine ended, as far as the job's verdict needs it."""

    verdict: Verdict | None
    """None where the engine ended before it could be judged."""
    psnr: float | None = None
    ssim: float | None = None
    cancelled: bool = False


def better_engine(outcomes: Mapping[str, Outcome]) -> str | None:
    """Return the engine with the best verdict, then PSNR, then SSIM; the first of ENGINES on a tie."""

    def key(name: str) -> tuple[int, float, float, int]:
        outcome = outcomes[name]
        rank = -1 if outcome.verdict is None else RANK[outcome.verdict]
        order = [*ENGINES].index(name) if name in ENGINES else len(ENGINES)
        return (rank, _or_least(outcome.psnr), _or_least(outcome.ssim), -order)

    judged = [name for name in outcomes if outcomes[name].verdict is not None]
    return max(judged, key=key) if judged else None


def _or_least(value: float | None) -> float:
    return -math.inf if value is None or math.isnan(value) else value


def job_status(outcomes: Mapping[str, Outcome]) -> Literal["completed", "failed", "cancelled"]:
    """Return how the job ended: completed with one engine normal or warning, unless it was cancelled."""
    if any(outcome.cancelled for outcome in outcomes.values()):
        return "cancelled"
    if any(outcome.verdict in ("normal", "warning") for outcome in outcomes.values()):
        return "completed"
    return "failed"
