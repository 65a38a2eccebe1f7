"""A job's life on a real node: by kubectl, over REST, in a queue, cancelled, judged a failure, refused."""

from __future__ import annotations

import io
import json
import time
import zipfile
from typing import Any

import pytest
from e2e_world import DIES, FULL, GENERATES, LASTS, NAMESPACE, ROOT, World, full_zip, seconds_between, small_zip
from kubecluster.client import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.needs("node", "images", "helm"), pytest.mark.timeout(900, func_only=True)]
OVERHEAD_S = 5.0


def test_the_installation_is_ready(world: World, figure):
    for part in ("operator", "api"):
        (pod,) = world.pods(part)
        conditions = {c["type"]: c["lastTransitionTime"] for c in pod["status"]["conditions"]}
        seconds = seconds_between(pod["status"]["startTime"], conditions["Ready"])
        figure(f"{part} ready {seconds:.0f} s after its Pod's start")
        assert seconds < 30
    status, text = world.rest("GET", "/health")
    assert status == 200, text


def test_kubectl_apply_wait_and_the_result_is_in_the_store(world: World, figure):
    job = (ROOT / "examples/job.yaml").read_text()
    began = time.monotonic()
    world.kubectl("apply", "-n", NAMESPACE, "-f", "-", text=job)
    world.kubectl("wait", "-n", NAMESPACE, "--for=condition=Succeeded", "--timeout=180s", "reconstructionjob/example")
    wall = time.monotonic() - began
    status, result = world.status("example"), world.result("example")
    assert status["phase"] == "Completed"
    assert status["summary"]["psnr"] == pytest.approx(result["summary"]["psnr"], abs=0.01)
    assert result["provenance"]["licences_accepted"] == ["nvdiffrast", "vggt-weights"]
    overhead = wall - float(status["summary"]["seconds"])
    figure(f"apply -> Completed {wall:.1f} s, the runner's own {status['summary']['seconds']:.1f} s: {overhead:.1f} s")
    assert status["summary"]["verdict"] in world.kubectl("get", "-n", NAMESPACE, "reconstructionjob", "example")
    world.remove("example")


def test_the_example_at_its_real_size_over_rest_from_upload_to_zip(world: World, figure):
    name = upload(world, full_zip())
    summary = world.wait(name, "Completed", seconds=900)["summary"]
    figure(f"{summary['seconds']:.0f} s, PSNR {summary['psnr']:.2f} dB, {summary['verdict']}")
    assert summary["verdict"] == "normal"
    assert world.result(name)["engines"]["nvdiffrec"]["mesh"]["genus"] == 2  # its two holes
    assert {entry.rsplit("/", 1)[-1] for entry in download(world, name)} >= {"mesh.glb", "report.html", "result.json"}
    assert world.rest("DELETE", f"/jobs/{name}")[0] == 204
    eventually(lambda: world.rest("GET", f"/jobs/{name}")[0] == 404, what="the job is gone")


def form(archive: bytes) -> tuple[bytes, str]:
    """A form with the archive and the profile `fast`; and its content type."""
    head = '--recon3d\r\nContent-Disposition: form-data; name="archive"; filename="views.zip"\r\n\r\n'
    field = '\r\n--recon3d\r\nContent-Disposition: form-data; name="profile"\r\n\r\nfast\r\n--recon3d--\r\n'
    return head.encode() + archive + field.encode(), "multipart/form-data; boundary=recon3d"


def upload(world: World, archive: bytes) -> str:
    status, answer = world.rest("POST", "/jobs", *form(archive))
    assert status == 202, answer
    return str(json.loads(answer)["id"])


def download(world: World, name: str) -> list[str]:
    """The names of the files in the result's ZIP, all of which can be read."""
    status, archive = world.rest("GET", f"/jobs/{name}/download")
    assert status == 200, archive
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        assert packed.testzip() is None
        return packed.namelist()


def test_of_two_jobs_for_one_gpu_the_second_queues_and_runs_after(world: World):
    world.submit("first", mesh=LASTS)
    world.runs("first")
    world.submit("second")
    eventually(lambda: world.status("second").get("queuePosition") == 1, what="the second has a place")
    assert world.reason("second") == "QuotaExceeded"
    assert not world.runner_pods("second")
    world.wait("first", "Completed")
    ended = world.status("first")["finishedAt"]
    started = world.wait("second", "Processing", "Completed")
    world.wait("second", "Completed")
    assert seconds_between(ended, started["startedAt"]) >= 0
    world.remove("first", "second")


def test_cancelling_takes_two_steps_and_ends_the_pod(world: World, figure):
    world.submit("cancelled", mesh=LASTS)
    world.runs("cancelled")
    world.change("cancelled", cancel={"request": "word"})
    eventually(lambda: world.status("cancelled").get("cancellation"), what="the request is seen")
    assert world.status("cancelled")["phase"] == "Processing"
    world.change("cancelled", cancel={"request": "word", "confirm": "word"})
    began = time.monotonic()
    world.wait("cancelled", "Cancelled", seconds=30)
    figure(f"cancelled after {time.monotonic() - began:.1f} s")
    world.remove("cancelled")


def test_cancelling_over_rest_takes_two_steps_as_well(world: World):
    name = upload(world, small_zip())
    assert json.loads(world.rest("POST", f"/jobs/{name}/cancel")[1])["status"] == "cancel_requested"
    status, answer = world.rest("POST", f"/jobs/{name}/cancel?confirm=true")
    assert status == 200, answer
    world.wait(name, "Cancelled", seconds=30)
    world.remove(name)


def test_a_poor_result_fails_and_keeps_its_files(world: World):
    strict = {"psnrNormal": 99, "psnrWarning": 98}
    world.submit("poor", quality=strict)
    status = world.wait("poor", "Failed")
    assert status["error"]["code"] == "QUALITY_BELOW_THRESHOLD"
    assert [file["path"] for file in world.result("poor")["artifacts"] if file["path"].endswith("mesh.glb")]
    world.remove("poor")


def test_a_broken_upload_is_refused_with_every_reason(world: World):
    archive = small_zip(multi_views__top=None, multi_views__left=b"no picture")
    status, answer = world.rest("POST", "/jobs", *form(archive))
    assert status == 422, answer
    assert "top" in answer.decode()
    assert "left" in answer.decode()


def test_an_address_that_is_not_allowed_fails_the_job_with_its_code(world: World):
    world.submit("outside", input={"url": "https://example.org/views.zip", "sha256": "0" * 64})
    assert world.wait("outside", "Failed")["error"]["code"] == "INPUT_NOT_ALLOWED"
    world.remove("outside")


def test_a_claim_that_nobody_has_opened_to_jobs_is_refused(world: World):
    world.submit("claim", input={"pvc": {"claimName": "recon3d-store"}})
    assert world.wait("claim", "Failed", seconds=30)["error"]["code"] == "INPUT_NOT_ALLOWED"
    assert not world.runner_pods("claim")
    world.remove("claim")


def test_a_job_goes_by_itself_once_its_time_to_live_is_over(world: World):
    world.submit("short-lived", ttlSecondsAfterFinished=5)
    world.submit("stillborn", input={"pvc": {"claimName": "recon3d-store"}}, ttlSecondsAfterFinished=5)
    for name in ("stillborn", "short-lived"):
        eventually(lambda n=name: not world.uid(world.path(n)), seconds=180, what=f"{name} is gone")
    assert not world.runner_pods("short-lived")


def test_a_full_store_is_named(world: World):
    world.submit("full", FULL, retry={"limit": 0})
    status = world.wait("full", "Failed", namespace=FULL)
    assert status["error"]["code"] == "STORAGE_FULL"
    world.remove("full", namespace=FULL)


def engine_of(container: dict[str, Any]) -> str | None:
    return next((entry["value"] for entry in container.get("env", ()) if entry["name"] == "RECON3D_ENGINE"), None)


def test_of_both_engines_the_second_one_s_result_is_the_job_s_and_the_first_one_s_error_stands_beside_it(world: World):
    world.submit("both", engine="both")
    status = world.wait("both", "Completed")
    assert status["summary"]["engine"] == "nvdiffrec"
    assert status["engines"]["reconviagen"]["phase"] == "Failed"
    assert status["engines"]["reconviagen"]["code"] == "ENGINE_UNAVAILABLE"
    assert status["engines"]["nvdiffrec"]["watertight"] is True
    assert status["engines"]["nvdiffrec"]["peakMemoryBytes"] > 10**7
    assert len(status["attempts"]) == 1
    assert set(world.result("both")["engines"]) == {"nvdiffrec", "reconviagen"}
    (pod,) = world.runner_pods("both")
    engines = {kind: [engine_of(c) for c in pod["spec"][kind]] for kind in ("initContainers", "containers")}
    assert engines["initContainers"][-1] == "reconviagen"
    assert engines["containers"] == ["nvdiffrec"]
    world.remove("both")


def test_of_both_engines_the_first_one_s_mesh_is_the_second_one_s_prior(world: World, figure):
    world.submit("prior", engine="both", seed=GENERATES, nvdiffrec={"prior": "reconviagen"})
    status = world.wait("prior", "Completed", seconds=600)
    assert len(status["attempts"]) == 1
    result = world.result("prior")
    assert set(result["engines"]) == {"nvdiffrec", "reconviagen"}
    assert {entry["verdict"] for entry in result["engines"].values()} <= {"normal", "warning"}  # of pictures this small
    assert not {"prior_unavailable", "prior_unfit"} & {warning["code"] for warning in result["warnings"]}
    told = {name: world.stored("prior", f"{name}/quality.json")["mesh"]["other"] for name in result["engines"]}
    assert told["reconviagen"]["alignment_iou"] > 0.95
    assert told["nvdiffrec"]["prior"] == "reconviagen"
    first = result["engines"]["reconviagen"]["seconds"]
    figure(f"{status['summary']['seconds']:.0f} s for both containers, {first:.0f} s the first")
    world.remove("prior")


def test_an_engine_s_container_that_dies_costs_one_run_and_no_result(world: World):
    world.submit("dies", engine="both", seed=DIES)
    status = world.wait("dies", "Completed")
    first, second = status["attempts"]
    assert (first["lostEngine"], first["lostCode"]) == ("reconviagen", "INTERNAL")
    assert second["reason"] == "Completed"
    assert status["engines"]["reconviagen"]["code"] == "INTERNAL"
    assert status["summary"]["verdict"] in ("normal", "warning")
    world.remove("dies")
