"""result.json: how a job ended, what it made, and with what. Written for failures too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from recon3d_contract.conventions import ViewName
from recon3d_contract.errors import Code, ErrorInfo, Recon3dError
from recon3d_contract.phases import Phase
from recon3d_contract.quality import Count, FileModel, Psnr, Quality, Share
from recon3d_contract.spec import EngineName
from recon3d_contract.summary import ResultSummary, Status
from recon3d_contract.verdict import Outcome, Verdict, better_engine, job_status

__all__ = [
    "Artifact",
    "Conclusion",
    "EngineEntry",
    "InputRecord",
    "MeshFacts",
    "Notice",
    "Provenance",
    "Quality",
    "QualityFacts",
    "Result",
    "ResultSummary",
    "Status",
    "Timings",
    "conclude",
]

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Seconds = Annotated[float, Field(ge=0, le=1e9)]


class Notice(FileModel):
    """Something that the user should know although the job went on."""

    code: str
    """A short stable word such as `unusual_size`."""
    message: str


class QualityFacts(FileModel):
    """The numbers of quality.json that a summary shows: means over the six views."""

    psnr: Psnr
    ssim: float
    iou: Share
    depth_error_pct: float | None = None
    leave_one_out_psnr: Psnr | None = None
    worst_view: ViewName


class MeshFacts(FileModel):
    """What a summary says of the mesh."""

    vertices: Count
    faces: Count
    watertight: bool
    components: Count
    genus: int | None
    self_intersections: Count


class EngineEntry(FileModel):
    """How one engine ended."""

    phase: Phase
    """Completed, Failed or Cancelled. An engine whose verdict is failure has Failed, and its files."""
    verdict: Verdict | None = None
    reasons: list[str] = Field(default_factory=list)
    quality: QualityFacts | None = None
    mesh: MeshFacts | None = None
    seconds: Seconds = 0.0
    stage_seconds: dict[str, Seconds] = Field(default_factory=dict)
    peak_memory_bytes: Count | None = None
    """Of the device on a GPU, of the process on a CPU."""
    device: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    warnings: list[Notice] = Field(default_factory=list)
    error: ErrorInfo | None = None

    @staticmethod
    def facts_of(quality: Quality) -> tuple[QualityFacts, MeshFacts]:
        """Return the part of quality.json that an entry holds."""
        means, mesh = quality.means, quality.mesh
        return (
            QualityFacts(
                psnr=means.psnr_foreground,
                ssim=means.ssim_foreground,
                iou=means.iou,
                depth_error_pct=means.depth_error_pct,
                leave_one_out_psnr=quality.leave_one_out.mean,
                worst_view=quality.worst_view,
            ),
            MeshFacts(
                vertices=mesh.vertices,
                faces=mesh.faces,
                watertight=mesh.watertight,
                components=mesh.components,
                genus=mesh.genus,
                self_intersections=mesh.self_intersections,
            ),
        )


class Artifact(FileModel):
    """A file of the result, relative to result.json."""

    path: str
    bytes: Count
    sha256: Sha256
    media_type: str


class InputRecord(FileModel):
    """One input file as it was given."""

    name: str
    """Canonical: multi_views/front.png."""
    bytes: Count
    sha256: Sha256
    width: int
    height: int
    bit_depth: int


class Provenance(FileModel):
    """What would have to be the same to get the same result."""

    inputs: list[InputRecord] = Field(default_factory=list)
    parameters: dict[str, Any] = Field(default_factory=dict)
    """The whole job with all defaults, as its JSON."""
    seed: int = 0
    versions: dict[str, str] = Field(default_factory=dict)
    device: str = ""
    cpu: str = ""
    """Instruction set."""
    threads: int | None = None
    image_digest: str | None = None
    licences_accepted: list[str] = Field(default_factory=list)


class Timings(FileModel):
    """Wall time of the job; stages are in the engines' entries."""

    started_at: str
    """RFC 3339, UTC."""
    finished_at: str
    total_seconds: Seconds


class Result(FileModel):
    """The whole of result.json."""

    schema_version: Literal[1] = 1
    job_uid: Annotated[str, Field(max_length=64)]
    attempt: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    spec_sha256: Sha256
    """Of the job (recon3d_contract.job.spec_hash): an attempt adopts a published result of the same hash."""
    status: Status
    verdict: Verdict | None = None
    reasons: list[str] = Field(default_factory=list)
    engine: EngineName | None = None
    """The better engine, which the summary's numbers are of."""
    summary: QualityFacts | None = None
    engines: dict[EngineName, EngineEntry] = Field(default_factory=dict)
    artifacts: list[Artifact] = Field(default_factory=list)
    timings: Timings
    warnings: list[Notice] = Field(default_factory=list)
    error: ErrorInfo | None = None
    provenance: Provenance

    def to_summary(self, sha256: str | None = None) -> ResultSummary:
        """Return the part that fits a termination message; `sha256` is the stored result.json's."""
        best = self.engines.get(self.engine) if self.engine else None
        return ResultSummary.build(
            job_uid=self.job_uid,
            attempt=self.attempt,
            spec_sha256=self.spec_sha256,
            status=self.status,
            verdict=self.verdict,
            engine=self.engine,
            quality=self.summary.model_dump(exclude={"worst_view"}) if self.summary else {},
            faces=best.mesh.faces if best and best.mesh else None,
            reasons=self.reasons,
            engines={
                name: {
                    "phase": entry.phase,
                    "verdict": entry.verdict,
                    "psnr": entry.quality.psnr if entry.quality else None,
                    "ssim": entry.quality.ssim if entry.quality else None,
                    "seconds": entry.seconds,
                    "faces": entry.mesh.faces if entry.mesh else None,
                    "vertices": entry.mesh.vertices if entry.mesh else None,
                    "watertight": entry.mesh.watertight if entry.mesh else None,
                    "peak_memory_bytes": entry.peak_memory_bytes,
                    "code": entry.error.code if entry.error else None,
                    "message": entry.error.message if entry.error else None,
                }
                for name, entry in self.engines.items()
            },
            error=self.error,
            warnings=[f"{warning.code}: {warning.message}" for warning in self.warnings],
            artifact_count=len(self.artifacts),
            artifact_bytes=sum(artifact.bytes for artifact in self.artifacts),
            result_sha256=sha256,
            seconds=self.timings.total_seconds,
        )


@dataclass(frozen=True)
class Conclusion:
    """What the engines' entries make of the job."""

    status: Status
    verdict: Verdict | None
    reasons: list[str]
    engine: EngineName | None
    summary: QualityFacts | None
    error: ErrorInfo | None


def conclude(engines: Mapping[EngineName, EngineEntry]) -> Conclusion:
    """Return the job's end: the better engine speaks; an error only where no engine is normal or warning."""
    outcomes: dict[str, Outcome] = {
        name: Outcome(
            verdict=entry.verdict,
            psnr=entry.quality.psnr if entry.quality else None,
            ssim=entry.quality.ssim if entry.quality else None,
            cancelled=entry.phase is Phase.CANCELLED,
        )
        for name, entry in engines.items()
    }
    status = job_status(outcomes)
    chosen = better_engine(outcomes)
    best = next((name for name in engines if name == chosen), None)
    entry = engines[best] if best else None
    error: ErrorInfo | None = None
    if status == "cancelled":
        error = Recon3dError(Code.CANCELLED).info()
    elif status == "failed":
        error = _failure(entry, engines)
    return Conclusion(
        status=status,
        verdict=entry.verdict if entry else None,
        reasons=list(entry.reasons) if entry else [],
        engine=best,
        summary=entry.quality if entry else None,
        error=error,
    )


def _failure(best: EngineEntry | None, engines: Mapping[EngineName, EngineEntry]) -> ErrorInfo:
    """The error of the engine that got furthest, else of the first that has one."""
    if best is not None and best.error is None:
        reasons = "; ".join(best.reasons)
        return Recon3dError(Code.QUALITY_BELOW_THRESHOLD, reasons or None, {"reasons": best.reasons}).info()
    told = [best.error] if best is not None else [entry.error for entry in engines.values()]
    return next((error for error in told if error is not None), Recon3dError(Code.INTERNAL).info())
