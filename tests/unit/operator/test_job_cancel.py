"""Cancelling in two steps, with the operator's clock."""

from __future__ import annotations

from recon3d_contract.errors import Code


def test_a_request_alone_ends_nothing(world):
    world.submit("chair")
    world.run("chair")
    world.change("chair", cancel={"request": "a"})
    record = world.status("chair")["cancellation"]
    assert record["state"] == "Requested"
    assert world.phase("chair") == "Processing"


def test_a_confirmed_cancel_ends_a_running_job_and_frees_the_gpu(world):
    world.submit("chair")
    world.run("chair")
    world.submit("table")
    world.change("chair", cancel={"request": "a"})
    world.change("chair", cancel={"request": "a", "confirm": "a"})
    assert world.phase("chair") == "Cancelled"
    assert world.status("chair")["error"]["code"] == "CANCELLED"
    pod = world.pods("chair")[0]
    assert "deletionTimestamp" in pod["metadata"]
    world.cluster.finish_deletion("studio", pod["metadata"]["name"])
    world.cluster.settle()
    world.work()
    assert len(world.pods("table")) == 1
    assert world.phase("chair") == "Cancelled"


def test_a_queued_job_is_cancelled_at_once(world):
    world.submit("running")
    world.submit("chair")
    world.change("chair", cancel={"request": "a"})
    world.change("chair", cancel={"request": "a", "confirm": "a"})
    assert world.phase("chair") == "Cancelled"
    assert world.pods("chair") == []
    assert "queuePosition" not in world.status("chair")


def test_a_late_confirmation_is_answered(world):
    world.submit("chair")
    world.run("chair")
    world.change("chair", cancel={"request": "a"})
    world.advance(3600)
    assert world.status("chair")["cancellation"]["state"] == "Expired"
    world.change("chair", cancel={"request": "a", "confirm": "a"})
    assert world.phase("chair") == "Processing"
    assert world.condition("chair", "CancelRequested") == ("False", "CancelRequestExpired")
    assert world.cluster.events[-1]["reason"] == "CancelRequestExpired"


def test_a_new_token_is_a_new_request(world):
    world.submit("chair")
    world.run("chair")
    world.change("chair", cancel={"request": "a"})
    world.advance(3000)
    world.change("chair", cancel={"request": "b"})
    world.advance(3000)
    assert world.status("chair")["cancellation"]["state"] == "Requested"
    world.change("chair", cancel={"request": "b", "confirm": "b"})
    assert world.phase("chair") == "Cancelled"


def test_a_result_that_came_first_counts(world):
    world.submit("chair")
    world.run("chair")
    world.change("chair", cancel={"request": "a"})
    world.cluster.change_job("studio", "chair", cancel={"request": "a", "confirm": "a"})
    world.complete("chair")
    assert world.phase("chair") == "Completed"
    assert world.status("chair")["cancellation"]["state"] == "TooLate"


def test_a_cancelled_run_is_not_retried(world):
    world.submit("chair")
    world.run("chair")
    world.change("chair", cancel={"request": "a"})
    world.change("chair", cancel={"request": "a", "confirm": "a"})
    world.end("chair", world.summary("chair", Code.CANCELLED), 34)
    world.advance(1000)
    assert world.phase("chair") == "Cancelled"
    assert len(world.pods("chair")) == 1


def test_final_phases_never_change(world):
    world.submit("chair")
    world.run("chair")
    world.complete("chair")
    before = world.status("chair")
    world.change("chair", cancel={"request": "a"})
    world.change("chair", cancel={"request": "a", "confirm": "a"})
    world.cluster.finish_deletion("studio", world.pods("chair")[0]["metadata"]["name"])
    world.advance(10_000)
    assert world.status("chair") == before
