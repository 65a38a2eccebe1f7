"""The stages of an engine's run, in order, with their share of the progress."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

StageName = Literal[
    "load",
    "masks",
    "calibrate",
    "fuse",
    "geometry",
    "generate",
    "align",
    "unwrap",
    "texture",
    "export",
    "previews",
    "evaluate",
    "report",
]

WEIGHTS: Final[Mapping[str, Mapping[StageName, int]]] = MappingProxyType(
    {
        "nvdiffrec": {
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
        },
        "reconviagen": {
            "load": 1,
            "masks": 6,
            "calibrate": 12,
            "generate": 40,
            "align": 14,
            "unwrap": 2,
            "texture": 8,
            "export": 2,
            "previews": 4,
            "evaluate": 8,
            "report": 3,
        },
    }
)
"""Percent of each engine's run; they sum to 100. How long reconviagen's weights take to sample is an estimate."""

STAGES: Final[tuple[StageName, ...]] = (
    "load", "masks", "calibrate", "fuse", "geometry", "generate", "align", "unwrap", "texture", "export", "previews",
    "evaluate", "report",
)  # fmt: skip
"""Of all engines."""


def percent(
    stage: str, fraction: float, *, engine: str = "nvdiffrec", engine_index: int = 0, engine_count: int = 1
) -> float:
    """Return the whole job's progress in [0, 100] at `fraction` in [0, 1] of `stage` of `engine`.

    Several engines, one after the other, have equal shares. Raises ValueError for a stage that the engine has not.
    """
    before = 0
    for name, weight in WEIGHTS[engine].items():
        if name == stage:
            inside = min(max(fraction, 0.0), 1.0) if fraction == fraction else 0.0
            return (100.0 * engine_index + before + weight * inside) / engine_count
        before += weight
    raise ValueError(f"unknown stage {stage!r}")
