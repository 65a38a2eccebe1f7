"""The ReconstructionJob: the contract's job, what only a cluster needs beside it, and the status.

`ResourceSpec` is `JobSpec` plus the operator's fields; `job_of` separates them again. crd.py makes the CRD from these
types, so that a field is described once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from recon3d_contract.errors import Category, Code
from recon3d_contract.job import parse_job
from recon3d_contract.phases import Phase
from recon3d_contract.spec import EngineName, InputSource, JobModel, JobSpec, Limits
from recon3d_contract.verdict import Verdict

GROUP: Final = "recon3d.io"
VERSION: Final = "v1alpha1"
KIND: Final = "ReconstructionJob"
PLURAL: Final = "reconstructionjobs"
CANCEL_WINDOW_S: Final = 3600

_Text = Annotated[str, Field(max_length=1024)]
_Word = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$")]
_Key = Annotated[str, Field(max_length=316)]


class Cancel(JobModel):
    """Cancelling takes two steps: request with a token of your choice, then confirm with the same one."""

    request: _Word | None = None
    """Any word, such as a random one; a new word is a new request. It lapses after an hour."""
    confirm: _Word | None = None
    """The word that `request` already holds: ends the job."""


class Deadlines(JobModel):
    """Limits that the operator keeps; limits.softSeconds is the runner's own, which ends a run cleanly."""

    queue_seconds: Annotated[int, Field(ge=1, le=30 * 86_400)] | None = None
    """The job fails if it has waited this long for its first start; without it, it waits for ever."""
    active_seconds: Annotated[int, Field(ge=1, le=8 * 86_400)] = 7500
    """A run is ended after this long, counted from its container's start."""


class Retry(JobModel):
    """What follows the loss of a run that was not the job's fault (eviction, lost node)."""

    limit: Annotated[int, Field(ge=0, le=10)] = 2
    """The most runs after the first one."""


class Toleration(JobModel):
    """As a Pod's."""

    key: _Key | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: Annotated[str, Field(max_length=63)] | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


_Quantity = Annotated[str, Field(max_length=16, pattern=r"^[0-9]+(\.[0-9]+)?(m|k|[MGT]|[KMGT]i)?$")]


class PodResources(JobModel):
    """What the runner gets beside its one accelerator."""

    cpu: _Quantity | None = None
    memory: _Quantity | None = None
    """Requested, and the most it may use, /dev/shm included."""


class PodOverrides(JobModel):
    """What a job may ask of its Pod, as far as the administrator's policy allows."""

    resources: PodResources | None = None
    node_selector: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=16)] | None = None
    tolerations: Annotated[list[Toleration], Field(max_length=16)] | None = None
    runtime_class_name: Annotated[str, Field(max_length=253)] | None = None
    priority_class_name: Annotated[str, Field(max_length=253)] | None = None


class SecretRef(JobModel):
    """A key of a Secret of the job's namespace; the Secret must have the label recon3d.io/allow=webhook."""

    name: Annotated[str, Field(max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = "secret"
    """Its value is whsec_ and base64, as Standard Webhooks has it."""


class Webhook(JobModel):
    """Who is told when the job has ended, signed by the Standard Webhooks scheme."""

    url: Annotated[str, Field(max_length=2048, pattern=r"^https://[^\s/?#@]+(/[^\s#]*)?$")]
    secret_ref: SecretRef


class ResourceSpec(JobSpec):
    """What you want reconstructed. Only cancel, suspend, priority and ttlSecondsAfterFinished can change later."""

    input: InputSource = Field()
    """Where the views are: exactly one of url, s3, upload, pvc, builtin."""
    limits: Limits = Field(default_factory=lambda: Limits(soft_seconds=7200))
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Higher goes first in the namespace's queue."""
    suspend: bool = False
    """Hold the job back while it is queued; a run that has begun goes on."""
    cancel: Cancel | None = None
    deadlines: Deadlines = Field(default_factory=Deadlines)
    retry: Retry = Field(default_factory=Retry)
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=10 * 365 * 86_400)] | None = None
    """The job is deleted, results and all, this long after it ended; without it, it is kept."""
    pod: PodOverrides | None = None
    webhook: Webhook | None = None
    queue_name: _Word | None = None
    """A Kueue LocalQueue of the namespace, where the installation has Kueue."""


OPERATOR_FIELDS: Final[frozenset[str]] = frozenset(
    to_camel(name) for name in set(ResourceSpec.model_fields) - set(JobSpec.model_fields)
)
"""Fields of the spec that the runner never sees."""


def job_of(spec: Mapping[str, Any]) -> JobSpec:
    """Return the contract's job in a resource's `spec`. Raises INVALID_REQUEST with every problem."""
    return parse_job({key: value for key, value in spec.items() if key not in OPERATOR_FIELDS}, require_input=True)


class _Status(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


class Condition(_Status):
    """One fact about the job, as Kubernetes words it."""

    type: Annotated[str, Field(max_length=64)]
    status: Literal["True", "False", "Unknown"]
    reason: Annotated[str, Field(max_length=64)]
    message: _Text = ""
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    observed_generation: int | None = None


class ProgressStatus(_Status):
    """How far the run is."""

    percent: Annotated[int, Field(ge=0, le=100)] = 0
    stage: Annotated[str, Field(max_length=64)] | None = None
    engine: EngineName | None = None
    eta_seconds: Annotated[int, Field(ge=0)] | None = None
    updated_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None


class EngineStatus(_Status):
    """One engine's end."""

    phase: Phase
    verdict: Verdict | None = None
    psnr: float | None = None
    ssim: float | None = None
    seconds: float | None = None
    faces: int | None = None
    vertices: int | None = None
    watertight: bool | None = None
    peak_memory_bytes: int | None = None
    """Of the GPU's memory, or of the process on a CPU."""
    code: Code | None = None
    message: _Text | None = None


class EnginesStatus(_Status):
    """By engine."""

    nvdiffrec: EngineStatus | None = None
    reconviagen: EngineStatus | None = None


class SummaryStatus(_Status):
    """The better engine's quality: means over the six views."""

    engine: EngineName | None = None
    verdict: Verdict | None = None
    psnr: float | None = None
    ssim: float | None = None
    iou: float | None = None
    depth_error_pct: float | None = None
    leave_one_out_psnr: float | None = None
    faces: int | None = None
    seconds: float | None = None
    reasons: Annotated[list[_Text], Field(max_length=16)] | None = None
    warnings: Annotated[list[_Text], Field(max_length=16)] | None = None


class ArtifactsStatus(_Status):
    """Where the result's files are."""

    path: Annotated[str, Field(max_length=2048)]
    """Of the published attempt's folder, in the store."""
    count: int
    bytes: int
    sha256: Annotated[str, Field(max_length=64)] | None = None
    """Of result.json, which lists every file with its own."""


class ErrorStatus(_Status):
    """Why the job failed, and what to do."""

    code: Code
    category: Category
    message: Annotated[str, Field(max_length=2048)]
    details: Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})] = {}
    suggestion: Annotated[str, Field(max_length=2048)] | None = None
    retryable: bool = False


class AttemptStatus(_Status):
    """One run."""

    number: int
    pod: Annotated[str, Field(max_length=253)]
    node: Annotated[str, Field(max_length=253)] | None = None
    started_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    finished_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    reason: Annotated[str, Field(max_length=64)] | None = None
    """Why it ended: Completed, Evicted, NodeLost ..."""
    exit_code: int | None = None
    lost_engine: EngineName | None = None
    """Of a job of both engines: the one whose container died; the next run goes on without it."""
    lost_code: Code | None = None
    """Why it died."""


class CancellationStatus(_Status):
    """Where a cancellation stands; times are the operator's."""

    token: _Word
    state: Literal["Requested", "Confirmed", "Expired", "TooLate"]
    requested_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    expires_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class WebhookStatus(_Status):
    """Where the delivery stands."""

    state: Literal["Pending", "Delivered", "Failed", "Disabled"]
    """Failed: given up. Disabled: the receiver answered 410, it wants no more."""
    attempts: int = 0
    last_status: int | None = None
    """Of the last answer."""
    last_error: _Text | None = None
    next_attempt_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    delivered_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None


class ResourceStatus(_Status):
    """What the operator knows; nobody else writes it."""

    phase: Phase | None = None
    observed_generation: int | None = None
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=16,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = []
    queue_position: Annotated[int, Field(ge=1)] | None = None
    """1 goes next. Far back it is brought up to date only now and then."""
    waiting_for: _Text | None = None
    progress: ProgressStatus | None = None
    engines: EnginesStatus | None = None
    summary: SummaryStatus | None = None
    artifacts: ArtifactsStatus | None = None
    error: ErrorStatus | None = None
    attempts: Annotated[list[AttemptStatus], Field(max_length=16)] | None = None
    cancellation: CancellationStatus | None = None
    webhook: WebhookStatus | None = None
    started_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    finished_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
