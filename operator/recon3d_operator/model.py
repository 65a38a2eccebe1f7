"""What rules look at and what they answer. Everything is immutable; times are seconds since 1970."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recon3d_contract.errors import Recon3dError
from recon3d_contract.phases import TERMINAL, Phase

from recon3d_operator.names import ATTEMPT, JOB_UID
from recon3d_operator.times import parse

Object = dict[str, Any]
Key = tuple[str, str]
"""(namespace, name) of a job."""


@dataclass(frozen=True)
class Blocked:
    """Why the head of a queue was refused, as the API server put it."""

    reason: str
    message: str


@dataclass(frozen=True)
class Turn:
    """A job's place in its namespace's queue."""

    position: int
    """1 goes next."""
    granted: bool = False
    """Whether it may start now."""
    gate: str = ""
    """What the queue waits for, in words."""
    blocked: Blocked | None = None
    """The last refusal of the head, which may be this very job."""
    refresh: bool = False
    """Whether a position that has only moved a little shall be written too."""


@dataclass(frozen=True)
class Event:
    """A core/v1 Event to record once the status is written."""

    kind: str
    """Normal or Warning."""
    reason: str
    message: str


@dataclass(frozen=True)
class Decision:
    """What shall be so. Each part is idempotent; apply.py carries it out."""

    status: Mapping[str, Any]
    """The whole new status; the old one if nothing changes."""
    create: int | None = None
    """Number of the attempt whose Pod to make."""
    delete: tuple[Object, ...] = ()
    """Pods to delete."""
    grace_s: int | None = None
    """Of the Pods to delete; None is their own."""
    remove_job: bool = False
    waits: bool = False
    """Whether the job belongs into its namespace's queue."""
    events: tuple[Event, ...] = ()
    look_again_at: float | None = None
    """When time alone would change the decision."""


@dataclass(frozen=True)
class Observed:
    """One job and what belongs to it."""

    job: Object
    pods: tuple[Object, ...] = ()
    """Its own, whatever their attempt."""
    turn: Turn | None = None
    """None unless it waits in the queue."""
    progress: Mapping[str, Any] | None = None
    """The latest that its runner told."""
    found: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)
    """Conditions that are not worked out from the job and its Pods: GPUCapacity, WebhookReady, where known."""
    refused: Recon3dError | None = None
    """Why the job cannot run here: it names what it may not use, or the API server refuses its Pod for good."""
    by_number: Mapping[int, Object] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_number", {attempt_of(pod): pod for pod in self.pods})

    @property
    def spec(self) -> Mapping[str, Any]:
        """The job's spec."""
        return dict(self.job["spec"])

    @property
    def status(self) -> Mapping[str, Any]:
        """The status as last written."""
        return dict(self.job.get("status") or {})

    @property
    def phase(self) -> Phase | None:
        """The phase as last written."""
        return phase_of(self.job)

    @property
    def attempts(self) -> list[Mapping[str, Any]]:
        """The recorded runs, oldest first."""
        return list(self.status.get("attempts") or [])

    @property
    def latest(self) -> int:
        """Number of the latest attempt that left a trace; 0 if there was none."""
        recorded = [int(attempt["number"]) for attempt in self.attempts]
        return max([*recorded, *self.by_number], default=0)


def phase_of(job: Mapping[str, Any]) -> Phase | None:
    """Return the phase as last written."""
    text = (job.get("status") or {}).get("phase")
    return Phase(text) if text else None


def is_over(job: Mapping[str, Any]) -> bool:
    """Whether the job is in a final phase."""
    return phase_of(job) in TERMINAL


def key_of(obj: Mapping[str, Any]) -> Key:
    """Return an object's namespace and name."""
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def attempt_of(pod: Mapping[str, Any]) -> int:
    """Return the number of a runner Pod's attempt; 0 for what is none."""
    text = str((pod["metadata"].get("labels") or {}).get(ATTEMPT, ""))
    return int(text) if text.isdecimal() else 0


def job_uid_of(pod: Mapping[str, Any]) -> str:
    """Return the uid of the job that a Pod belongs to."""
    return str((pod["metadata"].get("labels") or {}).get(JOB_UID, ""))


def is_terminal(pod: Mapping[str, Any]) -> bool:
    """Whether a Pod has ended and gives its resources back."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def deletion_time(pod: Mapping[str, Any]) -> float | None:
    """Return when a Pod's grace time ends, if it is being deleted."""
    return parse(pod["metadata"].get("deletionTimestamp"))
