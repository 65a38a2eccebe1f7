"""Results that a kubectl user sent to a place of his own (output.ref): read where that is allowed, never swept away."""

from __future__ import annotations

import io
import uuid
import zipfile

import pytest
from kubecluster.client import eventually
from recon3d_contract.store import open_housekeeping, open_store

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240, func_only=True)]
TEAM = "s3://results/theirs"


@pytest.fixture
def ref(s3, monkeypatch) -> str:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return f"{TEAM}/{uuid.uuid4()}"


def put(ref: str, uid: str, attempt: int, *, publish: bool = True) -> None:
    store = open_store(ref)
    staging = store.begin(uid, attempt)
    (staging.path / "result.json").write_bytes(b'{"attempt": %d}' % attempt)
    store.commit(staging)
    if publish:
        store.publish(uid, attempt)


def make(cluster, ref: str, name: str = "chair") -> str:
    uid = str(cluster.create(name, output={"ref": ref})["metadata"]["uid"])
    cluster.finish(name)
    return uid


def ended(client, name: str = "chair") -> None:
    eventually(lambda: client.get(f"/jobs/{name}").json().get("status") == "completed", what="the shim sees the end")


def test_a_result_in_an_allowed_place_is_downloaded_as_any_other(start_shim, s3, cluster, ref):
    shim = start_shim(RECON3D_OUTPUT_REFS=TEAM, RECON3D_SIGNED_URL_S="60", **s3.environment)
    put(ref, make(cluster, ref), 2)
    chief = shim.client("chief")
    ended(chief)
    whole = chief.get("/jobs/chair/download")
    with zipfile.ZipFile(io.BytesIO(whole.content)) as opened:
        assert opened.read("chair/result.json") == b'{"attempt": 2}'
    assert chief.get("/jobs/chair/files/result.json").json() == {"attempt": 2}
    (file,) = chief.get("/jobs/chair/files").json()["files"]
    assert "X-Amz-Signature" in file["url"]
    assert shim.client("alice").get("/jobs/chair/download").status_code == 404, "it is not hers"


@pytest.mark.parametrize("allowed", ["", "s3://results/others"])
def test_a_place_that_the_service_may_not_read_is_named(start_shim, s3, cluster, ref, allowed):
    shim = start_shim(RECON3D_OUTPUT_REFS=allowed, **s3.environment)
    put(ref, make(cluster, ref), 1)
    chief = shim.client("chief")
    ended(chief)
    for path in ("download", "files", "files/result.json"):
        answer = chief.get(f"/jobs/chair/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
        assert "output.ref" in answer.json()["detail"]
        assert answer.json()["details"] == {"output": ref}
        assert "RECON3D_OUTPUT_REFS" in answer.json()["suggestion"]


def test_a_place_that_cannot_be_reached_is_told(start_shim, s3, cluster, ref):
    shim = start_shim(RECON3D_OUTPUT_REFS=TEAM, **{**s3.environment, "AWS_SECRET_ACCESS_KEY": "wrong"})
    make(cluster, ref)
    chief = shim.client("chief")
    ended(chief)
    answer = chief.get("/jobs/chair/download")
    assert (answer.status_code, answer.json()["code"]) == (503, "STORAGE_UNAVAILABLE")
    assert "output.ref" in answer.json()["detail"]
    assert "credentials" in answer.json()["suggestion"]


def test_the_sweep_takes_only_what_was_never_published_of_jobs_that_it_knows(start_shim, s3, cluster, ref, sweep):
    shim = start_shim(RECON3D_OUTPUT_REFS=TEAM, **s3.environment)
    uid, foreign, store = make(cluster, ref), str(uuid.uuid4()), open_store(ref)
    put(ref, uid, 1, publish=False)
    put(ref, uid, 2)
    put(ref, foreign, 1, publish=False)
    broken = open_housekeeping(ref)._bucket  # an attempt whose runner died while it sent its files
    broken.put(f"jobs/{uid}/attempts/3/result.json", b"{}")
    assert sweep(shim, RECON3D_OUTPUT_REFS="s3://results/others")["attempts"] == 0
    swept = sweep(shim)
    assert (swept["attempts"], swept["jobs"]) == (2, 0)
    assert broken.folders(f"jobs/{uid}/attempts") == ["2"]
    assert (store.attempts(uid), store.published(uid), store.attempts(foreign)) == ([2], 2, [1])
    chief = shim.client("chief")
    ended(chief)
    assert chief.delete("/jobs/chair").status_code == 204
    sweep(shim)
    assert store.published(uid) == 2, "what was sent to a place of its own stays there when the job goes"


def test_a_place_that_fails_does_not_keep_the_sweep_from_the_store(start_shim, s3, cluster, ref, sweep):
    shim = start_shim(RECON3D_OUTPUT_REFS=TEAM)
    make(cluster, ref)
    cluster.create("table")
    cluster.finish("table")
    cluster.store_result("table", shim.store, attempt=1, publish=False)
    swept = sweep(shim, **{**s3.environment, "AWS_SECRET_ACCESS_KEY": "wrong"})
    assert swept["attempts"] == 1
