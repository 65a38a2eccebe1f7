"""A job's way through the operator, from creation to each of its ends."""

from __future__ import annotations

import pytest
from kubecluster.world import NAMESPACE, job_spec
from recon3d_contract.errors import Code


def test_a_job_runs_and_completes(world):
    world.submit("chair")
    assert world.phase("chair") == "Queued"
    assert world.condition("chair", "QuotaReserved") == ("True", "Reserved")
    world.run("chair")
    assert world.phase("chair") == "Processing"
    world.complete("chair")
    status = world.status("chair")
    assert status["phase"] == "Completed"
    assert status["summary"]["verdict"] == "normal"
    assert status["summary"]["psnr"] == 31.5
    assert status["engines"]["nvdiffrec"]["phase"] == "Completed"
    assert status["artifacts"] == {
        "path": f"pvc:results/jobs/{world.uid('chair')}/attempts/1",
        "count": 26,
        "bytes": 9_000_000,
    }
    assert status["progress"]["percent"] == 100
    assert status["attempts"][0]["reason"] == "Completed"
    assert world.condition("chair", "Succeeded") == ("True", "Completed")


def test_a_finished_job_costs_one_creation_and_three_status_writes(world):
    world.submit("chair")
    world.run("chair")
    world.complete("chair")
    writes = [call for call in world.cluster.calls if not call.startswith("get")]
    assert writes == ["create_pod", "write_status", "write_status", "write_status"]


def test_nothing_is_written_when_nothing_changes(world):
    world.submit("chair")
    world.run("chair")
    before = len(world.cluster.calls)
    world.start()
    assert world.work() == 1
    assert len(world.cluster.calls) == before


def test_a_failure_of_the_job_is_final_and_tells_why(world):
    world.submit("chair")
    world.run("chair")
    world.end("chair", world.summary("chair", Code.QUALITY_BELOW_THRESHOLD), 42)
    status = world.status("chair")
    assert status["phase"] == "Failed"
    assert status["error"]["code"] == "QUALITY_BELOW_THRESHOLD"
    assert status["error"]["suggestion"]
    assert len(world.pods("chair")) == 1
    assert world.cluster.events[-1]["reason"] == "Failed"


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        ({"reason": "Evicted"}, Code.INFRASTRUCTURE_LOST, "Evicted"),
        (
            {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}]},
            Code.INFRASTRUCTURE_LOST,
            "DeletionByTaintManager",
        ),
        ({}, Code.INFRASTRUCTURE_LOST, "ContainerLost"),
    ],
)
def test_infrastructure_losses_are_retried_with_growing_pauses_up_to_the_limit(world, status, code, reason):
    world.submit("chair", retry={"limit": 2})
    starts = []
    for attempt in (1, 2, 3):
        assert len(world.pods("chair")) == attempt
        starts.append(world.cluster.now)
        world.run("chair")
        world.report("chair", {"phase": "Failed", **status})
        world.cluster.settle()
        world.work()
        if attempt < 3:
            assert world.phase("chair") == "Queued"
            assert world.condition("chair", "QuotaReserved") == ("False", "Retrying")
            world.advance(9 * 2 ** (attempt - 1))
            assert len(world.pods("chair")) == attempt
            world.advance(2 * 2 ** (attempt - 1))
    assert world.phase("chair") == "Failed"
    assert world.status("chair")["error"]["code"] == code.value
    assert [attempt["reason"] for attempt in world.status("chair")["attempts"]] == [reason] * 3


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("DisruptionTarget", "PreemptionByScheduler"), ("TerminationTarget", "WorkloadEvictedDueToPreempted")],
)
def test_a_run_that_had_to_make_room_does_not_count_against_the_limit(world, kind, reason):
    world.submit("chair", retry={"limit": 0})
    for attempt in (1, 2, 3):
        assert len(world.pods("chair")) == attempt
        world.run("chair")
        world.report("chair", {"phase": "Failed", "conditions": [{"type": kind, "status": "True", "reason": reason}]})
        world.cluster.settle()
        world.work()
        assert world.phase("chair") == "Queued"
        world.advance(300)
    world.run("chair")
    world.report("chair", {"phase": "Failed", "reason": "Evicted"})
    world.cluster.settle()
    world.work()
    assert world.phase("chair") == "Failed"
    assert [attempt["reason"] for attempt in world.status("chair")["attempts"]] == [reason] * 3 + ["Evicted"]


@pytest.mark.parametrize(
    ("exit_code", "reason", "code"),
    [(137, "OOMKilled", "OUT_OF_MEMORY"), (1, "Error", "INTERNAL"), (52, "Error", "GPU_OUT_OF_MEMORY"),
     (127, "Error", "INTERNAL")],
)  # fmt: skip
def test_a_runner_that_left_no_summary_is_judged_by_its_container(world, exit_code, reason, code):
    world.submit("chair")
    world.run("chair")
    world.end("chair", "Killed", exit_code, reason=reason)
    assert world.status("chair")["error"]["code"] == code
    assert world.phase("chair") == "Failed"


def test_a_summary_of_another_job_counts_for_nothing(world):
    world.submit("chair")
    world.run("chair")
    world.end("chair", world.summary("chair").replace(world.uid("chair"), "someone-else"))
    assert world.status("chair")["error"]["code"] == "INTERNAL"


def test_a_runner_stopped_from_outside_is_a_loss_and_not_a_cancellation(world):
    world.submit("chair")
    world.run("chair")
    world.end("chair", world.summary("chair", Code.CANCELLED), 34)
    assert world.phase("chair") == "Queued"
    assert world.status("chair")["attempts"][0]["reason"] == "Terminated"


def test_a_silent_node_loses_the_run_only_after_the_grace_time(world):
    world.submit("chair")
    world.run("chair")
    pod = world.pods("chair")[0]
    world.loop.run_until_complete(world.cluster.delete_pod("studio", pod["metadata"]["name"], pod["metadata"]["uid"]))
    world.work()
    assert world.phase("chair") == "Processing"
    world.advance(30 + 9)
    assert world.phase("chair") == "Processing"
    world.advance(2)
    assert world.status("chair")["attempts"][0]["reason"] == "NodeLost"
    assert world.pods("chair") == []
    world.cluster.settle()
    world.advance(60)
    assert len(world.pods("chair")) == 1


def test_a_deleted_pod_is_followed_by_another_even_without_retries(world):
    world.submit("chair", retry={"limit": 0})
    world.run("chair")
    world.complete_pod = world.pods("chair")[0]["metadata"]["name"]
    world.cluster.finish_deletion("studio", world.complete_pod)
    world.work()
    world.cluster.settle()
    world.advance(60)
    assert [pod["metadata"]["labels"]["recon3d.io/attempt"] for pod in world.pods("chair")] == ["2"]
    world.run("chair")
    world.end("chair", world.summary("chair", attempt=1))
    assert world.phase("chair") == "Completed"
    assert world.status("chair")["artifacts"]["path"].endswith("/attempts/1")


def test_a_run_is_ended_at_its_deadline_counted_from_the_containers_start(world):
    world.submit("chair", deadlines={"activeSeconds": 100}, limits={"softSeconds": 90})
    world.advance(500)  # an image pull eats nothing
    assert world.phase("chair") == "Queued"
    world.run("chair")
    world.advance(99)
    assert world.phase("chair") == "Processing"
    world.advance(1)
    assert world.phase("chair") == "Failed"
    assert world.status("chair")["error"]["details"] == {"limit": "deadlines.activeSeconds", "seconds": 100}
    assert "deletionTimestamp" in world.pods("chair")[0]["metadata"]


def test_a_job_that_waited_too_long_fails(world):
    world.submit("table")
    world.submit("chair", deadlines={"queueSeconds": 60, "activeSeconds": 7500})
    world.advance(59)
    assert world.phase("chair") == "Queued"
    world.advance(1)
    assert world.phase("chair") == "Failed"
    assert world.status("chair")["error"]["details"]["limit"] == "deadlines.queueSeconds"


def test_a_pod_whose_container_has_ended_is_kept_with_its_log(world):
    """The kubelet tells the container's end first, and the Pod's own phase a moment later."""
    world.submit("chair")
    world.run("chair")
    ended = {"exitCode": 0, "message": world.summary("chair"), "finishedAt": "2026-01-01T00:01:00Z"}
    state = [{"name": "runner", "state": {"terminated": ended}}]
    world.report("chair", {"phase": "Running", "containerStatuses": state})
    world.cluster.settle()
    world.work()
    assert world.phase("chair") == "Completed"
    (pod,) = world.pods("chair")
    assert "deletionTimestamp" not in pod["metadata"]


def test_a_finished_job_is_deleted_after_its_time(world):
    world.submit("chair", ttlSecondsAfterFinished=100)
    world.run("chair")
    world.complete("chair")
    world.advance(99)
    assert world.phase("chair") == "Completed"
    world.advance(1)
    assert world.cluster.jobs == {}
    assert world.cluster.pods == {}


def test_an_end_of_which_the_watch_tells_late_is_deleted_after_its_time_too(world):
    """The answer to the operator's own write is in the index before the watch tells the same version: no news."""
    late = []
    world.cluster.listener = lambda change, obj: late.append((change, obj))
    spec = job_spec(mesh={"budget": "web", "maxFaces": 5000}, ttlSecondsAfterFinished=3)
    world.cluster.add_job(NAMESPACE, "chair", spec)
    while late:
        world.controller.told(*late.pop(0))
        world.work()
    assert world.phase("chair") == "Failed"
    world.advance(3)
    assert world.cluster.jobs == {}


def test_a_namespace_that_is_not_enabled_is_told_so(make_world):
    world = make_world(namespaces=("lab",))
    world.submit("chair")
    assert world.phase("chair") == "Queued"
    assert world.condition("chair", "Accepted") == ("False", "NamespaceNotEnabled")
    assert world.pods() == []


def test_a_job_that_the_contract_refuses_fails_with_its_problems(world):
    world.submit("chair", mesh={"budget": "web", "maxFaces": 5000})
    assert world.status("chair")["error"]["code"] == "INVALID_REQUEST"
    assert "maxFaces" in world.status("chair")["error"]["message"]
    assert world.pods() == []


def test_a_volume_must_be_labelled_before_a_job_may_read_it(world):
    claim = {"metadata": {"name": "scans", "labels": {}}}
    world.cluster.claims["studio", "scans"] = claim
    world.submit("chair", input={"pvc": {"claimName": "scans", "path": "a"}})
    assert world.status("chair")["error"]["code"] == "INPUT_NOT_ALLOWED"
    claim["metadata"]["labels"]["recon3d.io/allow"] = "input"
    world.submit("table", input={"pvc": {"claimName": "scans", "path": "a"}})
    assert len(world.pods("table")) == 1
    world.submit("lamp", input={"pvc": {"claimName": "missing"}})
    world.complete("table")
    assert world.status("lamp")["error"]["code"] == "INPUT_NOT_FOUND"


def test_what_hinders_a_pod_is_in_the_conditions(world):
    world.submit("chair")
    condition = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes: 3 Insufficient nvidia.com/gpu."}
    world.report("chair", {"phase": "Pending", "conditions": [condition]})
    assert world.condition("chair", "RunnerReady") == ("False", "NoAccelerator")
    state = {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}
    world.report("chair", {"phase": "Pending", "containerStatuses": [{"name": "runner", "state": state}]})
    assert world.condition("chair", "RunnerReady") == ("False", "ImagePull")
    assert world.phase("chair") == "Queued"
