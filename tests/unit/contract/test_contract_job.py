"""The job: both spellings, every problem at once, settings, round trips, pinned defaults."""

import json
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recon3d_contract.errors import Recon3dError
from recon3d_contract.job import JobSpec, apply_settings, parse_job, spec_hash
from recon3d_contract.store import parse_reference

SHA = "ab" * 32


def problems(data: Any, **options: Any) -> dict[str, str]:
    with pytest.raises(Recon3dError) as error:
        parse_job(data, **options)
    assert error.value.code == "INVALID_REQUEST"
    return {item["path"]: item["problem"] for item in error.value.details["problems"]}


def test_defaults_are_pinned() -> None:
    assert json.loads(parse_job({}).model_dump_json(by_alias=True, exclude_none=True)) == {
        "engine": "nvdiffrec",
        "output": {"formats": ["glb", "obj", "ply"]},
        "cameras": {"views": {}},
        "depth": {"encoding": "auto", "kind": "auto"},
        "profile": "standard",
        "seed": 0,
        "deterministic": False,
        "mesh": {"budget": "desktop"},
        "texture": {"size": "auto"},
        "quality": {
            "psnrNormal": 25.0,
            "psnrWarning": 20.0,
            "ssimNormal": 0.85,
            "ssimWarning": 0.75,
            "iou": 0.97,
            "depthErrorPct": 1.0,
            "leaveOneOutPsnr": 18.0,
        },
        "nvdiffrec": {"iterations": 500, "geometryShare": 0.6, "prior": "auto"},
        "reconviagen": {
            "sparseStructureSteps": 30,
            "sparseStructureCfg": 7.5,
            "slatSteps": 12,
            "slatCfg": 7.5,
        },
        "limits": {},
    }


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown": ({"colour": 1}, "colour", "is not a field of a job"),
    "a near miss": ({"cameras": {"fov": 40}}, "cameras.fov", "did you mean fovDeg"),
    "snake case too": ({"cameras": {"fov_degg": 40}}, "cameras.fovDegg", "did you mean fovDeg"),
    "both spellings": ({"cameras": {"fov_deg": 40, "fovDeg": 40}}, "cameras.fovDeg", "given twice"),
    "fov": ({"cameras": {"fovDeg": 4.9}}, "cameras.fovDeg", "greater than or equal to 5 (is 4.9)"),
    "fov as text": ({"cameras": {"fovDeg": "40"}}, "cameras.fovDeg", "valid number"),
    "infinite": ({"cameras": {"distance": float("inf")}}, "cameras.distance", "finite"),
    "nan": ({"depth": {"near": float("nan")}}, "depth.near", "finite"),
    "roll": ({"cameras": {"views": {"top": {"rollDeg": 45}}}}, "cameras.views.top.rollDeg", "0, 90, 180 or 270"),
    "view": ({"cameras": {"views": {"tip": {}}}}, "cameras.views.tip", "'front'"),
    "engine": ({"engine": "nerf"}, "engine", "'nvdiffrec', 'reconviagen' or 'both'"),
    "bool as number": ({"seed": True}, "seed", "valid integer"),
    "negative seed": ({"seed": -1}, "seed", "greater than or equal to 0"),
    "seed too large": ({"seed": 2**32}, "seed", "less than or equal to 4294967295"),
    "texture": ({"texture": {"size": 1000}}, "texture.size", "512, 1024, 2048 or 4096"),
    "format": ({"output": {"formats": ["stl"]}}, "output.formats.0", "'glb', 'obj' or 'ply'"),
    "two limits": ({"mesh": {"budget": "web", "maxFaces": 5000}}, "mesh", "not both"),
    "order": ({"quality": {"psnrNormal": 10}}, "quality", "must not be above"),
    "range": ({"depth": {"near": 2, "far": 1}}, "depth", "near must be less than far"),
    "unit": ({"depth": {"encoding": "white-near", "unitM": 0.1}}, "depth", "metric encoding"),
    "iterations": ({"nvdiffrec": {"iterations": 0}}, "nvdiffrec.iterations", "greater than or equal to 2"),
    "a prior that nobody makes": ({"nvdiffrec": {"prior": "reconviagen"}}, "", "prior reconviagen needs engine both"),
    "not an object": ({"mesh": []}, "mesh", "object with named fields"),
    "no source": ({"input": {}}, "input", "exactly one of"),
    "two sources": ({"input": {"path": "x", "builtin": "example"}}, "input", "both path and builtin"),
    "no hash": ({"input": {"url": "https://a/b.zip"}}, "input", "url and sha256 belong together"),
    "hash alone": ({"input": {"path": "x", "sha256": SHA}}, "input", "url and sha256 belong together"),
    "http": ({"input": {"url": "http://a/b.zip", "sha256": SHA}}, "input.url", "match pattern"),
    "user name": ({"input": {"url": "https://u:p@a/b.zip", "sha256": SHA}}, "input.url", "match pattern"),
    "claim path": ({"input": {"pvc": {"claimName": "a", "path": "../x"}}}, "input.pvc.path", "relative"),
    "claim name": ({"input": {"pvc": {"claimName": "A_B"}}}, "input.pvc.claimName", "match pattern"),
    "builtin": ({"input": {"builtin": "other"}}, "input.builtin", "'example'"),
    "soft limit": ({"limits": {"softSeconds": 0}}, "limits.softSeconds", "greater than or equal to 1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong(name: str) -> None:
    data, path, text = WRONG[name]
    found = problems(data)
    assert list(found) == [path]
    assert text in found[path]


def test_everything_wrong_is_told_at_once() -> None:
    merged: dict[str, Any] = {}
    for data, path, _ in WRONG.values():
        if "." in path or path in ("engine", "colour"):
            for key, value in data.items():
                merged[key] = {**merged[key], **value} if isinstance(value, dict) and key in merged else value
    assert len(problems(merged)) >= 12


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "null", '{"seed": NaN}', '{"seed": 1, "seed": 2}', "[" * 100_000, "{}" + " " * 300_000]
)
def test_what_is_no_json_object(text: str) -> None:
    assert list(problems(text)) == [""]


def test_deep_nesting_is_refused() -> None:
    data: dict[str, Any] = {}
    for _ in range(100):
        data = {"cameras": data}
    assert any("nested too deeply" in text for text in problems(data).values())


def test_input_can_be_required() -> None:
    assert problems({}, require_input=True) == {"input": "is required"}
    assert parse_job({"input": {"builtin": "example"}}, require_input=True).input is not None


@pytest.mark.parametrize(
    ("source", "reference"),
    [
        ({"path": "views"}, "views"),
        ({"url": "https://h.test/a.zip", "sha256": SHA}, f"https://h.test/a.zip#sha256={SHA}"),
        ({"s3": "s3://bucket/a.zip"}, "s3://bucket/a.zip"),
        ({"builtin": "example"}, "builtin:example"),
        ({"pvc": {"claimName": "views", "path": "a/b"}}, None),
        ({"upload": "01234567-89ab"}, None),
    ],
)
def test_references_of_inputs(source: dict[str, Any], reference: str | None) -> None:
    found = parse_job({"input": source}).input
    assert found is not None
    assert found.reference == reference
    if reference is not None:
        assert str(parse_reference(reference)) == reference


def test_formats_always_hold_glb_in_order() -> None:
    assert parse_job({"output": {"formats": ["ply"]}}).output.formats == ["glb", "ply"]
    assert parse_job({"output": {"formats": []}}).output.formats == ["glb"]


@pytest.mark.parametrize(
    ("mesh", "limit"),
    [({}, 150_000), ({"budget": "mobile"}, 10_000), ({"budget": "full"}, None), ({"maxFaces": 777}, 777)],
)
def test_face_limits(mesh: dict[str, Any], limit: int | None) -> None:
    assert parse_job({"mesh": mesh}).mesh.face_limit == limit


@pytest.mark.parametrize(("engine", "engines"), [("nvdiffrec", 1), ("reconviagen", 1), ("both", 2)])
def test_engines_in_order(engine: str, engines: int) -> None:
    assert len(parse_job({"engine": engine}).engines) == engines


def test_the_engine_that_makes_the_prior_is_first() -> None:
    assert parse_job({"engine": "both"}).engines == ("nvdiffrec", "reconviagen")
    prior = {"engine": "both", "nvdiffrec": {"prior": "reconviagen"}}
    assert parse_job(prior).engines == ("reconviagen", "nvdiffrec")


def test_settings() -> None:
    data = {"cameras": {"fov_deg": 30}, "seed": 1}
    result = apply_settings(
        data,
        [
            "cameras.fov_deg=40",
            "cameras.views.top.rollDeg=90",
            "profile=fast",
            'output.formats=["obj"]',
            "seed=2",
            "seed=3",
        ],
    )
    assert data == {"cameras": {"fov_deg": 30}, "seed": 1}, "the argument is left alone"
    spec = parse_job(result)
    assert spec.cameras.fov_deg == 40
    assert spec.cameras.views["top"].roll_deg == 90
    assert (spec.profile, spec.seed, spec.output.formats) == ("fast", 3, ["glb", "obj"])


def test_settings_that_are_wrong_are_told_at_once() -> None:
    with pytest.raises(Recon3dError) as error:
        apply_settings({"seed": 1}, ["fov", "=3", "a..b=1", "seed.x=1", "a b=1", "profile=fast"])
    assert [item["path"] for item in error.value.details["problems"]] == ["fov", "", "a..b", "seed.x", "a b"]


def test_settings_are_checked_like_the_rest() -> None:
    with pytest.raises(Recon3dError, match="did you mean seed"):
        parse_job(apply_settings({}, ["sede=3"]))
    with pytest.raises(Recon3dError, match="valid integer"):
        parse_job(apply_settings({}, ["seed=many"]))


SPECS = st.fixed_dictionaries(
    {},
    optional={
        "engine": st.sampled_from(["nvdiffrec", "reconviagen", "both"]),
        "seed": st.integers(0, 2**32 - 1),
        "deterministic": st.booleans(),
        "cameras": st.fixed_dictionaries(
            {},
            optional={
                "fov_deg": st.floats(5, 120),
                "distance": st.floats(1e-3, 1e6),
                "views": st.dictionaries(
                    st.sampled_from(["front", "top"]), st.fixed_dictionaries({"mirror": st.booleans()})
                ),
            },
        ),
        "mesh": st.one_of(
            st.fixed_dictionaries({"maxFaces": st.integers(500, 2_000_000)}),
            st.fixed_dictionaries({"budget": st.sampled_from(["mobile", "full"])}),
        ),
        "texture": st.fixed_dictionaries({"size": st.sampled_from(["auto", 512, 4096])}),
    },
)


@given(SPECS)
@settings(max_examples=100, deadline=None)
def test_round_trip_keeps_values_and_what_was_given(data: dict[str, Any]) -> None:
    spec = parse_job(data)
    again = parse_job(spec.to_json())
    assert again == spec
    assert again.model_fields_set == spec.model_fields_set == set(data)
    assert again.cameras.model_fields_set == spec.cameras.model_fields_set
    assert spec_hash(again) == spec_hash(spec)


def test_hash_tells_jobs_apart_but_not_spellings() -> None:
    assert spec_hash(parse_job({})) == spec_hash(parse_job({"seed": 0}))
    assert spec_hash(parse_job({"seed": 1})) != spec_hash(parse_job({}))
    assert spec_hash(parse_job({"cameras": {"fov_deg": 40}})) == spec_hash(parse_job({"cameras": {"fovDeg": 40.0}}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable, max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(sorted(JobSpec.model_fields) + ["x", "fovDeg", "views"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(sorted(JobSpec.model_fields) + ["x"]), JSON, max_size=5))
@settings(max_examples=150, deadline=None)
def test_any_json_is_a_job_or_a_told_problem(data: dict[str, Any]) -> None:
    error: Recon3dError | None = None
    try:
        assert isinstance(parse_job(data), JobSpec)
    except Recon3dError as caught:
        error = caught
    if error is not None:
        assert error.code == "INVALID_REQUEST"
        assert error.details["problems"]
        json.dumps(error.info().model_dump(mode="json"), allow_nan=False)
