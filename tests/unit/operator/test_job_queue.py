"""Who goes next, what is told of the wait, and what the API server's refusals lead to."""

from __future__ import annotations

import pytest
from recon3d_operator.cluster.refusals import TABLE, ApiError, Kind, classify


def test_jobs_start_by_priority_then_age(make_world):
    world = make_world()
    world.quota(0)
    for name, priority in (("old", 0), ("new", 0), ("urgent", 5), ("late", -5)):
        world.submit(name, priority=priority)
        world.cluster.now += 1
    world.quota(4)
    assert world.started() == ["urgent", "old", "new", "late"]


def test_never_more_pods_than_the_quota(world):
    for number in range(5):
        world.submit(f"job-{number}")
    assert world.started() == ["job-0"]
    world.complete("job-0")
    assert world.started() == ["job-0", "job-1"]
    world.quota(3)
    assert world.started() == ["job-0", "job-1", "job-2", "job-3"]


def test_a_terminal_pod_alone_does_not_start_the_next_before_the_quota_counts_it(world):
    world.submit("a")
    world.submit("b")
    world.end("a", world.summary("a"))
    assert world.started() == ["a"]
    assert world.phase("a") == "Completed"
    world.cluster.settle()
    world.work()
    assert world.started() == ["a", "b"]


def test_without_a_quota_nothing_waits(make_world):
    world = make_world()
    for number in range(5):
        world.submit(f"job-{number}")
    assert len(world.pods()) == 5


def test_a_cpu_installation_has_its_own_limit(make_world):
    world = make_world(device="cpu", max_running=2)
    for number in range(3):
        world.submit(f"job-{number}")
    assert len(world.pods()) == 2
    assert world.status("job-2")["waitingFor"] == "2 of 2 allowed jobs run"
    requests = world.pods()[0]["spec"]["containers"][0]["resources"]["requests"]
    assert "nvidia.com/gpu" not in requests


def test_the_place_in_the_queue_is_told_and_kept_up_to_date(world):
    for number in range(4):
        world.submit(f"job-{number}")
        world.cluster.now += 1
    assert [world.status(f"job-{n}").get("queuePosition") for n in range(4)] == [None, 1, 2, 3]
    waiting = "2 jobs ahead; requests.nvidia.com/gpu of quota gpu: 1 of 1 used"
    assert world.status("job-3")["waitingFor"] == waiting
    assert world.condition("job-3", "QuotaReserved") == ("False", "QuotaExceeded")
    world.complete("job-0")
    assert "queuePosition" not in world.status("job-1")
    world.advance(3)
    assert world.status("job-2")["queuePosition"] == 1
    assert world.status("job-3")["queuePosition"] == 2


def test_a_long_queue_is_not_rewritten_with_every_start(world):
    for number in range(200):
        world.submit(f"job-{number:03}")
        world.cluster.now += 1
    before = world.cluster.calls.count("write_status")
    world.complete("job-000")
    # The finished one, the started one, the new head: nobody else.
    assert world.cluster.calls.count("write_status") - before <= 4


def test_suspended_jobs_are_passed_by(world):
    world.quota(0)
    world.submit("first", suspend=True)
    world.submit("second")
    world.quota(1)
    assert world.started() == ["second"]
    assert world.condition("first", "QuotaReserved") == ("False", "Suspended")
    world.complete("second")
    world.change("first", suspend=False)
    assert world.started() == ["second", "first"]


def test_a_raised_priority_counts_at_once(world):
    for name in ("running", "a", "b"):
        world.submit(name)
        world.cluster.now += 1
    world.change("b", priority=3)
    assert world.status("b")["queuePosition"] == 1
    world.complete("running")
    assert world.started() == ["running", "b"]


def test_other_peoples_pods_count(world):
    labels = {"recon3d.io/job-name": "-", "recon3d.io/attempt": "0", "recon3d.io/job-uid": "other"}
    spec = {"containers": [{"resources": {"requests": {"nvidia.com/gpu": 1}}}]}
    notebook = {"metadata": {"name": "n", "labels": labels}, "spec": spec}
    world.loop.run_until_complete(world.cluster.create_pod("studio", notebook))
    world.submit("a")
    assert world.started() == ["-"]
    world.cluster.finish_deletion("studio", "n")
    world.cluster.settle()
    world.work()
    assert world.started() == ["a"]


REFUSALS = [
    (403, 'pods "x" is forbidden: exceeded quota: gpu, requested: ...', Kind.WAIT, "QuotaExceeded"),
    (403, "pods is forbidden: failed quota: gpu: must specify limits.cpu", Kind.HELP, "QuotaMustSpecify"),
    (403, 'pods "x" is forbidden: status unknown for quota: gpu', Kind.RETRY, "QuotaNotReady"),
    (403, 'pods "x" is forbidden: violates PodSecurity "restricted"', Kind.HELP, "PodSecurity"),
    (403, 'pods is forbidden: User "o" cannot create resource "pods"', Kind.HELP, "Forbidden"),
    (403, 'error looking up service account a/r: serviceaccount "r" not found', Kind.HELP, "ServiceAccountMissing"),
    (403, "unable to create new content because it is being terminated", Kind.GONE, "NamespaceTerminating"),
    (403, 'no PriorityClass with name high was found', Kind.REFUSED, "PriorityClassMissing"),
    (400, 'admission webhook "w.example" denied the request: no', Kind.HELP, "WebhookDenied"),
    (500, 'Internal error occurred: failed calling webhook "w.example"', Kind.RETRY, "WebhookUnavailable"),
    (409, "AlreadyExists: pods x already exists", Kind.EXISTS, "AlreadyExists"),
    (409, "Conflict: Operation cannot be fulfilled on resourcequotas gpu", Kind.RETRY, "QuotaConflict"),
    (409, "Conflict: the object has been modified", Kind.CONFLICT, "Conflict"),
    (404, "NotFound: pods x not found", Kind.GONE, "NotFound"),
    (410, "Expired: too old resource version", Kind.GONE, "Gone"),
    (401, "Unauthorized", Kind.HELP, "Unauthorized"),
    (400, "BadRequest: cannot decode", Kind.REFUSED, "BadRequest"),
    (413, "too large", Kind.REFUSED, "TooLarge"),
    (422, "Invalid: spec.x", Kind.REFUSED, "Invalid"),
    (403, 'pod rejected: RuntimeClass "gvisor" not found', Kind.REFUSED, "RuntimeClassMissing"),
    (429, "TooManyRequests", Kind.RETRY, "TooManyRequests"),
    (500, "etcdserver: leader changed", Kind.RETRY, "ServerError"),
    (503, "the server is starting", Kind.RETRY, "ServerError"),
    (0, "no answer", Kind.RETRY, "NoAnswer"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "text", "kind", "reason"), REFUSALS)
def test_every_refusal_has_its_row(status, text, kind, reason):
    row = classify(status, text)
    assert (row.kind, row.reason) == (kind, reason)


def test_every_row_is_reached():
    assert {reason for *_, reason in REFUSALS} == {row.reason for row in TABLE}


@pytest.mark.parametrize(("status", "text", "kind", "reason"), REFUSALS)
def test_what_each_refusal_of_a_pod_leads_to(world, status, text, kind, reason):
    if kind is Kind.EXISTS:
        pytest.skip("has its own test: the Pod is there")
    left = [3]

    def fault(when: str, call: str) -> ApiError | None:
        if when == "before" and call == "create_pod" and left[0]:
            left[0] -= 1
            return ApiError(status, text)
        return None

    world.cluster.fault = fault
    world.submit("chair")
    if kind is Kind.REFUSED:
        assert world.phase("chair") == "Failed"
        assert world.status("chair")["error"]["code"] == "INVALID_REQUEST"
        return
    if kind in (Kind.WAIT, Kind.RETRY, Kind.HELP):
        assert world.condition("chair", "QuotaReserved") == ("False", reason)
    world.advance(120)
    assert len(world.pods("chair")) == 1
    assert world.condition("chair", "QuotaReserved") == ("True", "Reserved")


@pytest.mark.parametrize(("status", "text", "kind", "reason"), [row for row in REFUSALS if row[2] is not Kind.EXISTS])
def test_no_refusal_is_met_again_and_again_without_a_pause(world, status, text, kind, reason):
    """As in a namespace that takes long to go: every refusal of it is a request, and a turn of the whole operator."""

    def fault(when: str, call: str) -> ApiError | None:
        return ApiError(status, text) if when == "before" and call == "create_pod" else None

    world.cluster.fault = fault
    world.submit("chair")
    world.submit("table")
    world.advance(60)
    assert world.cluster.calls.count("create_pod") < 80, (kind, reason)


def test_a_creation_whose_answer_was_lost_is_not_repeated(world):
    lost = [True]

    def fault(when: str, call: str) -> ApiError | None:
        if when == "after" and call == "create_pod" and lost.pop() if lost else False:
            return ApiError(0, "no answer")
        return None

    world.cluster.fault = fault
    world.cluster.listener = lambda change, obj: obj["kind"] == "Pod" or world.controller.told(change, obj)
    world.submit("chair")
    assert world.condition("chair", "QuotaReserved") == ("False", "NoAnswer")
    world.cluster.listener = world.controller.told
    world.advance(30)
    world.controller.told("ADDED", world.pods("chair")[0])  # the watch was only late
    world.work()
    assert len(world.pods("chair")) == 1
    assert world.condition("chair", "QuotaReserved") == ("True", "Reserved")


def test_a_status_changed_meanwhile_is_looked_at_again(world):
    raced = [True]

    def fault(when: str, call: str) -> ApiError | None:
        if when == "before" and call == "write_status" and raced:
            raced.clear()
            world.cluster.change_job("studio", "chair", priority=9)
        return None

    world.cluster.fault = fault
    world.submit("chair")
    world.advance(1)
    assert world.status("chair")["observedGeneration"] == 2
    assert len(world.pods("chair")) == 1
