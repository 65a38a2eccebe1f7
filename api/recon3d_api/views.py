"""What users see of a job: the only place where a ReconstructionJob becomes an answer."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from recon3d_contract.errors import Category, Code
from recon3d_contract.phases import TERMINAL, Phase
from recon3d_contract.spec import EngineChoice, EngineName, Profile
from recon3d_contract.verdict import Verdict

from recon3d_api.cluster.port import Object
from recon3d_api.names import BATCH, OWNER

Status = Literal["queued", "processing", "completed", "failed", "cancelled"]
STATUS_OF: Final[dict[Phase, Status]] = {
    Phase.QUEUED: "queued",
    Phase.PROCESSING: "processing",
    Phase.COMPLETED: "completed",
    Phase.FAILED: "failed",
    Phase.CANCELLED: "cancelled",
}


class View(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(frozen=True)


class Quality(View):
    """Measured on the delivered file; means over the six views."""

    verdict: Verdict | None = None
    engine: EngineName | None = None
    psnr: float | None = Field(None, description="dB, over the foreground.")
    ssim: float | None = None
    iou: float | None = Field(None, description="Of the silhouettes.")
    depth_error_pct: float | None = Field(None, description="Median, in percent of the object's diagonal.")
    leave_one_out_psnr: float | None = None
    faces: int | None = None
    reasons: list[str] = Field(default_factory=list, description="Why the verdict is not `normal`.")


class EngineView(View):
    """One engine's end."""

    status: Status
    verdict: Verdict | None = None
    psnr: float | None = None
    ssim: float | None = None
    seconds: float | None = None
    code: Code | None = None
    message: str | None = None


class ErrorView(View):
    """Why the job failed, and what to do."""

    code: Code
    category: Category
    message: str
    details: dict[str, Any] = Field(default_factory=dict)
    suggestion: str | None = None
    retryable: bool = False


class CancellationView(View):
    """Where a cancellation stands."""

    state: Literal["requested", "confirmed", "expired", "too_late"]
    requested_at: str
    expires_at: str = Field(description="A request that is not confirmed by then lapses.")


class Links(View):
    """Addresses, relative to the server."""

    self: str
    events: str
    cancel: str
    download: str
    files: str


class JobView(View):
    """A job."""

    id: str
    status: Status
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    engine: EngineChoice
    profile: Profile
    seed: int
    priority: int = 0
    batch: str | None = None
    progress: int = Field(0, ge=0, le=100, description="Percent.")
    stage: str | None = None
    running_engine: EngineName | None = None
    eta_seconds: int | None = None
    queue_position: int | None = Field(None, description="1 goes next.")
    waiting_for: str | None = None
    attempts: int = 0
    quality: Quality | None = None
    engines: dict[EngineName, EngineView] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
    error: ErrorView | None = None
    cancellation: CancellationView | None = None
    artifacts: int | None = Field(None, description="Files of the result.")
    artifact_bytes: int | None = None
    links: Links


def links_of(name: str) -> Links:
    """Return the addresses of a job."""
    at = f"/v1/jobs/{name}"
    return Links(self=at, events=f"{at}/events", cancel=f"{at}/cancel", download=f"{at}/download", files=f"{at}/files")


def job_view(obj: Object) -> JobView:
    """Return what users see of a ReconstructionJob."""
    meta, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
    phase = Phase(status.get("phase") or Phase.QUEUED)
    progress, summary = status.get("progress") or {}, status.get("summary") or {}
    running = phase is Phase.PROCESSING
    artifacts = status.get("artifacts") or {}
    return JobView(
        id=meta["name"],
        status=STATUS_OF[phase],
        created_at=meta["creationTimestamp"],
        started_at=status.get("startedAt"),
        finished_at=status.get("finishedAt"),
        engine=spec.get("engine", "nvdiffrec"),
        profile=spec.get("profile", "standard"),
        seed=spec.get("seed", 0),
        priority=spec.get("priority", 0),
        batch=(meta.get("labels") or {}).get(BATCH),
        progress=100 if phase is Phase.COMPLETED else progress.get("percent", 0),
        stage=progress.get("stage") if running else None,
        running_engine=progress.get("engine") if running else None,
        eta_seconds=progress.get("etaSeconds") if running else None,
        queue_position=status.get("queuePosition") if phase is Phase.QUEUED else None,
        waiting_for=status.get("waitingFor") if phase not in TERMINAL else None,
        attempts=len(status.get("attempts") or ()),
        quality=_quality(summary) if summary else None,
        engines={name: _engine(entry) for name, entry in (status.get("engines") or {}).items()},
        warnings=summary.get("warnings") or [],
        error=ErrorView.model_validate(status["error"]) if status.get("error") else None,
        cancellation=_cancellation(status.get("cancellation")),
        artifacts=artifacts.get("count"),
        artifact_bytes=artifacts.get("bytes"),
        links=links_of(meta["name"]),
    )


def owner_of(obj: Object) -> str | None:
    """Return the principal that a job belongs to; None for one made with kubectl."""
    owner = (obj["metadata"].get("annotations") or {}).get(OWNER)
    return None if owner is None else str(owner)


def _quality(summary: Object) -> Quality:
    return Quality(
        verdict=summary.get("verdict"),
        engine=summary.get("engine"),
        psnr=summary.get("psnr"),
        ssim=summary.get("ssim"),
        iou=summary.get("iou"),
        depth_error_pct=summary.get("depthErrorPct"),
        leave_one_out_psnr=summary.get("leaveOneOutPsnr"),
        faces=summary.get("faces"),
        reasons=summary.get("reasons") or [],
    )


def _engine(entry: Object) -> EngineView:
    return EngineView(
        status=STATUS_OF[Phase(entry["phase"])],
        **{key: entry.get(key) for key in ("verdict", "psnr", "ssim", "seconds", "code", "message")},
    )


def _cancellation(record: Object | None) -> CancellationView | None:
    if record is None:
        return None
    return CancellationView(
        state="too_late" if record["state"] == "TooLate" else record["state"].lower(),
        requested_at=record["requestedAt"],
        expires_at=record["expiresAt"],
    )
