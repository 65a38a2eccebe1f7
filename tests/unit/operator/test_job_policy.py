"""What an administrator's policy lets a job ask for, and what becomes of it."""

from __future__ import annotations

import base64

import pytest
from kubecluster.world import NAMESPACE
from recon3d_contract.store import below
from recon3d_operator.rules.admission import quantity


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


def test_a_result_that_goes_elsewhere_needs_no_folder_in_the_volume(make_world):
    world = make_world(store="pvc:results", output_refs=("s3://theirs/team",))
    world.submit("chair", output={"ref": "s3://theirs/team/a"})
    (pod,) = world.pods("chair")
    volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
    containers = [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]
    assert {mount["name"] for each in containers for mount in each["volumeMounts"]} <= volumes
    assert pod["spec"]["initContainers"] == []


@pytest.mark.parametrize(
    ("ref", "inside"),
    [
        ("s3://b/team", True),
        ("s3://b/team/a", True),
        ("s3://b/teams", False),
        ("s3://b/team/../other", False),
        ("s3://b", False),
        ("s3://b/team//a", False),
    ],
)
def test_below_a_place(ref, inside):
    assert below(ref, ("s3://b/team/",)) is inside


def test_quantities():
    assert [quantity(text) for text in ("500m", "2", "1k", "1Ki", "1.5Gi")] == [0.5, 2, 1000, 1024, 1.5 * 2**30]


def hook(secret: str = "hook") -> dict:
    return {"url": "https://example.com/done", "secretRef": {"name": secret}}


def add_secret(world, name: str = "hook", value: str = "whsec_" + "a" * 32, **labels: str) -> None:
    data = {"secret": base64.b64encode(value.encode()).decode()}
    world.cluster.secrets[NAMESPACE, name] = {"metadata": {"name": name, "labels": labels}, "data": data}


def test_a_webhooks_secret_is_looked_at_before_the_queue(make_world):
    world = make_world(webhooks=True)
    world.quota(0)
    add_secret(world, **{"recon3d.io/allow": "input.webhook"})
    world.submit("chair", webhook=hook())
    assert world.phase("chair") == "Queued"
    assert world.condition("chair", "WebhookReady") == ("True", "SecretUsable")


def test_a_secret_that_its_owner_has_not_given_refuses_the_job(make_world):
    world = make_world(webhooks=True)
    add_secret(world, **{"recon3d.io/allow": "input"})
    world.submit("chair", webhook=hook())
    assert (world.phase("chair"), world.condition("chair", "Accepted")) == ("Failed", ("False", "InvalidRequest"))
    assert refused(world) == ["webhook.secretRef"]
    assert "recon3d.io/allow=webhook" in world.status("chair")["error"]["message"]
    assert world.pods("chair") == []


@pytest.mark.parametrize(("value", "reason"), [(None, "SecretMissing"), ("no key", "SecretInvalid")])
def test_a_secret_that_may_yet_come_right_only_warns(make_world, value, reason):
    world = make_world(webhooks=True)
    world.quota(0)
    if value is not None:
        add_secret(world, value=value, **{"recon3d.io/allow": "webhook"})
    world.submit("chair", webhook=hook())
    assert world.condition("chair", "WebhookReady") == ("False", reason)
    add_secret(world, **{"recon3d.io/allow": "webhook"})
    world.quota(1)
    world.run("chair")
    assert world.condition("chair", "WebhookReady") == ("True", "SecretUsable"), "it is looked at again at the start"


def test_where_webhooks_are_off_no_secret_is_read(world):
    world.submit("chair", webhook=hook())
    assert "get_secret" not in world.cluster.calls


@pytest.mark.parametrize(
    ("url", "hosts", "code"),
    [
        ("https://files.example/a.zip", ("files.example",), None),
        ("https://files.example:8443/a.zip", ("files.example",), "INPUT_NOT_ALLOWED"),
        ("https://evil.example/a.zip", ("files.example",), "INPUT_NOT_ALLOWED"),
        ("https://files.example/a.zip", (), "INPUT_NOT_ALLOWED"),
        ("https://169.254.169.254/latest/", ("169.254.169.254",), "INPUT_NOT_ALLOWED"),
        ("https://10.96.0.1/api", ("10.96.0.1",), "INPUT_NOT_ALLOWED"),
        ("https://[::ffff:169.254.169.254]/", ("[::ffff:169.254.169.254]",), "INPUT_NOT_ALLOWED"),
    ],
)
def test_a_host_that_is_not_allowed_is_told_before_the_queue(make_world, url, hosts, code):
    world = make_world(input_hosts=hosts)
    world.submit("chair", input={"url": url, "sha256": "0" * 64})
    error = world.status("chair").get("error") or {}
    assert error.get("code") == code
    if code:
        assert world.condition("chair", "Accepted") == ("False", "InputNotAllowed")
        assert error["suggestion"]
        assert world.pods("chair") == []


@pytest.mark.parametrize(
    ("s3", "allowed", "fine"),
    [
        ("s3://scans/chair.zip", (), True),
        ("s3://scans/public/chair.zip", ("s3://scans/public/",), True),
        ("s3://scans/private/chair.zip", ("s3://scans/public/",), False),
        ("s3://results/team/jobs/another/attempts/1", (), False),
        ("s3://results/team/inputs/another", ("s3://results/",), False),
        ("s3://results/team", (), False),
        ("s3://results/x/../team/jobs", (), False),
        ("s3://results/teams/chair.zip", (), True),
    ],
)
def test_a_bucket_is_no_way_to_the_results_of_others(make_world, s3, allowed, fine):
    world = make_world(store="s3://results/team", input_s3=allowed)
    world.submit("chair", input={"s3": s3})
    error = world.status("chair").get("error") or {}
    assert error.get("code") == (None if fine else "INPUT_NOT_ALLOWED")
    assert bool(world.pods("chair")) is fine
