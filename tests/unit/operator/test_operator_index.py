"""The index never goes back in time, and grants end with a refusal."""

from __future__ import annotations

import copy

from kubecluster.world import NAMESPACE
from recon3d_operator.cluster.refusals import ApiError
from recon3d_operator.names import pod_name
from recon3d_operator.observe import Index


def job(version: int, uid: str = "u", **status):
    meta = {"name": "chair", "namespace": "n", "uid": uid, "resourceVersion": str(version)}
    return {"kind": "ReconstructionJob", "metadata": {**meta, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"input": {}}, "status": status}  # fmt: skip


def pod(version: int, uid: str = "p", phase: str = "Pending"):
    labels = {"recon3d.io/job-uid": "u", "recon3d.io/attempt": "1"}
    meta = {"name": "chair-1", "namespace": "n", "uid": uid, "resourceVersion": str(version), "labels": labels}
    return {"kind": "Pod", "metadata": meta, "spec": {}, "status": {"phase": phase}}


def test_an_older_version_never_replaces_a_newer_one():
    index = Index()
    assert index.put_job(job(5, phase="Processing"))
    assert not index.put_job(job(4, phase="Queued"))
    assert not index.put_job(job(5, phase="Queued"))
    assert index.jobs["n", "chair"]["status"]["phase"] == "Processing"


def test_the_answer_to_a_write_of_what_is_gone_brings_nothing_back():
    index = Index()
    index.put_job(job(1))
    index.put_pod(pod(2))
    index.drop_pod(pod(3))
    assert index.put_pod(pod(2)) is None
    assert index.pods_of(job(1)) == ()
    assert index.active("n") == 0
    index.drop_job(job(4))
    assert not index.put_job(job(3, phase="Queued"))
    assert index.jobs == {}


def test_a_job_made_again_under_its_name_is_another_one():
    index = Index()
    index.put_job(job(1))
    index.put_job(job(7, uid="v"))
    index.drop_job(job(6))
    assert index.jobs["n", "chair"]["metadata"]["uid"] == "v"


def test_of_a_job_that_is_over_next_to_nothing_is_kept():
    index = Index()
    index.put_job(job(1, phase="Completed", finishedAt="2026-01-01T00:00:00Z", summary={"reasons": ["x" * 1000]}))
    kept = index.jobs["n", "chair"]
    assert kept["spec"] == {}
    assert set(kept["status"]) == {"phase", "finishedAt"}


def test_only_pods_that_have_not_ended_are_active():
    index = Index()
    index.put_pod(pod(1))
    assert index.active("n") == 1
    index.put_pod(pod(2, phase="Succeeded"))
    assert index.active("n") == 0


def test_a_refusal_takes_every_grant_back(make_world):
    world = make_world()
    world.quota(0)
    for number in range(3):
        world.submit(f"job-{number}")
    tried = []

    def fault(when: str, call: str) -> ApiError | None:
        if call == "create_pod" and when == "before":
            tried.append(call)
            return ApiError(403, "exceeded quota: memory")
        return None

    world.cluster.fault = fault
    world.quota(3)
    assert len(tried) == 1, "the others must not run into the same refusal"


def test_a_name_that_is_taken_by_another_object_fails_the_job(make_world):
    world = make_world()
    world.quota(1)
    world.submit("other")
    taken = copy.deepcopy(world.pods("other")[0])
    world.quota(0)
    world.submit("chair")
    name = pod_name("chair", world.uid("chair"), 1)
    taken["metadata"]["name"] = name
    world.cluster.pods[NAMESPACE, name] = taken
    world.quota(5)
    assert world.status("chair")["error"]["code"] == "INTERNAL"


def test_a_pod_that_is_there_already_is_adopted_although_the_watch_is_late(make_world):
    world = make_world()
    world.cluster.listener = lambda change, obj: obj["kind"] == "Pod" or world.controller.told(change, obj)
    lost = [True]

    def fault(when: str, call: str) -> ApiError | None:
        if when == "after" and call == "create_pod" and lost:
            lost.clear()
            return ApiError(0, "no answer")
        return None

    world.cluster.fault = fault
    world.submit("chair")
    world.advance(10)
    assert len(world.pods("chair")) == 1
    assert world.condition("chair", "QuotaReserved") == ("True", "Reserved")


def test_what_vanished_between_the_list_and_the_watch_is_found(make_world):
    world = make_world()
    world.quota(1)
    world.submit("chair")
    everything = list(world.cluster.everything())
    del world.cluster.pods[NAMESPACE, world.pods("chair")[0]["metadata"]["name"]]
    world.cluster.quotas.clear()
    world.start()
    for obj in everything:
        world.controller.listed(obj)
    world.work()
    assert world.status("chair")["attempts"][0].get("reason") is None
    world.loop.run_until_complete(world.controller.confirm(100))
    world.work()
    assert world.status("chair")["attempts"][0]["reason"] == "PodDeleted"
    assert world.controller.index.quotas(NAMESPACE) == ()
    before = len(world.cluster.calls)
    world.loop.run_until_complete(world.controller.confirm(100))
    assert len(world.cluster.calls) == before, "each is looked after once"
