"""Which ends of a run lead to another one, and when: those that the error table calls retryable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from recon3d_contract.errors import TABLE, Code

from recon3d_operator.times import parse

POD_DELETED: Final = "PodDeleted"
PREEMPTED: Final = ("PreemptionByScheduler", "Preempting", "WorkloadEvictedDueToPreempted")
"""Reasons of the scheduler, the kubelet and Kueue: the place was wanted for something more important."""


def may_retry(spec: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]], code: Code) -> bool:
    """Whether another run may follow the last one of `attempts` (the recorded runs), which ended with `code`.

    A Pod that someone deleted may have published its result already: the next run then only reports it. So the first
    such loss is not counted. Nor is a run that lost one of two engines: the next one goes on without it. Nor one that
    had to make room, however often: it was neither lost nor did it fail.
    """
    limit = int((spec.get("retry") or {}).get("limit", 2))
    free = any(attempt.get("reason") == POD_DELETED for attempt in attempts)
    counted = sum(not attempt.get("lostEngine") and attempt.get("reason") not in PREEMPTED for attempt in attempts)
    return TABLE[code].retryable and counted <= limit + int(free)


def next_start(attempts: Sequence[Mapping[str, Any]], base_s: float, max_s: float) -> float | None:
    """Return the earliest start of the next run: the back-off doubles with every run; None before the first."""
    if not attempts:
        return None
    finished = parse(attempts[-1].get("finishedAt"))
    return None if finished is None else finished + min(base_s * 2.0 ** (len(attempts) - 1), max_s)
