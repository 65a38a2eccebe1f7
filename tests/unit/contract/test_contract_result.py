"""Verdicts as a table; what the engines' ends make of the job; and the summary that always fits."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recon3d_contract.codes import Code
from recon3d_contract.errors import ErrorInfo, Recon3dError
from recon3d_contract.job import parse_job
from recon3d_contract.phases import Phase
from recon3d_contract.quality import ViewQuality
from recon3d_contract.result import EngineEntry, Notice, Provenance, QualityFacts, Result, Timings, conclude
from recon3d_contract.summary import MAX_SUMMARY_BYTES, ResultSummary, clip
from recon3d_contract.verdict import Measured, Outcome, better_engine, job_status, judge

GOOD = Measured(psnr=30, ssim=0.95, iou=0.99, depth_error_pct=0.1, leave_one_out_psnr=25)

CASES = [
    ({}, "normal", []),
    ({"depth_error_pct": None, "leave_one_out_psnr": None}, "normal", []),
    ({"psnr": 25, "ssim": 0.85, "iou": 0.97, "depth_error_pct": 1.0, "leave_one_out_psnr": 18}, "normal", []),
    ({"psnr": 24.99}, "warning", ["PSNR 24.99 dB is below 25 dB, the least for normal"]),
    ({"psnr": 20}, "warning", ["PSNR 20.0 dB is below 25 dB"]),
    ({"psnr": 19.999}, "failure", ["PSNR 19.999 dB is below 20 dB, the least for warning"]),
    ({"ssim": 0.849}, "warning", ["SSIM 0.849 is below 0.85"]),
    ({"ssim": 0.74}, "failure", ["SSIM 0.740 is below 0.75"]),
    ({"psnr": 21, "ssim": 0.5}, "failure", ["PSNR 21.0", "SSIM 0.500"]),
    ({"iou": 0.9699}, "warning", ["silhouettes agree only to IoU 0.9699, below 0.97"]),
    ({"depth_error_pct": 1.2}, "warning", ["median depth error 1.20 % of the diagonal, above 1 %"]),
    ({"leave_one_out_psnr": 17.9}, "warning", ["predicted from the others reaches only 17.9 dB, below 18 dB"]),
    ({"psnr": 22, "iou": 0.5, "depth_error_pct": 9}, "warning", ["PSNR", "silhouettes", "depth error"]),
    ({"psnr": 10, "iou": 0.5}, "failure", ["PSNR", "silhouettes"]),
    ({"psnr": math.nan}, "failure", ["PSNR could not be measured"]),
    ({"ssim": math.nan}, "failure", ["SSIM could not be measured"]),
    ({"iou": math.nan}, "warning", ["silhouettes"]),
    ({"depth_error_pct": math.nan}, "warning", ["depth error"]),
    ({"leave_one_out_psnr": math.nan}, "warning", ["predicted"]),
    ({"psnr": math.inf}, "normal", []),
    ({"confidence": 0.5}, "normal", []),
    ({"confidence": 0.4999}, "warning", ["angle of view: confidence 0.4999, below 0.5"]),
    ({"confidence": math.nan}, "warning", ["angle of view"]),
    ({"confidence": 0.3, "psnr": 10}, "failure", ["PSNR", "angle of view"]),
]


@pytest.mark.parametrize(("change", "verdict", "reasons"), CASES)
def test_verdicts(change: dict[str, Any], verdict: str, reasons: list[str]) -> None:
    found = judge(Measured(**{**GOOD.__dict__, **change}))
    assert found.verdict == verdict
    assert len(found.reasons) == len(reasons)
    for reason, part in zip(found.reasons, reasons, strict=True):
        assert part in reason


def test_thresholds_of_the_job_count() -> None:
    strict = parse_job({"quality": {"psnrNormal": 40, "leaveOneOutPsnr": 30}}).quality
    assert len(judge(GOOD, strict).reasons) == 2


finite, share = st.floats(0, 60), st.floats(0, 1)
MEASURED = st.builds(Measured, finite, share, share, st.none() | st.floats(0, 5), st.none() | finite, st.none() | share)


@given(MEASURED, st.sampled_from(["psnr", "ssim", "iou", "leave_one_out_psnr", "confidence"]), st.floats(0, 1))
@settings(deadline=None)
def test_a_better_value_never_gives_a_worse_verdict(measured: Measured, name: str, more: float) -> None:
    rank = ["failure", "warning", "normal"]
    value = getattr(measured, name)
    if value is None:
        return
    better = Measured(**{**measured.__dict__, name: value + more})
    assert rank.index(judge(better).verdict) >= rank.index(judge(measured).verdict)
    assert bool(judge(measured).reasons) == (judge(measured).verdict != "normal")


@pytest.mark.parametrize(
    ("a", "b", "best"),
    [
        (Outcome("normal", 30, 0.9), Outcome("normal", 31, 0.8), "reconviagen"),
        (Outcome("normal", 26, 0.9), Outcome("warning", 40, 0.99), "nvdiffrec"),
        (Outcome("warning", 30, 0.9), Outcome("warning", 30, 0.9), "nvdiffrec"),
        (Outcome("warning", 30, 0.8), Outcome("warning", 30, 0.9), "reconviagen"),
        (Outcome("failure", None, None), Outcome(None), "nvdiffrec"),
        (Outcome(None), Outcome("failure", 3, 0.1), "reconviagen"),
        (Outcome(None), Outcome(None), None),
        (Outcome("normal", math.nan, 0.9), Outcome("normal", 20, 0.1), "reconviagen"),
    ],
)
def test_the_better_engine(a: Outcome, b: Outcome, best: str | None) -> None:
    assert better_engine({"nvdiffrec": a, "reconviagen": b}) == best
    assert better_engine({"reconviagen": b, "nvdiffrec": a}) == best


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ([Outcome("normal")], "completed"),
        ([Outcome("warning")], "completed"),
        ([Outcome("failure")], "failed"),
        ([Outcome(None)], "failed"),
        ([Outcome("failure"), Outcome("warning")], "completed"),
        ([Outcome(None), Outcome("normal")], "completed"),
        ([Outcome("failure"), Outcome(None)], "failed"),
        ([Outcome("normal"), Outcome(None, cancelled=True)], "cancelled"),
        ([], "failed"),
    ],
)
def test_status_of_the_job(outcomes: list[Outcome], status: str) -> None:
    assert job_status({str(i): outcome for i, outcome in enumerate(outcomes)}) == status


def entry(verdict: str | None, psnr: float = 30, code: Code | None = None, **more: Any) -> EngineEntry:
    quality = QualityFacts(psnr=psnr, ssim=0.9, iou=0.98, worst_view="top") if verdict else None
    phase = Phase.COMPLETED if verdict in ("normal", "warning") else Phase.FAILED
    error = Recon3dError(code).info() if code else None
    return EngineEntry(**{"phase": phase, "verdict": verdict, "quality": quality, "error": error, **more})


def test_both_with_one_failed_engine_is_completed_by_the_other() -> None:
    end = conclude({"nvdiffrec": entry(None, code=Code.OPTIMIZATION_DIVERGED), "reconviagen": entry("warning")})
    assert (end.status, end.verdict, end.engine, end.error) == ("completed", "warning", "reconviagen", None)
    assert end.summary is not None
    assert end.summary.psnr == 30


def test_below_the_threshold_fails_with_reasons() -> None:
    end = conclude({"nvdiffrec": entry("failure", 12, reasons=["PSNR 12.0 dB is below 20 dB"])})
    assert (end.status, end.engine) == ("failed", "nvdiffrec")
    assert end.error is not None
    assert end.error.code == "QUALITY_BELOW_THRESHOLD"
    assert end.error.details == {"reasons": ["PSNR 12.0 dB is below 20 dB"]}


def test_the_error_of_the_engine_that_got_furthest_speaks() -> None:
    engines = {"nvdiffrec": entry(None, code=Code.INTERNAL), "reconviagen": entry("failure", 10)}
    end = conclude(engines)  # type: ignore[arg-type]
    assert end.error is not None
    assert end.error.code == "QUALITY_BELOW_THRESHOLD"
    end = conclude({"nvdiffrec": entry(None, code=Code.GPU_OUT_OF_MEMORY), "reconviagen": entry(None)})
    assert end.error is not None
    assert end.error.code == "GPU_OUT_OF_MEMORY"


def test_a_cancelled_engine_cancels_the_job() -> None:
    end = conclude({"nvdiffrec": entry("normal"), "reconviagen": entry(None, phase=Phase.CANCELLED)})
    assert end.status == "cancelled"
    assert end.error is not None
    assert end.error.code == "CANCELLED"


def result(**changes: Any) -> Result:
    base: dict[str, Any] = {
        "job_uid": "0b9f5c1e-7d1c-4a58-9d0c-0123456789ab",
        "spec_sha256": "ab" * 32,
        "status": "completed",
        "timings": Timings(started_at="2026-01-01T00:00:00Z", finished_at="2026-01-01T00:01:00Z", total_seconds=60),
        "provenance": Provenance(),
    }
    return Result(**{**base, **changes})


def test_result_round_trip() -> None:
    whole = result(engines={"nvdiffrec": entry("normal")}, engine="nvdiffrec", verdict="normal")
    assert Result.model_validate_json(whole.to_json()) == whole
    assert whole.to_json().endswith("}\n")
    with pytest.raises(ValueError, match="extra"):
        Result.model_validate_json(whole.to_json().replace('"status"', '"statuz"', 1))


def test_a_perfect_match_is_a_number() -> None:
    view = ViewQuality(psnr_foreground=math.inf, ssim_foreground=1, psnr_full=math.inf, ssim_full=1, iou=1)
    assert json.loads(view.to_json())["psnr_full"] == 100
    with pytest.raises(ValueError, match="finite"):
        ViewQuality(psnr_foreground=math.nan, ssim_foreground=1, psnr_full=1, ssim_full=1, iou=1)


LONG = st.one_of(
    st.text(max_size=60),
    st.builds(lambda text, count: text * count, st.text(min_size=1, max_size=8), st.integers(1, 600)),
    st.sampled_from(
        ['"' * 2000, "\\" * 2000, "\0" * 2000, "\U0001f600" * 2000, "é" * 2000, "\ud800" * 2000, "/a/b" * 500]
    ),
)
NUMBER = st.floats(0, 1e9)
ERRORS = st.builds(
    lambda code, message, suggestion, details: ErrorInfo(
        code=code, category="resource", message=message, suggestion=suggestion, retryable=True, details=details
    ),
    st.sampled_from(Code),
    LONG,
    LONG,
    st.dictionaries(st.text(max_size=20), LONG | st.lists(LONG, max_size=30), max_size=10),
)
FACTS = st.builds(
    lambda psnr, iou, view: QualityFacts(
        psnr=psnr, ssim=iou, iou=iou, depth_error_pct=psnr, leave_one_out_psnr=psnr, worst_view=view
    ),
    NUMBER,
    st.floats(0, 1),
    st.sampled_from(["front", "bottom"]),
)
ENTRIES = st.builds(
    lambda verdict, quality, seconds, error, reasons: EngineEntry(
        phase=Phase.PROCESSING, verdict=verdict, quality=quality, seconds=seconds, error=error, reasons=reasons
    ),
    st.sampled_from([None, "normal", "warning", "failure"]),
    st.none() | FACTS,
    NUMBER,
    st.none() | ERRORS,
    st.lists(LONG, max_size=3),
)


@given(
    ENTRIES,
    ENTRIES,
    st.lists(LONG, max_size=30),
    st.lists(st.builds(lambda code, text: Notice(code=code, message=text), LONG, LONG), max_size=30),
    st.none() | ERRORS,
    st.none() | FACTS,
    st.text("abcXYZ-_.9", max_size=64),
    NUMBER,
)
@settings(max_examples=150, deadline=None)
def test_the_summary_always_fits(
    first: EngineEntry,
    second: EngineEntry,
    reasons: list[str],
    notices: list[Notice],
    error: ErrorInfo | None,
    facts: QualityFacts | None,
    uid: str,
    seconds: float,
) -> None:
    whole = result(
        job_uid=uid,
        attempt=1_000_000,
        status="cancelled",
        verdict="failure",
        engine="reconviagen",
        summary=facts,
        engines={"nvdiffrec": first, "reconviagen": second},
        reasons=reasons,
        warnings=notices,
        error=error,
        timings=Timings(started_at="", finished_at="", total_seconds=seconds),
    )
    text = whole.to_summary().to_json()
    assert len(text.encode()) <= MAX_SUMMARY_BYTES
    assert text == whole.to_summary().to_json(), "always the same"
    read = ResultSummary.model_validate_json(text)
    assert read.engines["nvdiffrec"].code == (first.error.code if first.error else None)
    assert read.psnr == (facts.psnr if facts else None)
    assert (read.error.code if read.error else None) == (error.code if error else None)


def test_the_largest_summary_fits() -> None:
    """Every field at its longest, with characters that are six bytes in JSON."""
    worst = "\U0001f600" * 3000
    failed = Recon3dError(Code.QUALITY_BELOW_THRESHOLD, worst, {"problems": [{"file": worst}] * 40}, worst).info()
    facts = QualityFacts(
        psnr=99.12345678901234, ssim=0.123456789012345, iou=0.123456789012345, depth_error_pct=123456.78901234567,
        leave_one_out_psnr=12.345678901234567, worst_view="bottom",
    )  # fmt: skip
    engine = EngineEntry(
        phase=Phase.PROCESSING, verdict="warning", quality=facts, seconds=123456789.12345678, error=failed
    )
    whole = result(
        job_uid="x" * 64, attempt=1_000_000, status="cancelled", verdict="warning", reasons=[worst] * 50,
        engine="reconviagen", summary=facts, engines={"nvdiffrec": engine, "reconviagen": engine},
        warnings=[Notice(code=worst, message=worst)] * 50, error=failed,
    )  # fmt: skip
    assert len(whole.to_summary().to_json().encode()) <= MAX_SUMMARY_BYTES


def test_a_small_summary_is_whole_and_camel_case() -> None:
    failed = Recon3dError(Code.MISSING_VIEW, "top is missing", {"problems": [{"view": "top"}]}).info()
    data = json.loads(result(status="failed", error=failed, reasons=["why"]).to_summary().to_json())
    assert data["error"]["details"] == {"problems": [{"view": "top"}]}
    assert data["reasons"] == ["why"]
    assert {"jobUid", "specSha256", "artifactCount"} <= set(data)


@given(LONG, st.integers(10, 300))
@settings(deadline=None)
def test_clip(text: str, size: int) -> None:
    cut = clip(text, size)
    assert len(json.dumps(cut, ensure_ascii=False).encode()) - 2 <= size
    assert clip(cut, size) == cut
