"""Conditions: a fact, a reason word, a text; the time changes only when the fact does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from recon3d_operator.times import parse, stamp

ACCEPTED: Final = "Accepted"
QUOTA_RESERVED: Final = "QuotaReserved"
RUNNER_READY: Final = "RunnerReady"
SUCCEEDED: Final = "Succeeded"
GPU_CAPACITY: Final = "GPUCapacity"
WEBHOOK_READY: Final = "WebhookReady"
_ORDER: Final = (ACCEPTED, QUOTA_RESERVED, RUNNER_READY, SUCCEEDED, GPU_CAPACITY, WEBHOOK_READY)
_MAX_MESSAGE: Final = 1024

Fact = tuple[str, str, str]
"""(True, False or Unknown; reason; message)."""


def merge(
    old: Sequence[Mapping[str, Any]] | None, facts: Mapping[str, Fact], generation: int | None, now: float
) -> list[dict[str, Any]]:
    """Return the conditions after `facts` (by type) have been put into `old`, always in the same order."""
    known = {condition["type"]: dict(condition) for condition in old or ()}
    for kind, (status, reason, message) in facts.items():
        before = known.get(kind)
        since = before["lastTransitionTime"] if before and before["status"] == status else stamp(now)
        known[kind] = {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message[:_MAX_MESSAGE],
            "lastTransitionTime": since,
            **({"observedGeneration": generation} if generation is not None else {}),
        }
    return [known[kind] for kind in sorted(known, key=_rank)]


def true_since(old: Sequence[Mapping[str, Any]] | None, kind: str, now: float) -> float:
    """Return since when the condition `kind` has been True; now, if it has not been."""
    for condition in old or ():
        if condition["type"] == kind and condition["status"] == "True":
            return parse(condition["lastTransitionTime"]) or now
    return now


def _rank(kind: str) -> tuple[int, str]:
    return (_ORDER.index(kind) if kind in _ORDER else len(_ORDER), kind)
