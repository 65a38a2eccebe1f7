"""A job of both engines: one Pod of two containers, and what becomes of the job when the first one dies."""

from __future__ import annotations

from typing import Any

import pytest
from recon3d_operator.decide import decide
from recon3d_operator.model import Observed
from recon3d_operator.times import stamp


@pytest.fixture
def both(make_world):
    world = make_world(reconviagen_image="registry.example/reconviagen:1")
    world.quota(1)
    world.submit("chair", engine="both")
    return world


def container(name: str, **state: Any) -> dict[str, Any]:
    return {"name": name, "state": state}


def first_runs(world) -> None:
    running = container("reconviagen", running={"startedAt": stamp(world.cluster.now)})
    waiting = container("runner", waiting={"reason": "PodInitializing"})
    world.report("chair", {"phase": "Pending", "initContainerStatuses": [running], "containerStatuses": [waiting]})


def first_dies(world, reason: str, exit_code: int, **status: Any) -> None:
    times = {"startedAt": stamp(world.cluster.now), "finishedAt": stamp(world.cluster.now)}
    ended = container("reconviagen", terminated={"reason": reason, "exitCode": exit_code, **times})
    waiting = container("runner", waiting={"reason": "PodInitializing"})
    entries = {"initContainerStatuses": [ended], "containerStatuses": [waiting]}
    world.report("chair", {"phase": "Failed", **entries, **status})


def test_it_is_processing_from_the_first_containers_start(both):
    first_runs(both)
    assert both.phase("chair") == "Processing"
    assert both.condition("chair", "RunnerReady") == ("True", "Running")
    started = both.status("chair")["startedAt"]
    both.advance(60)
    both.run("chair")
    both.complete("chair")
    assert both.phase("chair") == "Completed"
    assert both.status("chair")["startedAt"] == started


def test_the_deadline_counts_from_the_first_containers_start(both):
    first_runs(both)
    both.advance(7501)
    assert both.status("chair")["error"]["code"] == "TIME_LIMIT_EXCEEDED"


@pytest.mark.parametrize(
    ("reason", "exit_code", "code"), [("OOMKilled", 137, "OUT_OF_MEMORY"), ("Error", 139, "INTERNAL")]
)
def test_the_death_of_the_first_engines_container_does_not_lose_the_other_engine(both, reason, exit_code, code):
    both.change("chair", retry={"limit": 0})
    first_runs(both)
    first_dies(both, reason, exit_code)
    assert both.phase("chair") == "Queued"
    attempt = both.status("chair")["attempts"][0]
    assert (attempt["reason"], attempt["lostEngine"], attempt["lostCode"]) == (
        f"EngineLost{reason}",
        "reconviagen",
        code,
    )
    assert [event["reason"] for event in both.cluster.events] == ["EngineLost"]
    both.cluster.settle()
    both.advance(30)
    second = both.pods("chair")[1]
    assert [each["name"] for each in second["spec"]["initContainers"]] == ["folder"]
    both.run("chair")
    both.complete("chair")
    assert both.phase("chair") == "Completed"


def test_the_next_run_needs_no_further_event(both):
    first_runs(both)
    job, (pod,) = both.cluster.jobs["studio", "chair"], both.pods("chair")
    state = {"terminated": {"reason": "OOMKilled", "exitCode": 137, "finishedAt": stamp(both.cluster.now)}}
    pod = {**pod, "status": {"phase": "Failed", "initContainerStatuses": [container("reconviagen", **state)]}}
    decision = decide(Observed(job=job, pods=(pod,)), both.settings, both.cluster.now)
    assert decision.look_again_at == both.cluster.now + both.settings.retry_base_s


def test_it_is_left_out_once_only(both):
    first_runs(both)
    first_dies(both, "OOMKilled", 137)
    both.cluster.settle()
    both.advance(30)
    both.run("chair")
    both.end("chair", exit_code=1)
    assert both.status("chair")["error"]["code"] == "INTERNAL"
    assert both.phase("chair") == "Failed"


def test_a_node_that_takes_both_containers_away_is_an_infrastructure_loss(both):
    first_runs(both)
    disrupted = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}
    first_dies(both, "Error", 137, conditions=[disrupted])
    attempt = both.status("chair")["attempts"][0]
    assert "lostEngine" not in attempt
    both.cluster.settle()
    both.advance(30)
    assert [each["name"] for each in both.pods("chair")[1]["spec"]["initContainers"]] == ["folder", "reconviagen"]


def test_a_cancelled_job_ends_in_its_first_container(both):
    first_runs(both)
    both.change("chair", cancel={"request": "stop"})
    both.change("chair", cancel={"request": "stop", "confirm": "stop"})
    assert both.phase("chair") == "Cancelled"
