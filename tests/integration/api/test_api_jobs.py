"""The five endpoints over real HTTP, against a real API server: a job's life as a client without Kubernetes sees it."""

from __future__ import annotations

import io
import zipfile

import pytest
from kubecluster.client import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240, func_only=True)]


def test_a_jobs_life_with_the_operator(alice, files, cluster, operator, shim):
    made = alice.post("/jobs", files=files, data={"model_type": "nvdiffrec", "profile": "fast", "seed": "7"})
    assert made.status_code == 202, made.text
    job = made.json()
    assert made.headers["location"] == f"/v1/jobs/{job['id']}"
    assert made.headers["retry-after"]
    assert job["status"] == "queued"
    assert (job["profile"], job["seed"]) == ("fast", 7)
    spec = cluster.get(job["id"])["spec"]
    upload = spec["input"]["upload"]
    assert len(list((shim.store / "inputs" / upload).glob("*/*.png"))) == 12
    eventually(lambda: cluster.get(job["id"]).get("status", {}).get("phase") == "Queued", what="the operator sees it")
    asked = alice.post(f"/jobs/{job['id']}/cancel")
    assert (asked.status_code, asked.json()["status"]) == (202, "cancel_requested")
    assert asked.json()["expires_at"].endswith("Z")
    assert alice.get(f"/jobs/{job['id']}").json()["status"] == "queued"
    done = alice.post(f"/jobs/{job['id']}/cancel", params={"confirm": "true"})
    assert (done.status_code, done.json()["status"]) == (200, "cancelled")
    assert alice.get(f"/v1/jobs/{job['id']}").json()["status"] == "cancelled"
    again = alice.post(f"/jobs/{job['id']}/cancel", params={"confirm": "true"})
    assert (again.status_code, again.json()["code"]) == (409, "JOB_ALREADY_FINISHED")


def test_a_finished_job_is_downloaded(alice, cluster, shim):
    job = alice.post("/jobs", json={"input": {"builtin": "example"}, "parameters": {"cameras.fovDeg": 40}}).json()
    early = alice.get(f"/jobs/{job['id']}/download")
    assert (early.status_code, early.json()["code"]) == (409, "JOB_NOT_READY")
    assert early.headers["retry-after"]
    cluster.store_result(job["id"], shim.store)
    summary = {"verdict": "normal", "psnr": 31.5, "ssim": 0.95, "engine": "nvdiffrec"}
    cluster.finish(job["id"], summary=summary)
    eventually(lambda: alice.get(f"/jobs/{job['id']}").json()["status"] == "completed")
    assert alice.get(f"/jobs/{job['id']}").json()["quality"]["psnr"] == 31.5
    answer = alice.get(f"/jobs/{job['id']}/download")
    assert answer.headers["content-type"] == "application/zip"
    assert int(answer.headers["content-length"]) == len(answer.content)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert f"{job['id']}/nvdiffrec/mesh.glb" in archive.namelist()
    part = alice.get(f"/jobs/{job['id']}/download", headers={"Range": "bytes=100-2000099"})
    assert part.status_code == 206
    assert part.content == answer.content[100:2000100]
    same = alice.get(f"/jobs/{job['id']}/download", headers={"If-None-Match": answer.headers["etag"]})
    assert same.status_code == 304
    beyond = alice.get(f"/jobs/{job['id']}/download", headers={"Range": "bytes=999999999-"})
    assert (beyond.status_code, beyond.json()["code"]) == (416, "RANGE_NOT_SATISFIABLE")
    assert beyond.headers["content-range"] == f"bytes */{len(answer.content)}"


def test_errors_are_problems_with_codes_and_no_paths(alice, shim):
    answer = alice.post("/jobs", json={"input": {"builtin": "example"}, "profle": "fast", "seed": -1})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "INVALID_REQUEST"
    assert {each["path"] for each in problem["details"]["problems"]} == {"profle", "seed"}
    assert "profile" in problem["detail"]
    for method, path, code in (
        ("GET", "/jobs/abcdefgh", "JOB_NOT_FOUND"),
        ("GET", "/nothing", "NOT_FOUND"),
        ("PUT", "/jobs", "METHOD_NOT_ALLOWED"),
        ("POST", "/jobs/abcdefgh/cancel", "JOB_NOT_FOUND"),
        ("POST", "/jobs", "UNSUPPORTED_MEDIA_TYPE"),
    ):
        answer = alice.request(method, path)
        assert answer.json()["code"] == code
        assert answer.status_code == answer.json()["status"]
        assert str(shim.store) not in answer.text


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ({"pvc": {"claimName": "theirs"}}, "INPUT_NOT_ALLOWED"),
        ({"path": "/etc"}, "INPUT_NOT_ALLOWED"),
        ({"s3": "s3://bucket/theirs.zip"}, "INPUT_NOT_ALLOWED"),
        ({"url": "https://example.com/a.zip", "sha256": "0" * 64}, "INPUT_NOT_ALLOWED"),
        ({"upload": "0" * 32}, "INPUT_NOT_FOUND"),
        ({"upload": "../../etc/passwd"}, "INVALID_REQUEST"),
    ],
)
def test_a_job_over_http_names_nobody_elses_data(alice, cluster, source, code):
    answer = alice.post("/jobs", json={"input": source})
    assert answer.json()["code"] == code
    assert cluster.items() == []


@pytest.mark.parametrize("field", ["pod", "cancel", "suspend"])
def test_a_job_over_http_sets_no_field_of_the_clusters_people(alice, field):
    answer = alice.post("/jobs", json={"input": {"builtin": "example"}, field: {}})
    assert answer.status_code == 422
    assert answer.json()["details"]["problems"][0]["path"] == field


def test_confirming_without_a_request_is_refused(alice, cluster):
    job = alice.post("/jobs", json={"input": {"builtin": "example"}}).json()
    answer = alice.post(f"/jobs/{job['id']}/cancel", json={"confirm": True})
    assert (answer.status_code, answer.json()["code"]) == (409, "CANCEL_NOT_REQUESTED")
    alice.post(f"/jobs/{job['id']}/cancel")
    word = cluster.get(job["id"])["spec"]["cancel"]["request"]
    times = {"requestedAt": "2026-01-01T00:00:00Z", "expiresAt": "2026-01-01T01:00:00Z"}
    cluster.status(job["id"], phase="Queued", cancellation={"token": word, "state": "Expired", **times})
    eventually(lambda: "cancellation" in alice.get(f"/jobs/{job['id']}").json())
    answer = alice.post(f"/jobs/{job['id']}/cancel", params={"confirm": "true"})
    assert (answer.status_code, answer.json()["code"]) == (409, "CANCEL_NOT_REQUESTED")
    assert "lapsed" in answer.json()["detail"]
    asked = alice.post(f"/jobs/{job['id']}/cancel")
    assert asked.status_code == 202
    assert cluster.get(job["id"])["spec"]["cancel"]["request"] != word


def test_a_job_that_failed_on_quality_keeps_its_files(alice, cluster, shim):
    job = alice.post("/jobs", json={"input": {"builtin": "example"}}).json()
    cluster.store_result(job["id"], shim.store)
    error = {
        "code": "QUALITY_BELOW_THRESHOLD",
        "category": "model",
        "message": "PSNR is 17 dB.",
        "suggestion": "See the report.",
    }
    cluster.finish(job["id"], "Failed", error=error)
    seen = eventually(lambda: j if (j := alice.get(f"/jobs/{job['id']}").json())["status"] == "failed" else None)
    assert seen["error"]["code"] == "QUALITY_BELOW_THRESHOLD"
    assert seen["error"]["suggestion"] == "See the report."
    assert alice.get(f"/jobs/{job['id']}/download").status_code == 200


def test_health_tells_what_it_knows(shim, admin, namespace, cluster):
    client = shim.client(None)
    health = client.get("/health").json()
    assert (health["status"], health["ready"], health["cluster_reachable"]) == ("ok", True, True)
    assert health.get("gpu") is None
    cluster.create("chair")
    eventually(lambda: client.get("/v1/health").json()["queue_depth"] == 1, what="the queue is told")
    assert client.get("/health/live").json() == {"live": True}
    assert "recon3d_api_requests_total" in client.get("/metrics").text
