"""What goes wrong on a real node in the middle of a job, and what becomes of the job."""

from __future__ import annotations

import pytest
from e2e_world import LASTS, NAMESPACE, World
from kubecluster.client import eventually
from kubecluster.node import NODE

pytestmark = [pytest.mark.e2e, pytest.mark.needs("node", "images", "helm"), pytest.mark.timeout(900, func_only=True)]


def test_operator_and_api_restart_in_mid_job(world: World):
    world.submit("restarts", mesh=LASTS)
    world.runs("restarts")
    for part in ("operator", "api"):
        (pod,) = world.pods(part)
        world.client.delete(f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}", 0)
    world.wait("restarts", "Completed")
    assert len(world.runner_pods("restarts")) == 1
    eventually(world.healthy, seconds=60, what="the api answers again")
    world.remove("restarts")


def test_the_api_server_restarts_in_mid_job(world: World):
    world.submit("headless", mesh=LASTS)
    world.runs("headless")
    world.cluster.plane.restart_api()
    world.wait("headless", "Completed")
    assert len(world.runner_pods("headless")) == 1
    eventually(world.healthy, seconds=60, what="the api answers again")
    world.remove("headless")


def test_the_kubelet_restarts_in_mid_job(world: World):
    world.submit("kubelet", mesh=LASTS)
    world.runs("kubelet")
    world.cluster.restart_kubelet()
    world.wait("kubelet", "Completed")
    assert len(world.runner_pods("kubelet")) == 1
    world.remove("kubelet")


def test_a_drained_node_s_job_runs_again(world: World):
    world.submit("drained", mesh=LASTS)
    world.runs("drained")
    (pod,) = world.runner_pods("drained")
    world.kubectl("cordon", NODE)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod["metadata"]["name"]}}
    world.client.create(f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}/eviction", eviction)
    eventually(lambda: world.status("drained").get("attempts"), seconds=60, what="the first run is over")
    world.kubectl("uncordon", NODE)
    status = world.wait("drained", "Completed")
    assert [attempt["number"] for attempt in status["attempts"]] == [1, 2]
    world.remove("drained")


def test_a_runner_above_its_memory_is_named(world: World):
    world.install("--set=runner.memory=150Mi")
    world.submit("hungry", retry={"limit": 0})
    assert world.wait("hungry", "Failed")["error"]["code"] == "OUT_OF_MEMORY"
    world.remove("hungry")
    world.install()


def test_an_image_that_cannot_be_pulled_is_named(world: World):
    world.install("--set-string=image.runner.tag=none", "--set=jobs.startTimeoutSeconds=20")
    world.submit("image", retry={"limit": 0})
    eventually(lambda: world.reason("image", "RunnerReady") == "ImagePull", seconds=60, what="the condition says so")
    status = world.wait("image", "Failed", seconds=90)
    assert status["error"]["code"] == "INFRASTRUCTURE_LOST", status["error"]
    world.remove("image")
    world.install()


def test_helm_test_and_an_upgrade_in_mid_job(world: World):
    assert "Phase:          Succeeded" in world.helm("test", "recon3d", "--namespace", NAMESPACE, "--timeout", "5m")
    world.submit("upgraded", mesh=LASTS)
    world.runs("upgraded")
    world.submit("waiting")
    world.install("--set=operator.env.RECON3D_WORKERS=4")
    world.wait("upgraded", "Completed")
    world.wait("waiting", "Completed")
    assert len(world.runner_pods("upgraded")) == 1
    world.helm("rollback", "recon3d", "--namespace", NAMESPACE, "--wait")
    assert world.status("upgraded")["phase"] == "Completed"
    world.remove("upgraded", "waiting")


@pytest.mark.parametrize("part", ["operator", "api"])
def test_nothing_is_asked_for_beyond_the_rights_that_are_given(world: World, figure, part: str):
    """By the API server's own record of all that the tests above made them do."""
    asked = world.cluster.asked(f"{NAMESPACE}:recon3d-{part}")
    assert asked
    assert not [right for right, allowed in asked.items() if not allowed]
    unused = sorted(" ".join(right).strip() for right in world.rights(part) - asked.keys())
    figure(f"rights of the {part} that these tests gave no use for: {', '.join(unused) or 'none'}")


def test_uninstalling_leaves_definition_claims_and_results(world: World):
    world.submit("last")
    world.wait("last", "Completed")
    world.helm("uninstall", "recon3d", "--namespace", NAMESPACE, "--wait")
    kinds = "all,configmaps,secrets,pvc,roles,rolebindings,leases"
    labelled = ("-o", "name", "-l", "app.kubernetes.io/part-of=recon3d")

    def only_the_claim_is_left() -> bool:
        return world.kubectl("get", kinds, "-n", NAMESPACE, *labelled).split() == [
            "persistentvolumeclaim/recon3d-store"
        ]

    eventually(only_the_claim_is_left, seconds=60, what="only the claim is left")  # Pods take a moment to end
    assert world.status("last")["phase"] == "Completed"
    assert world.result("last")["status"] == "completed"
    world.install()
    world.submit("again")
    world.wait("again", "Completed")
