"""Parts of the status: an attempt's record, a summary's numbers, an error, a waiting Pod's reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recon3d_contract.errors import Recon3dError
from recon3d_contract.summary import ResultSummary

from recon3d_operator.model import attempt_of
from recon3d_operator.names import FIRST_ENGINE, QUEUE_NAME, RUNNER
from recon3d_operator.rules.conditions import Fact
from recon3d_operator.rules.outcome import Outcome, is_running, runner_state, started_at

_NUMBERS = (
    "engine", "verdict", "psnr", "ssim", "iou", "depthErrorPct", "leaveOneOutPsnr", "faces", "seconds", "reasons",
    "warnings",
)  # fmt: skip
GATED = "SchedulingGated"
"""Kubernetes' word for a Pod that somebody holds back from the scheduler, as Kueue does until it admits it."""
_GATES = "Somebody's scheduling gates hold the Pod back."
_PULL = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")


def attempt(pod: Mapping[str, Any], ended: Outcome | None, finished: str | None) -> dict[str, Any]:
    """Return the record of a Pod's run for status.attempts."""
    state = runner_state(pod)
    inner = state.get("running") or state.get("terminated") or {}
    record = {
        "number": attempt_of(pod),
        "pod": pod["metadata"]["name"],
        "node": (pod.get("spec") or {}).get("nodeName"),
        "startedAt": started_at(pod),
    }
    if ended is not None:
        # What Kubernetes writes for a container that it has lost sight of is no time at all.
        record |= {
            "finishedAt": inner.get("finishedAt") or finished,
            "reason": ended.reason,
            "exitCode": ended.exit_code,
            "lostEngine": ended.lost_engine,
            "lostCode": ended.error.code.value if ended.lost_engine and ended.error else None,
        }
    return {key: value for key, value in record.items() if value is not None}


def results(summary: ResultSummary, store: str) -> dict[str, Any]:
    """Return summary, engines and artifacts of a run that told its result."""
    data = summary.model_dump(mode="json", by_alias=True, exclude_none=True)
    found: dict[str, Any] = {}
    numbers = {name: data[name] for name in _NUMBERS if data.get(name) not in (None, [])}
    if summary.verdict is not None:
        found["summary"] = numbers
    if data.get("engines"):
        found["engines"] = data["engines"]
    if summary.artifact_count:
        found["artifacts"] = {
            "path": f"{store.rstrip('/')}/jobs/{summary.job_uid}/attempts/{summary.attempt}",
            "count": summary.artifact_count,
            "bytes": summary.artifact_bytes,
            **({"sha256": summary.result_sha256} if summary.result_sha256 else {}),
        }
    return found


def error(problem: Recon3dError) -> dict[str, Any]:
    """Return an error as status.error has it."""
    return problem.info().model_dump(mode="json")


def runner_ready(pod: Mapping[str, Any]) -> Fact:
    """Return the condition RunnerReady of a Pod that has not ended."""
    status = pod.get("status") or {}
    if is_running(pod):
        return "True", "Running", "The runner works."
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            if condition.get("reason") == GATED:
                name = (pod["metadata"].get("labels") or {}).get(QUEUE_NAME)
                return "False", GATED, f"The Kueue queue {name} has not admitted the Pod." if name else _GATES
            text = str(condition.get("message") or "")
            reason = "NoAccelerator" if "Insufficient" in text and "/" in text else "Unschedulable"
            return "False", reason, text or "No node can take the Pod."
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(kind) or ():
            waiting = (container.get("state") or {}).get("waiting") or {}
            word = str(waiting.get("reason") or "")
            if word in _PULL:
                return "False", "ImagePull", f"{word}: {waiting.get('message') or container.get('image') or ''}"
            if (
                word
                and word not in ("ContainerCreating", "PodInitializing")
                and container.get("name") in (RUNNER, FIRST_ENGINE)
            ):
                return "False", word[:64], str(waiting.get("message") or word)
    if (pod.get("spec") or {}).get("nodeName"):
        return "False", "Starting", "The Pod's node prepares it."
    return "False", "Scheduling", "The Pod waits for a node."
