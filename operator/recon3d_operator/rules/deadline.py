"""Deadlines: the wait for the first start, and a run's length, counted from its container's start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recon3d_operator.times import parse


def queue_end(job: Mapping[str, Any]) -> float | None:
    """Return when a job that has never run has waited too long; None for never."""
    seconds = (job["spec"].get("deadlines") or {}).get("queueSeconds")
    created = parse(job["metadata"].get("creationTimestamp"))
    return None if seconds is None or created is None else created + float(seconds)


def run_end(spec: Mapping[str, Any], started: float) -> float:
    """Return when a run whose container started at `started` is ended."""
    return started + float((spec.get("deadlines") or {}).get("activeSeconds") or 7500)
