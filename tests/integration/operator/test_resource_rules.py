"""The CRD on a real API server: what it fills in, what it refuses, and that a refusal reads like advice."""

from __future__ import annotations

import itertools

import pytest
from kubecluster.client import JOBS, Refused

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120, func_only=True)]
_numbers = itertools.count(1)


@pytest.fixture
def create(admin, jobs):
    def make(**spec):
        return jobs.create("default", f"rule-{next(_numbers)}", **spec)

    yield make
    for job in admin.items(f"{JOBS}/namespaces/default/reconstructionjobs"):
        admin.delete(jobs.path("default", job["metadata"]["name"]))


def test_defaults(create):
    spec = create()["spec"]
    assert spec == {
        "engine": "nvdiffrec",
        "profile": "standard",
        "seed": 0,
        "deterministic": False,
        "input": {"builtin": "example"},
        "limits": {"softSeconds": 7200},
        "priority": 0,
        "suspend": False,
        "deadlines": {"activeSeconds": 7500},
        "retry": {"limit": 2},
    }


@pytest.mark.parametrize(
    ("spec", "advice"),
    [
        ({"input": {}}, "input needs exactly one of url, s3, upload, pvc, builtin"),
        ({"input": {"builtin": "example", "upload": "12345678"}}, "input needs exactly one of"),
        ({"input": {"url": "https://a.example/x.zip"}}, "belong together"),
        ({"input": {"pvc": {"claimName": "c", "path": "../x"}}}, "must be relative"),
        ({"engine": "nvdiffrec", "reconviagen": {"slatSteps": 3}}, "engine that is not chosen"),
        ({"engine": "reconviagen", "nvdiffrec": {"iterations": 30}}, "engine that is not chosen"),
        ({"nvdiffrec": {"prior": "reconviagen"}}, "set engine to both, or another prior"),
        ({"limits": {"softSeconds": 9000}}, "raise the one or lower the other"),
        ({"depth": {"near": 2, "far": 1}}, "depth.near must be less than depth.far"),
        ({"depth": {"encoding": "white-near", "unitM": 0.001}}, "set depth.encoding to metric"),
        ({"mesh": {"budget": "web", "maxFaces": 1000}}, "not both"),
        ({"quality": {"psnrWarning": 26}}, "must not be above"),
        ({"quality": {"ssimNormal": 0.5}}, "must not be above"),
        ({"cancel": {"request": "a"}}, "create the job without it"),
        ({"engine": "blender"}, 'supported values: "nvdiffrec", "reconviagen", "both"'),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"cameras": {"fovDeg": 3}}, "greater than or equal to 5"),
        ({"texture": {"size": 777}}, 'supported values: "auto"'),
    ],
)
def test_what_is_refused_at_creation(create, spec, advice):
    with pytest.raises(Refused) as caught:
        create(**spec)
    assert caught.value.status == 422
    assert advice in caught.value.message


@pytest.mark.parametrize(
    "change",
    [{"engine": "both"}, {"seed": 5}, {"input": {"builtin": None, "upload": "12345678"}}, {"mesh": {"budget": "web"}},
     {"retry": {"limit": 5}}, {"output": {"formats": ["glb"]}}],
)  # fmt: skip
def test_what_cannot_change(create, jobs, change):
    name = create()["metadata"]["name"]
    with pytest.raises(Refused, match="cannot change after creation; create a new job"):
        jobs.change("default", name, **change)


def test_what_can_change(create, jobs):
    name = create()["metadata"]["name"]
    jobs.change("default", name, priority=4, suspend=True, ttlSecondsAfterFinished=60, cancel={"request": "a"})
    jobs.change("default", name, cancel={"request": "b"})
    jobs.change("default", name, cancel=None)
    assert jobs.get("default", name)["spec"]["priority"] == 4


def test_cancelling_takes_its_two_steps(create, jobs):
    name = create()["metadata"]["name"]
    for cancel in ({"confirm": "a"}, {"request": "a", "confirm": "a"}):
        with pytest.raises(Refused, match=r"set cancel\.request first"):
            jobs.change("default", name, cancel=cancel)
    jobs.change("default", name, cancel={"request": "a"})
    for cancel in ({"confirm": "b"}, {"request": "b", "confirm": "b"}):
        with pytest.raises(Refused, match=r"set cancel\.request first"):
            jobs.change("default", name, cancel=cancel)
    jobs.change("default", name, cancel={"confirm": "a"})
    for change in ({"cancel": {"request": "c"}}, {"cancel": None}, {"suspend": True}, {"priority": 5}):
        with pytest.raises(Refused, match="the cancellation is confirmed"):
            jobs.change("default", name, **change)
    jobs.change("default", name, ttlSecondsAfterFinished=5)


def test_jobs_are_found_by_engine_and_phase(create, admin):
    create(engine="both")
    selected = f"{JOBS}/namespaces/default/reconstructionjobs?fieldSelector=spec.engine%3Dboth"
    assert len(admin.items(selected)) == 1
    assert admin.items(selected.replace("spec.engine%3Dboth", "status.phase%3DCompleted")) == []


def test_a_long_name_is_refused(jobs):
    with pytest.raises(Refused, match="at most 63 characters"):
        jobs.create("default", "x" * 64)
