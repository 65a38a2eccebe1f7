"""The queue of a namespace: who goes next, and how many may start.

A ResourceQuota on the accelerator is the gate. Its `used` rises with every Pod at once, but what is known of it may be
late; so the Pods that the operator itself made count too. An estimate is enough: the API server has the last word, and
its refusal is normal life.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from recon3d_operator.model import Turn, deletion_time
from recon3d_operator.rules.retry import next_start
from recon3d_operator.settings import Settings

SortKey = tuple[int, str, str]
PLACE: Final = ("queuePosition", "waitingFor")
"""Fields of a status that tell a waiting job's place."""
UNLIMITED: Final = 1_000_000
_UNITS: Final = {"k": 10**3, "M": 10**6, "G": 10**9}


@dataclass(frozen=True)
class Gate:
    """How many more jobs may start in a namespace."""

    free: int
    text: str
    """What the queue waits for when nothing is free."""


def sort_key(job: Mapping[str, Any]) -> SortKey:
    """Return what orders the queue: priority first, then age; the uid settles what is equal."""
    meta = job["metadata"]
    return -int(job["spec"].get("priority") or 0), str(meta["creationTimestamp"]), str(meta["uid"])


def gate(settings: Settings, quotas: Iterable[Mapping[str, Any]], active: int) -> Gate:
    """Return the namespace's gate, where `active` Pods of ours have not ended."""
    key = settings.quota_key
    if key is None:
        return Gate(settings.max_running - active, f"{active} of {settings.max_running} allowed jobs run")
    found = Gate(UNLIMITED, "")
    for quota in quotas:
        spec, status = quota.get("spec") or {}, quota.get("status") or {}
        if spec.get("scopes") or spec.get("scopeSelector") or key not in (spec.get("hard") or {}):
            continue
        # A changed quota is in force before its status tells so.
        hard = min(number(spec["hard"][key]), number((status.get("hard") or spec["hard"]).get(key, spec["hard"][key])))
        used = number((status.get("used") or {}).get(key, 0))
        free = hard - max(used, active)
        if free < found.free:
            name = quota["metadata"]["name"]
            found = Gate(free, f"{key} of quota {name}: {max(used, active)} of {hard} used")
    return found


def number(quantity: Any) -> int:
    """Return a count as Kubernetes writes it: 1000 is 1k."""
    text = str(quantity)
    if text and text[-1] in _UNITS:
        return int(text[:-1]) * _UNITS[text[-1]]
    return int(text.removesuffix("m")) // 1000 if text.endswith("m") else int(text)


def not_before(attempts: Sequence[Mapping[str, Any]], settings: Settings) -> float | None:
    """Return when a job that lost a run may join the queue again; None if it has lost none."""
    return next_start(attempts, settings.retry_base_s, settings.retry_max_s)


def must_wait_for(pods: Iterable[Mapping[str, Any]], margin_s: float, now: float) -> float | None:
    """Return when the last of `pods` is past its grace time (inf: it is not being deleted); None if none is left."""
    ends = []
    for pod in pods:
        if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            continue
        end = deletion_time(pod)
        ends.append(float("inf") if end is None else end + margin_s)
    last = max(ends, default=None)
    return None if last is None or last <= now else last


def calm(old: Mapping[str, Any], new: Mapping[str, Any], turn: Turn | None) -> Mapping[str, Any]:
    """Return the old status where only the place in the queue has moved, and not by much."""
    position = old.get("queuePosition")
    if turn is None or position is None or turn.refresh or turn.position == 1:
        return new
    near = position / 2 < turn.position < position * 2
    same = all(new.get(key) == old.get(key) for key in {*new, *old} - set(PLACE))
    return old if near and same else new
