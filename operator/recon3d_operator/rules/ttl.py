"""When a finished job is deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recon3d_operator.times import parse


def delete_at(spec: Mapping[str, Any], status: Mapping[str, Any]) -> float | None:
    """Return when a finished job shall be deleted; None for never."""
    seconds = spec.get("ttlSecondsAfterFinished")
    finished = parse(status.get("finishedAt"))
    return None if seconds is None or finished is None else finished + float(seconds)
