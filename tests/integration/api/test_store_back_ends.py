"""One contract for both stores: a folder, and a bucket of a real S3 server."""

from __future__ import annotations

import threading
import urllib.request
import uuid
from pathlib import Path

import httpx
import pytest
from kubecluster.client import eventually
from kubecluster.s3 import S3Server
from recon3d_contract.errors import Recon3dError
from recon3d_contract.inputs import check_source, extract
from recon3d_contract.store import InputReader, open_housekeeping, open_store, open_uploads
from recon3d_contract.store.uploads import upload_id

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240, func_only=True)]
EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "input"
UID = "5a5d1d5e-0000-4000-8000-000000000001"


@pytest.fixture(params=["folder", "s3"])
def place(request, tmp_path, monkeypatch) -> str:
    if request.param == "folder":
        return str(tmp_path / "store")
    server: S3Server = request.getfixturevalue("s3")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://results/{uuid.uuid4()}"


def attempt(place: str, number: int, **files: bytes) -> None:
    store = open_store(place)
    staging = store.begin(UID, number)
    for name, data in {"result.json": b"{}", **files}.items():
        path = staging.path / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    store.commit(staging)


def test_an_attempt_is_stored_read_and_published_once(place):
    store = open_store(place)
    assert (store.published(UID), store.attempts(UID)) == (None, [])
    with pytest.raises(Recon3dError, match="not complete"):
        store.publish(UID, 1)
    attempt(place, 1, nvdiffrec__big=bytes(range(256)) * 80_000)
    attempt(place, 2)
    assert store.attempts(UID) == [1, 2]
    assert store.publish(UID, 1) == 1
    assert store.publish(UID, 2) == 1
    assert [(file.path, file.bytes) for file in store.files(UID, 1)] == [
        ("result.json", 2),
        ("nvdiffrec/big", 20_480_000),
    ]
    with store.open(UID, 1, "nvdiffrec/big") as file:
        file.seek(256 * 70_000 + 5)
        assert file.read(4) == bytes((5, 6, 7, 8))
    for missing in ("nothing", "../current", ".complete"):
        with pytest.raises(Recon3dError, match="no such file"):
            store.open(UID, 1, missing)
    with pytest.raises(Recon3dError, match="stored already"):
        store.begin(UID, 1)


def test_of_many_that_publish_at_once_all_get_one_answer(place):
    for number in (1, 2, 3, 4):
        attempt(place, number)
    told: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: told.append(open_store(place).publish(UID, n))) for n in (1, 2, 3, 4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 4
    assert len(set(told)) == 1


def test_an_upload_is_kept_renewed_read_by_a_runner_and_swept(place, tmp_path):
    uploads, keeping = open_uploads(place, tmp_path), open_housekeeping(place)
    upload = upload_id(check_source(EXAMPLE))
    assert not uploads.renew(upload)
    for _ in range(2):
        folder = uploads.begin()
        extract(EXAMPLE, folder)
        uploads.commit(folder, upload)
        assert not folder.exists()
    assert uploads.renew(upload)
    assert [kept.name for kept in keeping.uploads()] == [upload]
    (tmp_path / "scratch").mkdir()
    found = InputReader().read(f"{place}/inputs/{upload}", tmp_path / "scratch")
    assert len(check_source(found).files) == 12
    assert not keeping.remove_upload(upload, 3600)
    assert keeping.remove_upload(upload, 0)
    assert (uploads.renew(upload), keeping.uploads()) == (False, [])


def test_a_job_and_single_attempts_go(place):
    attempt(place, 1)
    attempt(place, 2)
    open_store(place).publish(UID, 2)
    keeping = open_housekeeping(place)
    assert [kept.name for kept in keeping.jobs()] == [UID]
    keeping.remove_attempt(UID, 1)
    assert open_store(place).attempts(UID) == [2]
    keeping.remove_job(UID)
    assert keeping.jobs() == []


def test_signed_addresses_and_the_shim_on_s3(start_shim, s3, cluster, files, sweep, monkeypatch):
    place = f"s3://results/{uuid.uuid4()}"
    shim = start_shim(RECON3D_STORE=place, RECON3D_SIGNED_URL_S="60", **s3.environment)
    alice = shim.client("alice")
    job = alice.post("/jobs", files=files).json()["id"]
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    uid = cluster.get(job)["metadata"]["uid"]
    store = open_store(place)
    staging = store.begin(uid, 1)
    (staging.path / "result.json").write_bytes(b"{}")
    (staging.path / "run.log").write_bytes(bytes(3_000_000))
    store.commit(staging)
    store.publish(uid, 1)
    cluster.finish(job)
    eventually(lambda: alice.get(f"/jobs/{job}").json()["status"] == "completed")
    listed = alice.get(f"/jobs/{job}/files").json()["files"]
    assert {file["path"] for file in listed} == {"result.json", "run.log"}
    with urllib.request.urlopen(listed[1]["url"], timeout=10) as answer:
        assert len(answer.read()) == 3_000_000
    whole = alice.get(f"/jobs/{job}/download")
    assert len(whole.content) == int(whole.headers["content-length"]) > 3_000_000
    bare = httpx.get(listed[1]["url"].partition("?")[0])
    assert bare.status_code == 403
    assert alice.delete(f"/jobs/{job}").status_code == 204
    sweep(shim)
    keeping = open_housekeeping(place)
    assert (keeping.jobs(), keeping.uploads()) == ([], [])


def test_a_server_that_is_away_is_told(monkeypatch, s3, tmp_path):
    for name, value in {**s3.environment, "AWS_SECRET_ACCESS_KEY": "wrong"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Recon3dError, match=r"refuses the credentials|cannot be used") as error:
        open_store("s3://results/x").published(UID)
    assert error.value.code == "STORAGE_UNAVAILABLE"
