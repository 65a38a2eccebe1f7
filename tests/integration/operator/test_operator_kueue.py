"""Jobs that queue in Kueue: its real controller admits their Pods."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kubecluster.client import Client, eventually
from kubecluster.kueue import cluster_queue, home, kueue, local_queue

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(240, func_only=True),
    pytest.mark.skipif(home() is None, reason="Kueue is not on this machine (tests/cluster/kubecluster/kueue.py)"),
]


@pytest.fixture(scope="module", autouse=True)
def controller(plane, admin, tmp_path_factory) -> Iterator[None]:
    if "kube-apiserver" not in plane.programs:
        pytest.skip("a given cluster's API server need not reach this machine")
    with kueue(plane, tmp_path_factory.mktemp("kueue")) as program:
        cluster_queue(admin, "one-gpu", 1)
        yield
        assert program.running(), program.tail()


@pytest.fixture
def place(namespace, admin, start_operator) -> str:
    start_operator(RECON3D_KUEUE="true", RECON3D_POD_OVERRIDES="priorityClassName")
    name = str(namespace(gpus=None))
    local_queue(admin, name, "gpus", "one-gpu")
    return name


def why(jobs, place: str, name: str, kind: str = "RunnerReady") -> str:
    conditions = jobs.status(place, name).get("conditions") or []
    return next((each["reason"] for each in conditions if each["type"] == kind), "")


def admitted(jobs, place: str) -> list[str]:
    """Names of the jobs whose Pods nobody holds back."""
    pods = jobs.pods(place)
    return [p["metadata"]["labels"]["recon3d.io/job-name"] for p in pods if not p["spec"].get("schedulingGates")]


def test_a_job_waits_until_kueue_admits_it(jobs, place, admin: Client):
    for name in ("a", "b"):
        jobs.create(place, name, queueName="gpus")
        eventually(lambda n=name: jobs.pods(place, n), what=f"{name} has its Pod")
    (first,) = eventually(lambda: admitted(jobs, place), what="one is admitted")
    second = "b" if first == "a" else "a"
    eventually(lambda: why(jobs, place, second) == "SchedulingGated", what="the other one says what it waits for")
    status = jobs.status(place, second)
    assert status["phase"] == "Queued"
    assert status["waitingFor"] == "The Kueue queue gpus has not admitted the Pod."
    assert why(jobs, place, second, "QuotaReserved") == "SchedulingGated"
    eventually(lambda: jobs.pod(place, first)["spec"].get("nodeName"), what="the scheduler has placed the first one")
    jobs.complete(place, first)
    jobs.wait(place, first, "Completed")
    eventually(lambda: sorted(admitted(jobs, place)) == ["a", "b"], what="its place goes to the other one")
    eventually(lambda: why(jobs, place, second, "QuotaReserved") == "Reserved", what="which is told")
    assert "waitingFor" not in jobs.status(place, second)
    jobs.complete(place, second)
    jobs.wait(place, second, "Completed")


def test_a_job_that_is_held_back_can_be_cancelled(jobs, place):
    for name in ("a", "b"):
        jobs.create(place, name, queueName="gpus")
    (first,) = eventually(lambda: admitted(jobs, place), what="one is admitted")
    second = "b" if first == "a" else "a"
    eventually(lambda: why(jobs, place, second) == "SchedulingGated", what="the other one waits")
    jobs.change(place, second, cancel={"request": "x"})
    jobs.change(place, second, cancel={"request": "x", "confirm": "x"})
    jobs.wait(place, second, "Cancelled")
    eventually(lambda: not jobs.pods(place, second), what="Kueue lets its Pod go")
    jobs.complete(place, first)


def test_a_job_that_has_to_make_room_runs_again_later(jobs, place, admin: Client):
    important = {"metadata": {"name": "important"}, "value": 1000}
    admin.ensure("/apis/scheduling.k8s.io/v1/priorityclasses", important)
    jobs.create(place, "low", queueName="gpus", retry={"limit": 0})
    eventually(lambda: jobs.pod(place, "low")["spec"].get("nodeName"), what="the first one has its place")
    jobs.run(place, "low")
    jobs.create(place, "high", queueName="gpus", pod={"priorityClassName": "important"})
    eventually(lambda: jobs.pod(place, "low")["metadata"].get("deletionTimestamp"), what="Kueue takes its place back")
    jobs.end(place, "low", exit_code=143)
    eventually(lambda: "high" in admitted(jobs, place), what="the more important one has it")
    eventually(lambda: why(jobs, place, "low") == "SchedulingGated", what="the other one waits again")
    status = jobs.status(place, "low")
    assert status["phase"] == "Queued"
    assert status["attempts"][0]["reason"] == "WorkloadEvictedDueToPreempted"
    jobs.complete(place, "high")
    jobs.wait(place, "high", "Completed")
    jobs.complete(place, "low", attempt=2)
    jobs.wait(place, "low", "Completed")


def test_a_job_without_a_queue_is_none_of_kueues(jobs, place):
    jobs.create(place, "chair")
    pod = jobs.pod(place, "chair")
    assert not pod["spec"].get("schedulingGates")
    assert why(jobs, place, "chair") != "SchedulingGated"
    jobs.complete(place, "chair")
