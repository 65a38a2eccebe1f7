"""ResultSummary: a job's end in at most 3.5 KiB of JSON, since the kubelet keeps 4,096 bytes of a message.

It becomes part of the CR's status, so its JSON is camelCase. Texts are cut, always the same way, and details
dropped until it fits; numbers and codes never are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from recon3d_contract.errors import Code, ErrorInfo, scrub
from recon3d_contract.phases import Phase
from recon3d_contract.spec import EngineName
from recon3d_contract.verdict import Verdict

Status = Literal["completed", "failed", "cancelled"]

MAX_SUMMARY_BYTES: Final = 3584
_Number = Annotated[float, Field(ge=-1e9, le=1e9)]
_Seconds = Annotated[float, Field(ge=0, le=1e9)]
_Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
# (bytes of each text, most reasons and warnings each, whether details stay); the last always fits.
_LEVELS: Final = ((1000, 10, True), (400, 8, True), (250, 6, False), (150, 4, False), (80, 3, False), (40, 2, False))


class _SummaryModel(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", allow_inf_nan=False, frozen=True
    )


class EngineSummary(_SummaryModel):
    """One engine in a summary."""

    phase: Phase
    verdict: Verdict | None = None
    psnr: _Number | None = None
    ssim: _Number | None = None
    seconds: _Seconds = 0.0
    faces: _Count | None = None
    vertices: _Count | None = None
    watertight: bool | None = None
    peak_memory_bytes: _Count | None = None
    code: Code | None = None
    """Its error's code."""
    message: str | None = None


class ResultSummary(_SummaryModel):
    """What the operator learns from a finished runner."""

    schema_version: Literal[1] = 1
    job_uid: Annotated[str, Field(max_length=64, pattern=r"^[-A-Za-z0-9._]*$")]
    attempt: _Count
    spec_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    status: Status
    verdict: Verdict | None = None
    engine: EngineName | None = None
    psnr: _Number | None = None
    ssim: _Number | None = None
    iou: _Number | None = None
    depth_error_pct: _Number | None = None
    leave_one_out_psnr: _Number | None = None
    faces: _Count | None = None
    reasons: list[str] = Field(default_factory=list)
    engines: dict[EngineName, EngineSummary] = Field(default_factory=dict)
    error: ErrorInfo | None = None
    warnings: list[str] = Field(default_factory=list)
    artifact_count: _Count = 0
    artifact_bytes: _Count = 0
    result_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Of result.json, as it is stored."""
    seconds: _Seconds = 0.0

    @classmethod
    def build(
        cls,
        *,
        quality: Mapping[str, Any],
        reasons: Iterable[str],
        engines: Mapping[EngineName, Mapping[str, Any]],
        error: ErrorInfo | None,
        warnings: Iterable[str],
        **facts: Any,
    ) -> ResultSummary:
        """Return the summary with as much text as fits; `quality` and `facts` are fields by name."""
        why, notes = list(reasons), list(warnings)
        for size, most, with_details in _LEVELS:
            summary = cls(
                reasons=[clip(text, size) for text in why[:most]],
                engines={
                    name: EngineSummary(**{**entry, "message": _clip_or_none(entry.get("message"), size)})
                    for name, entry in engines.items()
                },
                error=_shorten(error, size, with_details),
                warnings=[clip(text, size) for text in notes[:most]],
                **quality,
                **facts,
            )
            if len(summary.to_json().encode()) <= MAX_SUMMARY_BYTES:
                return summary
        raise AssertionError("the last level always fits")

    def to_json(self) -> str:
        """Return compact JSON; at most MAX_SUMMARY_BYTES bytes of UTF-8 for what `build` returns."""
        data = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _encoded(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode()) - 2


def clip(text: str, size: int) -> str:
    """Return `text`, scrubbed, cut to at most `size` bytes as it stands in JSON, with … where it was cut."""
    text = scrub(text)
    if _encoded(text) <= size:
        return text
    kept, used = [], len("…".encode())
    for character in text:
        used += _encoded(character)
        if used > size:
            break
        kept.append(character)
    return "".join(kept).rstrip() + "…"


def _clip_or_none(text: str | None, size: int) -> str | None:
    return None if text is None else clip(text, size)


def _shorten(error: ErrorInfo | None, size: int, with_details: bool) -> ErrorInfo | None:
    if error is None:
        return None
    details = error.details if with_details and len(json.dumps(error.details)) <= size else {}
    return error.model_copy(
        update={
            "message": clip(error.message, size),
            "suggestion": clip(error.suggestion, size),
            "details": details,
        }
    )
