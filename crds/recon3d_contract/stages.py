"""The stages of an engine's run, in order, with their share of the progress."""

from __future__ import annotations

from typing import Final, Literal

StageName = Literal[
    "load",
    "masks",
    "calibrate",
    "fuse",
    "geometry",
    "unwrap",
    "texture",
    "export",
    "previews",
    "evaluate",
    "report",
]

WEIGHTS: Final[dict[StageName, int]] = {
    "load": 1,
    "masks": 8,
    "calibrate": 25,
    "fuse": 12,
    "geometry": 11,
    "unwrap": 3,
    "texture": 14,
    "export": 3,
    "previews": 7,
    "evaluate": 12,
    "report": 4,
}
"""Percent of an engine's run; they sum to 100."""

STAGES: Final[tuple[StageName, ...]] = tuple(WEIGHTS)


def percent(stage: str, fraction: float, *, engine_index: int = 0, engine_count: int = 1) -> float:
    """Return the whole job's progress in [0, 100] at `fraction` in [0, 1] of `stage`.

    Several engines, one after the other, have equal shares. Raises ValueError for an unknown stage.
    """
    before = 0
    for name, weight in WEIGHTS.items():
        if name == stage:
            inside = min(max(fraction, 0.0), 1.0) if fraction == fraction else 0.0
            return (100.0 * engine_index + before + weight * inside) / engine_count
        before += weight
    raise ValueError(f"unknown stage {stage!r}")
