"""What the cluster offers, told by the condition, the ConfigMap, the metric and an event: on a real API server."""

from __future__ import annotations

import re
import urllib.request

import pytest
from kubecluster.client import Refused, eventually
from recon3d_operator.rules.queue import number
from recon3d_operator.startup import CAPACITY_RIGHTS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120, func_only=True)]
RBAC = "/apis/rbac.authorization.k8s.io/v1"


@pytest.fixture
def rights(admin):
    rules = [{"verbs": [verb], "apiGroups": [group], "resources": [name]} for verb, group, name, _ in CAPACITY_RIGHTS]
    admin.create(f"{RBAC}/clusterroles", {"metadata": {"name": "capacity"}, "rules": rules})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "capacity"}
    subject = {"kind": "User", "name": "recon3d-operator", "apiGroup": "rbac.authorization.k8s.io"}
    body = {"metadata": {"name": "capacity"}, "roleRef": role, "subjects": [subject]}
    admin.create(f"{RBAC}/clusterrolebindings", body)
    yield
    admin.delete(f"{RBAC}/clusterrolebindings/capacity")
    admin.delete(f"{RBAC}/clusterroles/capacity")


def told(admin, place):
    try:
        return admin.get(f"/api/v1/namespaces/{place}/configmaps/recon3d-capacity")["data"]
    except Refused:
        return {}


def offered(admin) -> str:
    """All that the nodes offer: those of a given cluster too."""
    nodes = [node["status"].get("allocatable") or {} for node in admin.items("/api/v1/nodes")]
    return str(sum(number(node.get("nvidia.com/gpu", 0)) for node in nodes))


def test_a_gpu_with_little_memory_is_told_everywhere(admin, rights, gpu_node, start_operator, jobs, namespace):
    place = namespace()
    node = gpu_node
    admin.merge(node, {"metadata": {"labels": {"nvidia.com/gpu.memory": "8192"}}})
    try:
        operator = start_operator(RECON3D_NAMESPACES=place)
        found = eventually(lambda: told(admin, place), what="the ConfigMap is there")
        expected = {"capacity": offered(admin), "memoryGiB": "8.0", "status": "False", "reason": "MemoryTooSmall"}
        assert {key: found[key] for key in expected} == expected
        jobs.create(place, "chair")
        jobs.create(place, "table")
        conditions = {c["type"]: c["reason"] for c in jobs.wait(place, "chair", "Queued")["conditions"]}
        assert conditions["GPUCapacity"] == "MemoryTooSmall"
        eventually(lambda: told(admin, place)["queueDepth"] == "1", seconds=30, what="the queue is told")
        assert told(admin, place)["inUse"] == "1"
        events = admin.items(f"/api/v1/namespaces/{place}/events")
        assert [e["type"] for e in events if e["reason"] == "MemoryTooSmall"] == ["Warning"]
        port = int(re.search(r"metrics on port (\d+)", operator.log.read_text()).group(1))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        assert f"recon3d_accelerators {offered(admin)}.0" in text
        assert "recon3d_accelerator_memory_bytes 8.589934592e+09" in text
    finally:
        admin.merge(node, {"metadata": {"labels": {"nvidia.com/gpu.memory": None}}})


def test_an_operator_that_may_not_look_works_all_the_same(admin, start_operator, jobs, namespace):
    place = namespace()
    operator = start_operator(RECON3D_NAMESPACES=place)
    jobs.create(place, "chair")
    jobs.complete(place, "chair")
    jobs.wait(place, "chair", "Completed")
    eventually(lambda: "nodes cannot be listed" in operator.log.read_text(), what="it says so")
    assert told(admin, place) == {}
