"""What HTTP brings along: keys that are used twice, lists in pages, events, waiting, who sees what."""

from __future__ import annotations

import threading
import time

import httpx
import pytest
from kubecluster.client import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240, func_only=True)]
JOB = {"input": {"builtin": "example"}}


def test_the_same_key_and_request_make_one_job(alice, shim, start_shim, cluster, files):
    key = {"Idempotency-Key": "order 17"}
    first = alice.post("/jobs", json=JOB, headers=key)
    again = alice.post("/jobs", json=JOB, headers=key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["idempotency-replayed"] == "true"
    other = alice.post("/jobs", json={**JOB, "seed": 3}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert shim.client("bob").post("/jobs", json=JOB, headers=key).json()["id"] != first.json()["id"]
    second = start_shim()  # another replica, which remembers nothing
    assert second.client("alice").post("/jobs", json=JOB, headers=key).json()["id"] == first.json()["id"]
    assert len(cluster.items()) == 2


def test_the_files_count_for_the_key_not_how_they_were_sent(alice, files, cluster):
    key = {"Idempotency-Key": "with files"}
    first = alice.post("/jobs", files=files, headers=key)
    for _, (_, file, _) in files:
        file.seek(0)
    again = alice.post("/jobs", files=list(reversed(files)), headers=key)
    assert first.json()["id"] == again.json()["id"]
    for _, (_, file, _) in files:
        file.seek(0)
    fewer = [part for part in files if part[1][0].startswith("multi_views")]
    assert alice.post("/jobs", files=fewer, headers=key).json()["code"] == "IDEMPOTENCY_KEY_REUSED"
    assert len(cluster.items()) == 1


def test_many_at_once_with_one_key_make_one_job(alice, shim, cluster):
    answers: list[httpx.Response] = []

    def send() -> None:
        answers.append(httpx.post(f"{shim.url}/jobs", json=JOB, headers={**alice.headers, "Idempotency-Key": "k"}))

    threads = [threading.Thread(target=send) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    codes = {answer.status_code for answer in answers}
    assert codes <= {202, 409}
    assert {a.json()["code"] for a in answers if a.status_code == 409} <= {"REQUEST_IN_PROGRESS"}
    assert len({a.json()["id"] for a in answers if a.status_code == 202}) == 1
    assert len(cluster.items()) == 1


def test_who_sees_which_job(shim, cluster):
    alice, bob, chief = (shim.client(name) for name in ("alice", "bob", "chief"))
    job = alice.post("/jobs", json=JOB).json()["id"]
    cluster.create("chair")
    assert alice.get(f"/jobs/{job}").status_code == 200
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/download"), ("GET", "/events")):
        answer = bob.request(method, f"/jobs/{job}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "JOB_NOT_FOUND")
    assert chief.get(f"/jobs/{job}").status_code == 404
    assert eventually(lambda: chief.get("/jobs/chair").status_code == 200)
    assert alice.get("/jobs/chair").status_code == 404
    nobody = shim.client(None).get(f"/jobs/{job}")
    assert (nobody.status_code, nobody.json()["code"]) == (401, "UNAUTHENTICATED")
    assert nobody.headers["www-authenticate"].startswith("Bearer")


def test_keys_rotate_without_a_restart(shim, tmp_path):
    from recon3d_api.auth.keys import new_key

    old = shim.client("alice")
    assert old.get("/jobs").status_code == 200
    key, line = new_key("alice")
    keys = tmp_path / "keys"
    text = keys.read_text()
    keys.write_text(text + line + "\n")
    new = httpx.Client(base_url=shim.url, headers={"X-API-Key": key})
    eventually(lambda: new.get("/jobs").status_code == 200, what="the new key is accepted")
    assert old.get("/jobs").status_code == 200
    keys.write_text("\n".join(one for one in text.splitlines() if not one.startswith("alice")) + "\n" + line + "\n")
    eventually(lambda: old.get("/jobs").status_code == 401, what="the old key is refused")
    assert new.get("/jobs").status_code == 200
    new.close()


def test_an_etag_saves_the_body_and_waiting_saves_polling(alice, cluster):
    job = alice.post("/jobs", json=JOB).json()["id"]
    first = alice.get(f"/jobs/{job}")
    etag = {"If-None-Match": first.headers["etag"]}
    assert alice.get(f"/jobs/{job}", headers=etag).status_code == 304
    started = time.monotonic()
    waited = alice.get(f"/jobs/{job}", headers={**etag, "Prefer": "wait=1"})
    assert (waited.status_code, waited.headers["preference-applied"]) == (304, "wait=1")
    assert 0.9 < time.monotonic() - started < 5
    threading.Timer(0.3, lambda: cluster.status(job, phase="Processing", progress={"percent": 10})).start()
    changed = alice.get(f"/jobs/{job}", headers={**etag, "Prefer": "wait=20"})
    assert (changed.status_code, changed.json()["progress"]) == (200, 10)
    threading.Timer(0.3, lambda: cluster.finish(job)).start()
    ended = alice.get(f"/jobs/{job}", headers={"Prefer": "wait=20"})
    assert ended.json()["status"] == "completed"
    assert "retry-after" not in ended.headers


def _events(client: httpx.Client, job: str, seen: list[tuple[str, str]], last: str = "") -> None:
    headers = {"Last-Event-ID": last} if last else {}
    event = ""
    with client.stream("GET", f"/jobs/{job}/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if name == "id":
                event = value
            elif name == "data":
                seen.append((event, value))


def test_events_tell_changes_end_with_the_job_and_resume(alice, shim, cluster):
    job = alice.post("/jobs", json=JOB).json()["id"]
    seen: list[tuple[str, str]] = []
    listening = threading.Thread(target=_events, args=(shim.client("alice"), job, seen))
    listening.start()
    eventually(lambda: len(seen) == 1, what="the state of now is told")
    cluster.status(job, phase="Processing", progress={"percent": 30})
    eventually(lambda: len(seen) == 2 and '"progress":30' in seen[1][1], what="a change is told")
    cluster.finish(job)
    listening.join(20)
    assert '"status":"completed"' in seen[2][1]
    assert seen[3][1] == "{}"
    later: list[tuple[str, str]] = []
    _events(alice, job, later, last=seen[1][0])
    assert [data for _, data in later] == [seen[2][1], "{}"]
    nothing_new: list[tuple[str, str]] = []
    _events(alice, job, nothing_new, last=seen[2][0])
    assert [data for _, data in nothing_new] == ["{}"]


def test_a_deleted_job_ends_its_events(alice, shim, cluster):
    job = alice.post("/jobs", json=JOB).json()["id"]
    seen: list[tuple[str, str]] = []
    listening = threading.Thread(target=_events, args=(shim.client("alice"), job, seen))
    listening.start()
    eventually(lambda: len(seen) == 1)
    alice.delete(f"/jobs/{job}")
    listening.join(20)
    assert not listening.is_alive()


def test_a_list_is_told_in_pages_that_new_jobs_do_not_shift(alice, cluster):
    made = [alice.post("/jobs", json=JOB).json()["id"] for _ in range(7)]
    first = alice.get("/jobs", params={"limit": 3}).json()
    made.append(alice.post("/jobs", json={**JOB, "engine": "both"}).json()["id"])
    rest = alice.get("/jobs", params={"limit": 10, "cursor": first["next_cursor"]}).json()
    told = [job["id"] for job in first["jobs"] + rest["jobs"]]
    assert sorted(told) == sorted(set(told))
    assert set(told) >= set(made[:7]) - {made[7]}
    assert rest["next_cursor"] is None
    assert [job["id"] for job in alice.get("/jobs", params={"engine": "both"}).json()["jobs"]] == [made[7]]
    cluster.finish(made[0])
    eventually(lambda: [j["id"] for j in alice.get("/jobs?status=completed").json()["jobs"]] == [made[0]])
    assert alice.get("/jobs", params={"cursor": "nonsense!"}).json()["code"] == "INVALID_REQUEST"


def test_a_batch_answers_for_each_job(alice, cluster):
    jobs = {"jobs": [JOB, {**JOB, "profile": "nonsense"}, {**JOB, "profile": "high"}]}
    made = alice.post("/batches", json=jobs, headers={"Idempotency-Key": "b"})
    assert made.status_code == 202, made.text
    batch = made.json()
    assert (batch["accepted"], batch["refused"]) == (2, 1)
    assert batch["jobs"][1]["error"]["code"] == "INVALID_REQUEST"
    again = alice.post("/batches", json=jobs, headers={"Idempotency-Key": "b"}).json()
    assert [job.get("id") for job in again["jobs"]] == [job.get("id") for job in batch["jobs"]]
    assert len(cluster.items()) == 2
    cluster.finish(batch["jobs"][0]["id"])
    state = eventually(lambda: s if (s := alice.get(batch["link"]).json())["jobs"]["completed"] else None)
    assert (state["finished"], state["progress"]) == (False, 50.0)
    assert len(alice.get("/jobs", params={"batch": batch["id"]}).json()["jobs"]) == 2


def test_limits_answer_429_with_a_time(start_shim):
    shim = start_shim(RECON3D_RATE_PER_S="1", RECON3D_RATE_BURST="3", RECON3D_ACTIVE_JOBS="1")
    client = shim.client("alice")
    assert client.post("/jobs", json=JOB).status_code == 202
    refused = client.post("/jobs", json=JOB)
    assert (refused.status_code, refused.json()["code"]) == (429, "RATE_LIMITED")
    answers = [client.get("/jobs") for _ in range(4)]
    assert {answer.status_code for answer in answers} == {200, 429}
    limited = next(answer for answer in answers if answer.status_code == 429)
    assert int(limited.headers["retry-after"]) >= 1
    assert shim.client("bob").get("/jobs").status_code == 200


def test_request_ids_come_back_and_stand_in_the_log_and_the_job(alice, shim, cluster):
    answer = alice.post("/jobs", json=JOB, headers={"X-Request-Id": "from-the-client-7"})
    assert answer.headers["x-request-id"] == "from-the-client-7"
    annotations = cluster.get(answer.json()["id"])["metadata"]["annotations"]
    assert annotations["recon3d.io/request-id"] == "from-the-client-7"
    assert '"request_id": "from-the-client-7"' in shim.program.log.read_text()
    bad = alice.get("/jobs/abcdefgh", headers={"X-Request-Id": "a b\tc"})
    assert bad.headers["x-request-id"] == bad.json()["request_id"] != "a b\tc"


def test_files_open_in_a_browser_of_an_allowed_origin(start_shim, cluster):
    shim = start_shim(RECON3D_CORS_ORIGINS="https://viewer.example")
    alice = shim.client("alice")
    job = alice.post("/jobs", json=JOB).json()["id"]
    cluster.store_result(job, shim.store)
    cluster.finish(job)
    eventually(lambda: alice.get(f"/jobs/{job}").json()["status"] == "completed")
    files = {file["path"]: file for file in alice.get(f"/jobs/{job}/files").json()["files"]}
    glb = files["nvdiffrec/mesh.glb"]
    assert glb["media_type"] == "model/gltf-binary"
    origin = {"Origin": "https://viewer.example", "Range": "bytes=0-3"}
    got = alice.get(glb["link"], headers=origin)
    assert (got.status_code, got.content) == (206, b"glTF")
    assert got.headers["access-control-allow-origin"] == "https://viewer.example"
    assert (
        "access-control-allow-origin" not in alice.get(glb["link"], headers={"Origin": "https://evil.example"}).headers
    )
    report = alice.head(files["nvdiffrec/report.html"]["link"])
    assert report.headers["content-security-policy"] == "sandbox allow-scripts"
    assert int(report.headers["content-length"]) == files["nvdiffrec/report.html"]["bytes"]
    for path in ("../current", "..%2f..%2fcurrent", "nvdiffrec", "nothing.glb"):
        assert alice.get(f"/jobs/{job}/files/{path}").status_code == 404


def test_the_docs_page_needs_nothing_from_elsewhere(shim):
    page = shim.client(None).get("/docs")
    assert page.status_code == 200
    assert "http://" not in page.text.replace("http://www.w3.org", "")
    assert "https://" not in page.text
    assert "<script" not in page.text
    document = shim.client(None).get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert "/v1/jobs/{job_id}/download" in document["paths"]
