"""The depth codes of files: how coarse and how noisy they are, and the surface that they stand for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recon3d_runner.scene.agreement import code_jump
from recon3d_runner.scene.dequantize import dequantize, noise_of
from recon3d_runner.types import F32, Bool

COARSE_STEP = 0.1
"""Depth codes coarser than this, in pixels of depth, are dequantised."""
NOISY = 0.3
"""Pixels of depth, and levels of the files: noise above both is smoothed,"""
NOISE_REACH = 4.0
"""times its standard deviation from the lowest to the highest that a code may stand for."""
LEAST_LEVELS = 16
"""Fewer levels in all depth renders than this may have a common divisor by chance."""


def level_step(grays: Sequence[NDArray[np.uint16]]) -> float:
    """Codes between neighbouring levels of the files: the largest number that divides all their differences.

    The gaps between the levels that happen to occur say nothing: a flat-sided object has few.
    """
    found = np.zeros(1 << 16, bool)
    for gray in grays:
        found[gray] = True
    levels = np.flatnonzero(found)
    step = int(np.gcd.reduce(np.diff(levels))) if len(levels) > 1 else 1
    return float(step) if len(levels) >= LEAST_LEVELS or step in (256, 257) else 1.0


def smooth_codes(gray: NDArray[np.uint16], inside: Bool, step: float) -> F32:
    """Depth codes, smoothed within their rounding where that is coarse, and within their noise where there is some."""
    code = gray.astype(np.float32)
    pixel = float(np.ptp(code[inside])) / max(1.0, float(np.sqrt(inside.sum())))
    noise = noise_of(code, inside, code_jump(code, inside))
    noisy = noise > max(step, NOISY * pixel)
    if noisy or step > COARSE_STEP * pixel:
        unit = float(np.hypot(step, NOISE_REACH * noise)) if noisy else step
        scaled = code / np.float32(unit)
        code = dequantize(scaled, inside, code_jump(scaled, inside)) * np.float32(unit)
    return code
