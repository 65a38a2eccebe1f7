"""A job of both engines in one Pod: two containers, one result; what one of them loses is not the other's loss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from runner_pods import UID, Pod


@pytest.fixture
def parts(pod: Pod, tmp_path: Path) -> Path:
    pod.spec["engine"] = "both"
    folder = tmp_path / "parts"
    folder.mkdir()
    return folder


def first(pod: Pod, parts: Path, mode: str = "good", **more: str) -> Any:
    return pod.run(mode=mode, RECON3D_ENGINE="reconviagen", RECON3D_LEAVE=str(parts), **more)


def last(pod: Pod, parts: Path, mode: str = "good", **more: str) -> Any:
    return pod.run(mode=mode, RECON3D_ENGINE="nvdiffrec", RECON3D_TAKE=str(parts), **more)


def test_two_containers_make_one_result(pod: Pod, parts: Path) -> None:
    done = first(pod, parts)
    assert done.returncode == 0, done.stderr
    assert pod.store.attempts(UID) == [], "the first container stores nothing"
    assert pod.leftovers() == []
    assert [path.name for path in parts.iterdir()] == ["reconviagen"]
    assert '"percent":100' not in done.stdout.replace(" ", "")
    done = last(pod, parts)
    assert done.returncode == 0, done.stderr
    result, message = pod.result(1), pod.message()
    assert {name: entry.verdict for name, entry in result.engines.items()} == {
        "nvdiffrec": "normal",
        "reconviagen": "normal",
    }
    assert message == result.to_summary(message.result_sha256)
    stored = {file.path: file.bytes for file in pod.store.files(UID, 1)}
    assert {"nvdiffrec/mesh.glb", "reconviagen/mesh.glb"} <= stored.keys()
    assert all(stored[artifact.path] == artifact.bytes for artifact in result.artifacts)
    assert result.spec_sha256 == message.spec_sha256
    assert result.timings.total_seconds > result.engines["reconviagen"].seconds
    assert pod.store.published(UID) == 1


@pytest.mark.parametrize("mode", ["raise:cuda", "signal:11", "raise:coded", "poor"])
def test_the_first_engines_failure_leaves_the_second_ones_result(pod: Pod, parts: Path, mode: str) -> None:
    assert first(pod, parts, mode).returncode == 0
    assert last(pod, parts).returncode == 0
    result = pod.result(1)
    assert (result.status, result.engine) == ("completed", "nvdiffrec")
    error = result.engines["reconviagen"].error
    assert error is not None
    codes = {"raise:cuda": "GPU_OUT_OF_MEMORY", "raise:coded": "INCONSISTENT_VIEWS", "poor": "QUALITY_BELOW_THRESHOLD"}
    assert error.code.value == codes.get(mode, "INTERNAL")


def test_the_first_containers_mesh_is_the_second_ones_prior(pod: Pod, parts: Path) -> None:
    pod.spec["nvdiffrec"] = {"prior": "reconviagen"}
    first(pod, parts)
    assert last(pod, parts).returncode == 0
    request = json.loads((pod.folder / "notes" / "began-nvdiffrec").read_text())["request"]
    prior, own = Path(request["prior"]), Path(request["out_dir"])
    assert prior == own.parent / "reconviagen" / "mesh.glb"
    assert {file.path.split("/")[0] for file in pod.store.files(UID, 1)} >= {"nvdiffrec", "reconviagen"}


def test_a_first_container_that_died_is_no_prior(pod: Pod, parts: Path) -> None:
    pod.spec["nvdiffrec"] = {"prior": "reconviagen"}
    assert last(pod, parts, RECON3D_LOST="reconviagen=OUT_OF_MEMORY").returncode == 0
    assert "prior_unavailable" in {warning.code for warning in pod.result(1).warnings}


def test_the_second_engines_failure_leaves_the_first_ones_result(pod: Pod, parts: Path) -> None:
    first(pod, parts)
    assert last(pod, parts, "raise:cuda").returncode == 0
    result = pod.result(1)
    assert (result.status, result.engine) == ("completed", "reconviagen")
    assert {file.path.split("/")[0] for file in pod.store.files(UID, 1)} >= {"reconviagen"}


def test_a_container_that_died_is_told_with_its_reason(pod: Pod, parts: Path) -> None:
    assert last(pod, parts, RECON3D_LOST="reconviagen=OUT_OF_MEMORY").returncode == 0
    error = pod.result(1).engines["reconviagen"].error
    assert error is not None
    assert error.code.value == "OUT_OF_MEMORY"


def test_both_failures_are_told(pod: Pod, parts: Path) -> None:
    assert first(pod, parts, "raise:cuda").returncode == 0
    assert last(pod, parts, "raise:nan").returncode != 0
    engines = pod.message().engines
    assert {name: str(entry.code and entry.code.value) for name, entry in engines.items()} == {
        "reconviagen": "GPU_OUT_OF_MEMORY",
        "nvdiffrec": "OPTIMIZATION_DIVERGED",
    }


def test_a_published_result_needs_neither(pod: Pod, parts: Path) -> None:
    first(pod, parts)
    last(pod, parts)
    for name in ("began-nvdiffrec", "began-reconviagen"):
        (pod.folder / "notes" / name).unlink()
    assert first(pod, parts).returncode == 0
    assert last(pod, parts).returncode == 0
    assert not list((pod.folder / "notes").glob("began-*"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"RECON3D_ENGINE": "reconviagen"},
        {"RECON3D_ENGINE": "other", "RECON3D_TAKE": "/p"},
        {"RECON3D_TAKE": "/p"},
        {"RECON3D_ENGINE": "nvdiffrec", "RECON3D_TAKE": "/p", "RECON3D_LEAVE": "/p"},
    ],
)
def test_variables_that_do_not_fit_are_refused(pod: Pod, parts: Path, wrong: dict[str, str]) -> None:
    pod.run(**wrong)
    error = pod.message().error
    assert error is not None
    assert error.code.value == "INVALID_REQUEST"
