"""A Pod that Kueue holds back: the job waits for another queue, which is neither a fault nor a start."""

from __future__ import annotations

import pytest

GATED = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "non-empty gates"}
NO_NODE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes: taints"}


@pytest.fixture
def world(make_world):
    world = make_world(kueue=True, start_timeout_s=60.0)
    world.submit("chair", queueName="gpus", deadlines={"activeSeconds": 7500, "queueSeconds": 100_000})
    world.report("chair", {"phase": "Pending", "conditions": [GATED]})
    return world


def test_it_is_queued_and_says_for_whom_it_waits(world):
    assert world.phase("chair") == "Queued"
    assert world.condition("chair", "RunnerReady") == ("False", "SchedulingGated")
    assert world.condition("chair", "QuotaReserved") == ("False", "SchedulingGated")
    assert world.status("chair")["waitingFor"] == "The Kueue queue gpus has not admitted the Pod."


def test_the_time_for_starting_begins_with_its_admission(world):
    world.advance(3600)
    assert world.phase("chair") == "Queued", "waiting for Kueue is no failure to start"
    world.report("chair", {"phase": "Pending", "conditions": [NO_NODE]})
    assert world.condition("chair", "QuotaReserved") == ("True", "Reserved")
    assert world.condition("chair", "RunnerReady") == ("False", "Unschedulable")
    assert "waitingFor" not in world.status("chair")
    world.advance(50)
    assert world.phase("chair") == "Queued"
    world.advance(20)
    assert world.status("chair")["error"]["code"] == "INFRASTRUCTURE_LOST"


def test_the_deadline_of_the_queue_counts_all_the_same(world):
    world.advance(100_001)
    assert world.status("chair")["error"]["code"] == "TIME_LIMIT_EXCEEDED"


def test_an_admitted_job_runs_and_ends_as_any_other(world):
    world.run("chair")
    assert world.phase("chair") == "Processing"
    world.complete("chair")
    assert world.phase("chair") == "Completed"
