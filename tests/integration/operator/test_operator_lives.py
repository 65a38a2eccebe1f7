"""Jobs on a real API server, with the real operator beside it."""

from __future__ import annotations

import signal
import time

import pytest
from kubecluster.client import Refused, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120, func_only=True)]


@pytest.fixture(autouse=True)
def operator(start_operator):
    return start_operator()


def test_a_job_runs_and_its_quality_comes_into_the_status(jobs, namespace):
    place = namespace()
    jobs.create(place, "chair")
    jobs.wait(place, "chair", "Queued")
    pod = jobs.pod(place, "chair")
    owner = pod["metadata"]["ownerReferences"][0]
    assert (owner["name"], owner["controller"]) == ("chair", True)
    jobs.run(place, "chair")
    jobs.wait(place, "chair", "Processing")
    jobs.complete(place, "chair")
    status = jobs.wait(place, "chair", "Completed")
    assert status["summary"]["psnr"] == 31.5
    assert status["artifacts"]["count"] == 26
    assert status["observedGeneration"] == 1


def test_the_namespaces_quota_is_the_queue_and_keeps_its_order(jobs, namespace):
    place = namespace(gpus=1)
    for name in ("first", "second", "third"):
        jobs.create(place, name)
        time.sleep(1.1)  # a creation time has whole seconds
    jobs.create(place, "urgent", priority=10)
    status = eventually(
        lambda: s if (s := jobs.status(place, "third")).get("queuePosition") else None, what="third waits"
    )
    assert status["phase"] == "Queued"
    order = []
    for _ in range(4):
        started = eventually(
            lambda: {p["metadata"]["labels"]["recon3d.io/job-name"] for p in jobs.pods(place)} - set(order)
        )
        assert len(started) == 1
        name = started.pop()
        order.append(name)
        jobs.complete(place, name)
        jobs.wait(place, name, "Completed")
    assert order == ["first", "urgent", "second", "third"]


def test_what_others_take_of_the_quota_is_respected_and_told(jobs, namespace, admin):
    place = namespace(gpus=1)
    one = {"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1"}}
    spec = {"containers": [{"name": "c", "image": "i", "resources": one}], "serviceAccountName": "recon3d-runner"}
    admin.create(f"/api/v1/namespaces/{place}/pods", {"metadata": {"name": "other"}, "spec": spec})
    jobs.create(place, "chair")
    eventually(lambda: jobs.status(place, "chair").get("queuePosition") == 1, what="chair waits")
    condition = next(c for c in jobs.status(place, "chair")["conditions"] if c["type"] == "QuotaReserved")
    assert condition["reason"] == "QuotaExceeded"
    assert jobs.pods(place) == []
    admin.delete(f"/api/v1/namespaces/{place}/pods/other", grace_s=0)
    jobs.pod(place, "chair")


def test_raising_and_deleting_the_quota_starts_what_waits(jobs, namespace, admin):
    place = namespace(gpus=0)
    for name in ("a", "b", "c"):
        jobs.create(place, name)
    eventually(lambda: jobs.status(place, "c").get("queuePosition"), what="c waits")
    path = f"/api/v1/namespaces/{place}/resourcequotas/gpu"
    admin.merge(path, {"spec": {"hard": {"requests.nvidia.com/gpu": "2"}}})
    eventually(lambda: len(jobs.pods(place)) == 2, what="two run")
    admin.delete(path)
    eventually(lambda: len(jobs.pods(place)) == 3, what="all run")


def test_cancelling_takes_two_steps_and_frees_the_gpu(jobs, namespace, admin):
    place = namespace(gpus=1)
    jobs.create(place, "chair")
    jobs.run(place, "chair")
    jobs.create(place, "table")
    jobs.wait(place, "chair", "Processing")
    with pytest.raises(Refused, match=r"cancel\.request first"):
        jobs.change(place, "chair", cancel={"request": "a", "confirm": "a"})
    jobs.change(place, "chair", cancel={"request": "a"})
    state = eventually(lambda: jobs.status(place, "chair").get("cancellation"), what="the request is seen")
    assert (state["token"], state["state"]) == ("a", "Requested")
    assert jobs.status(place, "chair")["phase"] == "Processing"
    jobs.change(place, "chair", cancel={"request": "a", "confirm": "a"})
    status = jobs.wait(place, "chair", "Cancelled")
    assert status["cancellation"]["state"] == "Confirmed"
    pod = jobs.pod(place, "chair")
    assert "deletionTimestamp" in pod["metadata"]
    admin.delete(f"/api/v1/namespaces/{place}/pods/{pod['metadata']['name']}", grace_s=0)  # the kubelet's part
    jobs.pod(place, "table")


def test_a_queued_job_is_cancelled_at_once(jobs, namespace):
    place = namespace(gpus=0)
    jobs.create(place, "chair")
    jobs.wait(place, "chair", "Queued")
    jobs.change(place, "chair", cancel={"request": "a"})
    jobs.change(place, "chair", cancel={"request": "a", "confirm": "a"})
    assert jobs.wait(place, "chair", "Cancelled")["error"]["code"] == "CANCELLED"


def test_deleting_a_job_takes_its_pod_along(jobs, namespace, admin):
    place = namespace()
    jobs.create(place, "chair")
    pod = jobs.pod(place, "chair")
    assert "finalizers" not in jobs.get(place, "chair")["metadata"]
    admin.delete(jobs.path(place, "chair"))
    # A Pod on a node waits for its kubelet, which is not there.
    eventually(
        lambda: all("deletionTimestamp" in each["metadata"] for each in jobs.pods(place)), what=pod["metadata"]["name"]
    )


def test_a_killed_operator_goes_on_where_the_cluster_is(jobs, namespace, operator, start_operator):
    place = namespace(gpus=1)
    for name in ("a", "b"):
        jobs.create(place, name)
    first = eventually(lambda: jobs.pods(place), what="one runs")[0]["metadata"]["labels"]["recon3d.io/job-name"]
    operator.stop(signal.SIGKILL)
    jobs.complete(place, first)
    second = "b" if first == "a" else "a"
    start_operator()
    jobs.wait(place, first, "Completed")
    jobs.run(place, second)
    jobs.wait(place, second, "Processing")
    assert len(jobs.pods(place)) == 2


def test_a_lost_run_is_followed_by_another_attempt(jobs, namespace, admin):
    place = namespace()
    jobs.create(place, "chair")
    jobs.run(place, "chair")
    name = jobs.pod(place, "chair")["metadata"]["name"]
    admin.pod_status(place, name, {"phase": "Failed", "reason": "Evicted", "message": "disk pressure"})
    assert jobs.pod(place, "chair", attempt=2)["metadata"]["name"] != name
    jobs.complete(place, "chair", attempt=2)
    status = jobs.wait(place, "chair", "Completed")
    assert [attempt["reason"] for attempt in status["attempts"]] == ["Evicted", "Completed"]


def test_a_namespace_without_the_runners_account_says_so(jobs, namespace, admin):
    place = namespace()
    admin.delete(f"/api/v1/namespaces/{place}/serviceaccounts/recon3d-runner")
    jobs.create(place, "chair")

    def reason() -> str | None:
        conditions = jobs.status(place, "chair").get("conditions") or []
        return next((c["reason"] for c in conditions if c["type"] == "QuotaReserved"), None)

    eventually(lambda: reason() == "ServiceAccountMissing", what="the reason is told")
    admin.create(f"/api/v1/namespaces/{place}/serviceaccounts", {"metadata": {"name": "recon3d-runner"}})
    eventually(lambda: jobs.pods(place), seconds=30, what="it starts without a change of the job")


def test_the_pod_fits_the_restricted_level(jobs, namespace, admin):
    place = namespace()
    enforce = {"pod-security.kubernetes.io/enforce": "restricted"}
    admin.merge(f"/api/v1/namespaces/{place}", {"metadata": {"labels": enforce}})
    jobs.create(place, "chair")
    assert jobs.pod(place, "chair")["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_sigterm_ends_the_operator_cleanly(operator, jobs, namespace):
    place = namespace()
    jobs.create(place, "chair")
    jobs.wait(place, "chair", "Queued")
    started = time.monotonic()
    assert operator.stop(signal.SIGTERM, grace=10) == 0
    assert time.monotonic() - started < 8


def test_an_api_server_that_dies_and_comes_back_costs_nothing(jobs, namespace, plane, operator, start_operator):
    if "kube-apiserver" not in plane.programs:
        pytest.skip("the API server of a given cluster is not ours to kill")
    place = namespace(gpus=2)
    names = [f"j-{number}" for number in range(6)]
    for name in names[:5]:
        jobs.create(place, name)
    eventually(lambda: len(jobs.pods(place)) == 2, what="two run")
    plane.restart_api()
    jobs.create(place, names[5])
    ended: set[str] = set()
    while len(ended) < len(names):
        pods = eventually(lambda: [p for p in jobs.pods(place) if owner(p) not in ended], what="the next one runs")
        ended.add(owner(pods[0]))
        jobs.complete(place, owner(pods[0]))
        if len(ended) == 3:
            plane.restart_api()
    for name in names:
        jobs.wait(place, name, "Completed")
    assert sorted(owner(pod) for pod in jobs.pods(place)) == names, "one Pod each"
    assert operator.running()


def test_an_operator_that_starts_without_an_api_server_waits_for_it(jobs, namespace, plane, operator, start_operator):
    if "kube-apiserver" not in plane.programs:
        pytest.skip("the API server of a given cluster is not ours to kill")
    operator.stop()
    place = namespace()
    plane.programs["kube-apiserver"].stop(signal.SIGKILL)
    late = start_operator()
    eventually(lambda: "is waited for" in late.log.read_text(), what="it waits")
    plane.restart_api()
    jobs.create(place, "chair")
    jobs.pod(place, "chair")


def owner(pod: dict) -> str:
    return str(pod["metadata"]["labels"]["recon3d.io/job-name"])
