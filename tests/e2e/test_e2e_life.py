"""A job's life on a real node: by kubectl, over REST, in a queue, cancelled, judged a failure, refused."""

from __future__ import annotations

import io
import json
import time
import zipfile

import pytest
from e2e_world import FULL, NAMESPACE, ROOT, World, seconds_between, small_zip
from kubecluster.client import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.needs("node", "images", "helm"), pytest.mark.timeout(900, func_only=True)]
OVERHEAD_S = 5.0


def test_the_installation_is_ready(world: World):
    for part in ("operator", "api"):
        (pod,) = world.pods(part)
        conditions = {c["type"]: c["lastTransitionTime"] for c in pod["status"]["conditions"]}
        seconds = seconds_between(pod["status"]["startTime"], conditions["Ready"])
        print(f"{part} ready {seconds:.0f} s after its Pod's start")
        assert seconds < 30
    status, text = world.rest("GET", "/health")
    assert status == 200, text


def test_kubectl_apply_wait_and_the_result_is_in_the_store(world: World):
    job = (ROOT / "examples/job.yaml").read_text()
    began = time.monotonic()
    world.kubectl("apply", "-n", NAMESPACE, "-f", "-", text=job)
    world.kubectl("wait", "-n", NAMESPACE, "--for=condition=Succeeded", "--timeout=180s", "reconstructionjob/example")
    wall = time.monotonic() - began
    status, result = world.status("example"), world.result("example")
    assert status["phase"] == "Completed"
    assert status["summary"]["psnr"] == pytest.approx(result["summary"]["psnr"], abs=0.01)
    assert result["provenance"]["licences_accepted"] == ["nvdiffrast"]
    overhead = wall - float(status["summary"]["seconds"])
    print(f"apply -> Completed {wall:.1f} s, the runner's own {status['summary']['seconds']:.1f} s: {overhead:.1f} s")
    assert status["summary"]["verdict"] in world.kubectl("get", "-n", NAMESPACE, "reconstructionjob", "example")
    world.remove("example")


def test_rest_from_upload_to_zip(world: World):
    boundary = "recon3d"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="archive"; filename="views.zip"\r\n\r\n'.encode()
    fields = f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="profile"\r\n\r\nfast\r\n--{boundary}--\r\n'
    body = head + small_zip() + fields.encode()
    status, answer = world.rest("POST", "/jobs", body, f"multipart/form-data; boundary={boundary}")
    assert status == 202, answer
    name = json.loads(answer)["id"]
    world.wait(name, "Completed")
    status, archive = world.rest("GET", f"/jobs/{name}/download")
    assert status == 200
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        files = {entry.split("/", 1)[-1] if "/" in entry else entry for entry in packed.namelist()}
        assert any(entry.endswith("mesh.glb") for entry in files), files
        assert packed.testzip() is None
    assert world.rest("DELETE", f"/jobs/{name}")[0] == 204
    eventually(lambda: world.rest("GET", f"/jobs/{name}")[0] == 404, what="the job is gone")


def test_of_two_jobs_for_one_gpu_the_second_queues_and_runs_after(world: World):
    world.submit("first")
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


def test_cancelling_takes_two_steps_and_ends_the_pod(world: World):
    world.submit("cancelled")
    world.runs("cancelled")
    world.change("cancelled", cancel={"request": "word"})
    eventually(lambda: world.status("cancelled").get("cancellation"), what="the request is seen")
    assert world.status("cancelled")["phase"] == "Processing"
    world.change("cancelled", cancel={"request": "word", "confirm": "word"})
    began = time.monotonic()
    world.wait("cancelled", "Cancelled", seconds=30)
    print(f"cancelled after {time.monotonic() - began:.1f} s")
    world.remove("cancelled")


def test_a_poor_result_fails_and_keeps_its_files(world: World):
    strict = {"psnrNormal": 99, "psnrWarning": 98}
    world.submit("poor", quality=strict)
    status = world.wait("poor", "Failed")
    assert status["error"]["code"] == "QUALITY_BELOW_THRESHOLD"
    assert [file["path"] for file in world.result("poor")["artifacts"] if file["path"].endswith("mesh.glb")]
    world.remove("poor")


def test_a_broken_upload_is_refused_with_every_reason(world: World):
    boundary = "recon3d"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="archive"; filename="views.zip"\r\n\r\n'.encode()
    body = head + small_zip(multi_views__top=None, multi_views__left=b"no picture") + f"\r\n--{boundary}--\r\n".encode()
    status, answer = world.rest("POST", "/jobs", body, f"multipart/form-data; boundary={boundary}")
    assert status == 422, answer
    assert "top" in answer.decode()
    assert "left" in answer.decode()


def test_an_address_that_is_not_allowed_fails_the_job_with_its_code(world: World):
    world.submit("outside", input={"url": "https://example.org/views.zip", "sha256": "0" * 64})
    assert world.wait("outside", "Failed")["error"]["code"] == "INPUT_NOT_ALLOWED"
    world.remove("outside")


def test_a_full_store_is_named(world: World):
    world.submit("full", FULL)
    status = world.wait("full", "Failed", namespace=FULL)
    assert status["error"]["code"] == "STORAGE_FULL"
    world.remove("full", namespace=FULL)
