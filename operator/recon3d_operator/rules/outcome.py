"""From a Pod's end to the job's: the runner's own summary if there is one, else what Kubernetes says of the Pod."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from recon3d_contract.errors import TABLE, Code, Recon3dError
from recon3d_contract.summary import ResultSummary

from recon3d_operator.model import is_terminal
from recon3d_operator.names import FIRST_ENGINE, RUNNER

_LOST: Final = (
    "Evicted", "Preempting", "NodeLost", "Shutdown", "NodeShutdown", "Terminated", "UnexpectedAdmissionError",
    "NodeAffinity", "OutOfcpu", "OutOfmemory",
)  # fmt: skip
_TAKEN_AWAY: Final = ("DisruptionTarget", "TerminationTarget")
"""Conditions of a Pod that Kubernetes, and Kueue, set before they delete it."""
_BY_EXIT_CODE: Final = {row.exit_code: code for code, row in TABLE.items()}


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    reason: str
    """One word for status.attempts."""
    error: Recon3dError | None
    summary: ResultSummary | None = None
    exit_code: int | None = None
    lost_engine: str | None = None
    """The engine whose container died, of a job of both; the job goes on without it."""


def started_at(pod: Mapping[str, Any]) -> str | None:
    """Return when the Pod's reconstruction began: the first of its engines' containers."""
    for status in _containers(pod):
        state = status.get("state") or {}
        inner = state.get("running") or state.get("terminated") or {}
        if inner.get("startedAt"):
            return str(inner["startedAt"])
    return None


def is_running(pod: Mapping[str, Any]) -> bool:
    """Whether one of the engines' containers runs."""
    return any((status.get("state") or {}).get("running") for status in _containers(pod))


def _containers(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the states of the engines' containers, in the order in which they run."""
    status = pod.get("status") or {}
    every = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    return [container for container in every if container.get("name") in (FIRST_ENGINE, RUNNER)]


def runner_state(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the state (waiting, running or terminated) of the runner's container; empty if there is none yet."""
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        if status.get("name") == RUNNER:
            return dict(status.get("state") or {})
    return {}


def has_ended(pod: Mapping[str, Any]) -> bool:
    """Whether the run is over: the container's end is told a moment before the Pod's own phase."""
    return is_terminal(pod) or "terminated" in runner_state(pod)


def outcome(pod: Mapping[str, Any], job_uid: str) -> Outcome | None:
    """Return how the Pod's run ended; None while it goes on."""
    if not has_ended(pod):
        return None
    ended = runner_state(pod).get("terminated") or {}
    code = ended.get("exitCode")
    summary = read_summary(str(ended.get("message") or ""), job_uid)
    if summary is not None and (lost := _lost(pod, ended, summary)) is None:
        error = summary.error
        if summary.status == "completed":
            return Outcome("Completed", None, summary, code)
        if error is None:
            return Outcome("Error", Recon3dError(Code.INTERNAL), summary, code)
        found = Recon3dError(error.code, error.message, error.details, error.suggestion)
        return Outcome(error.code.value.title().replace("_", ""), found, summary, code)
    failed = _prepared_badly(pod)
    if failed is not None:
        return failed
    lost = _lost(pod, ended, summary)
    if lost is not None:
        return lost
    if ended.get("reason") == "OOMKilled":
        return Outcome("OOMKilled", Recon3dError(Code.OUT_OF_MEMORY, details={"reason": "OOMKilled"}), None, code)
    known = _BY_EXIT_CODE.get(code) if isinstance(code, int) and code > 2 else None
    text = f"The runner ended with exit code {code} and without a result."
    return Outcome("Error", Recon3dError(known or Code.INTERNAL, None if known else text), None, code)


def read_summary(message: str, job_uid: str) -> ResultSummary | None:
    """Return the summary in a termination message; None if it is none, or another job's."""
    try:
        summary = ResultSummary.model_validate_json(message)
    except ValueError:
        return None
    return summary if summary.job_uid == job_uid else None


def _prepared_badly(pod: Mapping[str, Any]) -> Outcome | None:
    """Return the outcome if the runner never began because its folder in the store could not be made."""
    for status in (pod.get("status") or {}).get("initContainerStatuses") or ():
        ended = (status.get("state") or {}).get("terminated")
        if ended and ended.get("exitCode") and status.get("name") == FIRST_ENGINE:
            return _engine_died(pod, ended)
        if ended and ended.get("exitCode"):
            text = "The job's folder cannot be made in the store."
            return Outcome("StoreFailed", Recon3dError(Code.STORAGE_UNAVAILABLE, text), None, ended["exitCode"])
    return None


def _engine_died(pod: Mapping[str, Any], ended: Mapping[str, Any]) -> Outcome | None:
    """Return the outcome of a container whose engine ends well or badly with exit code 0, so that this is neither."""
    lost = _lost(pod, ended, None)
    if lost is not None:
        return lost
    reason, code = str(ended.get("reason") or "Error"), ended.get("exitCode")
    told = Code.OUT_OF_MEMORY if reason == "OOMKilled" else Code.INTERNAL
    text = f"The container of the engine {FIRST_ENGINE} ended ({reason}, exit code {code})."
    error = Recon3dError(told, text, {"reason": reason, "engine": FIRST_ENGINE})
    return Outcome(f"EngineLost{reason}"[:64], error, None, code, FIRST_ENGINE)


def _lost(pod: Mapping[str, Any], ended: Mapping[str, Any], summary: ResultSummary | None) -> Outcome | None:
    """Return the outcome if the run was taken away from outside, before it came to an end of its own."""
    own_end = summary is not None and summary.status != "cancelled"
    if own_end:
        return None
    status = pod.get("status") or {}
    word = str(status.get("reason") or "")
    disrupted = next(
        (c for c in status.get("conditions") or () if c.get("type") in _TAKEN_AWAY and c.get("status") == "True"),
        None,
    )
    if disrupted is not None:
        word = str(disrupted.get("reason") or disrupted["type"])
    elif word not in _LOST:
        deleted = "deletionTimestamp" in pod["metadata"]
        # SIGTERM that no cancellation of the job explains: the runner says "cancelled", or just ends with 143 or 137.
        stopped = summary is not None or (deleted and ended.get("exitCode") in (None, 137, 143))
        if not stopped and (ended or word):
            return None
        word = "Terminated" if stopped else "ContainerLost"
    text = f"The run was lost ({word})."
    node = (pod.get("spec") or {}).get("nodeName")
    details = {"reason": word, **({"node": node} if node else {})}
    return Outcome(word, Recon3dError(Code.INFRASTRUCTURE_LOST, text, details), None, ended.get("exitCode"))
