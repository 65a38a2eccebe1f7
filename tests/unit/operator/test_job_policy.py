"""What an administrator's policy lets a job ask for, and what becomes of it."""

from __future__ import annotations

import pytest
from recon3d_operator.rules.admission import below, quantity


def refused(world) -> list[str]:
    error = world.status("chair").get("error") or {}
    return [problem["path"] for problem in error.get("details", {}).get("problems", [])]


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"pod": {"resources": {"memory": "1Gi"}}}, "pod.resources"),
        ({"pod": {"tolerations": []}}, "pod.tolerations"),
        ({"webhook": {"url": "https://example.com", "secretRef": {"name": "s"}}}, "webhook"),
        ({"queueName": "gpus"}, "queueName"),
        ({"output": {"ref": "s3://other/x"}}, "output.ref"),
    ],
)
def test_what_is_not_allowed_is_named_and_nothing_is_made(world, spec, path):
    world.submit("chair", **spec)
    assert world.phase("chair") == "Failed"
    assert refused(world) == [path]
    assert world.pods("chair") == []


def test_all_that_is_not_allowed_is_named_at_once(world):
    world.submit("chair", queueName="gpus", output={"ref": "s3://other/x"})
    assert refused(world) == ["queueName", "output.ref"]


def test_resources_are_taken_up_to_the_limit(make_world):
    world = make_world(pod_overrides=("resources",), max_memory="32Gi", max_cpu="8")
    world.quota(1)
    world.submit("table", pod={"resources": {"memory": "48Gi", "cpu": "16"}})
    assert "at most 32Gi" in world.status("table")["error"]["message"]
    world.submit("chair", pod={"resources": {"memory": "32Gi", "cpu": "500m"}})
    (pod,) = world.pods("chair")
    resources = pod["spec"]["containers"][0]["resources"]
    assert resources["requests"] == {"cpu": "500m", "memory": "32Gi", "nvidia.com/gpu": "1"}
    assert resources["limits"] == {"memory": "32Gi", "nvidia.com/gpu": "1"}
    assert "resources" not in pod["spec"]


def test_a_queue_of_kueue_becomes_the_pods_label(make_world):
    world = make_world(kueue=True)
    world.submit("chair", queueName="gpus")
    (pod,) = world.pods("chair")
    assert pod["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"


def test_an_allowed_output_is_where_the_result_goes(make_world, environment_of):
    world = make_world(store="s3://results", output_refs=("s3://theirs/team",))
    world.submit("chair", output={"ref": "s3://theirs/team/a"})
    (pod,) = world.pods("chair")
    assert environment_of(pod)["RECON3D_OUTPUT"] == "s3://theirs/team/a"
    world.complete("chair")
    assert world.status("chair")["artifacts"]["path"].startswith("s3://theirs/team/a/jobs/")


@pytest.mark.parametrize(
    ("ref", "inside"),
    [
        ("s3://b/team", True),
        ("s3://b/team/a", True),
        ("s3://b/teams", False),
        ("s3://b/team/../other", False),
        ("s3://b", False),
    ],
)
def test_below_a_place(ref, inside):
    assert below(ref, ("s3://b/team/",)) is inside


def test_quantities():
    assert [quantity(text) for text in ("500m", "2", "1k", "1Ki", "1.5Gi")] == [0.5, 2, 1000, 1024, 1.5 * 2**30]
