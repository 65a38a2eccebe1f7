"""The tables: errors, phases, stages, result files; and that nothing internal leaks from an error."""

import json
import pickle
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recon3d_contract import layout
from recon3d_contract.codes import TABLE, Code
from recon3d_contract.errors import EXIT_OK, Recon3dError, exit_code, scrub
from recon3d_contract.phases import TERMINAL, TRANSITIONS, IllegalTransitionError, Phase, advance
from recon3d_contract.spec import ENGINES
from recon3d_contract.stages import STAGES, WEIGHTS, percent


def test_every_code_has_a_row_and_a_stable_word() -> None:
    assert set(TABLE) == set(Code)
    assert all(code.value == code.name for code in Code)


def test_exit_codes_are_distinct_and_leave_the_shell_its_own() -> None:
    codes = [row.exit_code for row in TABLE.values()]
    assert len(set(codes)) == len(codes)
    assert all(1 <= code <= 125 for code in codes)
    assert EXIT_OK == 0
    assert (exit_code("INTERNAL"), exit_code("INVALID_REQUEST")) == (1, 2)


@pytest.mark.parametrize("code", list(Code))
def test_rows_are_whole(code: Code) -> None:
    row = TABLE[code]
    blocks = {"validation": range(10, 30), "state": range(30, 40), "model": range(40, 50), "resource": range(50, 70)}
    assert row.exit_code in blocks[row.category] or row.exit_code in (1, 2)
    assert 400 <= row.http_status <= 599
    for text in (row.message, row.suggestion):
        assert text[0].isupper()
        assert text.endswith(".")
    if row.category == "validation":
        assert not row.retryable
        assert row.http_status < 500


def test_exit_codes_are_pinned() -> None:
    assert {code.value: row.exit_code for code, row in TABLE.items()} == {
        "INVALID_REQUEST": 2,
        "MISSING_VIEW": 10,
        "INVALID_IMAGE": 11,
        "WRONG_RESOLUTION": 12,
        "FILE_TOO_LARGE": 13,
        "UPLOAD_TOO_LARGE": 14,
        "INVALID_ARCHIVE": 15,
        "INVALID_INPUT": 16,
        "INCONSISTENT_VIEWS": 17,
        "INPUT_NOT_FOUND": 18,
        "INPUT_NOT_ALLOWED": 19,
        "CHECKSUM_MISMATCH": 20,
        "UNAUTHENTICATED": 21,
        "FORBIDDEN": 22,
        "NOT_FOUND": 23,
        "METHOD_NOT_ALLOWED": 24,
        "UNSUPPORTED_MEDIA_TYPE": 25,
        "IDEMPOTENCY_KEY_REUSED": 26,
        "RANGE_NOT_SATISFIABLE": 27,
        "JOB_NOT_FOUND": 30,
        "JOB_NOT_READY": 31,
        "JOB_ALREADY_FINISHED": 32,
        "CANCEL_NOT_REQUESTED": 33,
        "CANCELLED": 34,
        "OUTPUT_EXISTS": 35,
        "REQUEST_IN_PROGRESS": 36,
        "ENGINE_UNAVAILABLE": 40,
        "OPTIMIZATION_DIVERGED": 41,
        "QUALITY_BELOW_THRESHOLD": 42,
        "INPUT_UNREACHABLE": 50,
        "GPU_UNAVAILABLE": 51,
        "GPU_OUT_OF_MEMORY": 52,
        "OUT_OF_MEMORY": 53,
        "STORAGE_FULL": 54,
        "STORAGE_UNAVAILABLE": 55,
        "QUOTA_EXCEEDED": 56,
        "TIME_LIMIT_EXCEEDED": 57,
        "INFRASTRUCTURE_LOST": 58,
        "RATE_LIMITED": 59,
        "REQUEST_TIMEOUT": 60,
        "CLUSTER_UNAVAILABLE": 61,
        "INTERNAL": 1,
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cannot read /var/lib/recon3d/jobs/1/x.png now", "cannot read x.png now"),
        ("'/tmp/a/b.png'", "'b.png'"),
        ("in /tmp/a/", "in a folder"),
        (r"C:\Users\me\x.png", "x.png"),
        ("multi_views/front.png and/or back.png", "multi_views/front.png and/or back.png"),
        ("https://h.test/a/b/c.zip", "https://h.test/a/b/c.zip"),
        ("12/34/56", "12/34/56"),
        ('bad\nTraceback (most recent call last):\n  File "/x/y/z.py", line 1\nKeyError: 3', "bad"),
        ("a\x00b\x1b[31m\ud800c", "a b [31m c"),
    ],
)
def test_scrub(text: str, expected: str) -> None:
    assert scrub(text) == expected


def test_an_error_carries_flat_json_and_no_path() -> None:
    class Number(int):
        pass

    error = Recon3dError(
        Code.INVALID_IMAGE,
        "cannot open /srv/private/deep/front.png",
        {
            "file": "/srv/private/deep/front.png",
            "problems": [{"file": "a.png", "size": Number(3), "nested": {"x": [1]}}],
            "nan": float("nan"),
            "kind": Code.INTERNAL,
            "many": {"b", "a"},
        },
    )
    text = json.dumps(error.info().model_dump(mode="json"), allow_nan=False)
    assert "private" not in text
    assert error.details["problems"] == [{"file": "a.png", "size": 3, "nested": "{'x': [1]}"}]
    assert error.details["many"] == ["a", "b"]
    assert str(error) == error.message == "cannot open front.png"
    assert error.info().category == "validation"
    assert error.exit_code == 11
    again = pickle.loads(pickle.dumps(error))
    assert again.info() == error.info()


def test_numpy_values_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    details = Recon3dError("INTERNAL", None, {"a": numpy.float32(0.5), "b": numpy.int64(3)}).details
    assert details == {"a": 0.5, "b": 3}
    assert [type(value) for value in details.values()] == [float, int]


def test_texts_come_from_the_table_unless_given() -> None:
    error = Recon3dError("STORAGE_FULL")
    assert (error.message, error.suggestion) == ("The storage is full.", "Free some space, then try again.")
    assert Recon3dError("STORAGE_FULL", suggestion="Wait.").info().suggestion == "Wait."
    with pytest.raises(ValueError, match="NO_SUCH"):
        Recon3dError("NO_SUCH")


@given(st.text(), st.dictionaries(st.text(), st.recursive(st.integers() | st.floats() | st.text(), st.lists)))
@settings(max_examples=100, deadline=None)
def test_any_details_become_json(message: str, details: dict[str, object]) -> None:
    info = Recon3dError(Code.INTERNAL, message, details).info()
    json.dumps(info.model_dump(mode="json"), allow_nan=False, ensure_ascii=False).encode()


ALLOWED = {
    ("Queued", "Processing"),
    ("Queued", "Failed"),
    ("Queued", "Cancelled"),
    ("Processing", "Queued"),
    ("Processing", "Completed"),
    ("Processing", "Failed"),
    ("Processing", "Cancelled"),
}


@pytest.mark.parametrize(("current", "target"), list(product(Phase, Phase)))
def test_phase_changes(current: Phase, target: Phase) -> None:
    if current is target or (current.value, target.value) in ALLOWED:
        assert advance(current.value, target.value) is target
    else:
        with pytest.raises(IllegalTransitionError, match=f"from {current.value} to {target.value}"):
            advance(current, target)


def test_terminal_phases() -> None:
    assert {phase.value for phase in TERMINAL} == {"Completed", "Failed", "Cancelled"}
    assert set(TRANSITIONS) == set(Phase)


def test_stages() -> None:
    assert set(WEIGHTS) == set(ENGINES)
    assert {sum(weights.values()) for weights in WEIGHTS.values()} == {100}
    for weights in WEIGHTS.values():
        assert list(weights) == [name for name in STAGES if name in weights]
    assert percent("generate", 0.5, engine="reconviagen") == 39
    assert percent("load", 0) == 0
    assert percent("report", 1) == 100
    assert percent("geometry", 0.5) == pytest.approx(51.5)
    assert percent("geometry", 0.5, engine_index=1, engine_count=2) == pytest.approx(75.75)
    assert percent("geometry", float("nan")) == percent("geometry", -3) == percent("geometry", 0)
    with pytest.raises(ValueError, match="unknown stage"):
        percent("other", 0)


@given(st.lists(st.tuples(st.sampled_from(STAGES), st.floats(0, 1)), min_size=2, max_size=20), st.sampled_from(ENGINES))
def test_progress_never_falls(steps: list[tuple[str, float]], engine: str) -> None:
    known = [step for step in steps if step[0] in WEIGHTS[engine]]
    ordered = sorted(known, key=lambda step: (STAGES.index(step[0]), step[1]))
    values = [percent(stage, fraction, engine=engine) for stage, fraction in ordered]
    assert values == sorted(values)
    assert all(0 <= value <= 100 for value in values)


def test_files_of_a_result() -> None:
    names = layout.engine_files()
    assert len(names) == len(set(names)) == 4 + 4 + 16
    assert names[:2] == ("mesh.glb", "mesh.obj")
    assert "mesh.obj" not in layout.engine_files(["glb", "ply"])
    assert "mesh.glb" in layout.engine_files([])
    assert layout.media_type("nvdiffrec/mesh.glb") == "model/gltf-binary"
    assert layout.media_type("x") == "application/octet-stream"


def test_order_of_the_zip() -> None:
    wanted = ["result.json", "nvdiffrec/mesh.glb", "nvdiffrec/report.html", "reconviagen/mesh.glb", "odd", "run.log"]
    assert layout.zip_order(reversed(wanted)) == wanted
