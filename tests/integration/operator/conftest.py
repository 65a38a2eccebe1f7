"""A real control plane for the session; the real operator as a process of its own, with the rights it declares.

Only the kubelet is missing: tests report what happens to Pods.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubecluster.client import JOBS, Client, Refused, eventually
from kubecluster.control_plane import ControlPlane
from kubecluster.given import GivenPlane, plane_of_tests
from kubecluster.process import Program
from recon3d_contract.crd import crd
from recon3d_operator.startup import RIGHTS

ROOT = Path(__file__).resolve().parents[3]
NODE = f"gpu-node-{os.getpid()}"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    with plane_of_tests() as running:
        yield running


@pytest.fixture(scope="session")
def admin(plane: ControlPlane) -> Iterator[Client]:
    client = Client(plane.kubeconfig)
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    definition = yaml.safe_load((ROOT / "crds" / "reconstructionjobs.yaml").read_text())
    made = client.ensure(definitions, definition)

    def served() -> bool:
        try:
            return client.get(f"{JOBS}/reconstructionjobs")["kind"] == "ReconstructionJobList"
        except Refused:
            return False

    eventually(served, what="the CRD is served")
    rules = [
        {"verbs": [verb], "apiGroups": [group], "resources": [f"{resource}/{sub}" if sub else resource]}
        for verb, group, resource, sub in RIGHTS
    ]
    crds = "customresourcedefinitions"
    name = f"{crd()['spec']['names']['plural']}.recon3d.io"
    rules.append(
        {"verbs": ["get"], "apiGroups": ["apiextensions.k8s.io"], "resources": [crds], "resourceNames": [name]}
    )
    # Kopf asks which resources there are, and looks into the definitions that it may see.
    api = "/apis/rbac.authorization.k8s.io/v1"
    client.ensure(f"{api}/clusterroles", {"metadata": {"name": "recon3d-operator"}, "rules": rules})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "recon3d-operator"}
    subject = {"kind": "User", "name": "recon3d-operator", "apiGroup": "rbac.authorization.k8s.io"}
    binding = {"metadata": {"name": "recon3d-operator"}, "roleRef": role, "subjects": [subject]}
    client.ensure(f"{api}/clusterrolebindings", binding)
    client.node(NODE, 1000)
    yield client
    if isinstance(plane, GivenPlane):  # our own goes with all that is in it
        for role in ("recon3d-operator", "more", "webhooks"):
            for kind in ("clusterrolebindings", "clusterroles"):
                with contextlib.suppress(Refused):
                    client.delete(f"{api}/{kind}/{role}")
        client.delete(f"/api/v1/nodes/{NODE}")
        if made:
            client.delete(f"{definitions}/{name}")


@pytest.fixture(scope="session")
def gpu_node(admin: Client) -> str:
    """The path of the node, which has no kubelet."""
    return f"/api/v1/nodes/{NODE}"


@pytest.fixture(scope="session")
def operator_kubeconfig(plane: ControlPlane) -> Path:
    return plane.user("recon3d-operator")


@pytest.fixture
def namespace(admin: Client) -> Iterator[Callable[..., str]]:
    """Make a namespace of its own; at the end its jobs are deleted, so that the next test is not slowed."""
    made: list[str] = []

    def make(gpus: int | None = 1) -> str:
        name = f"studio-{os.getpid()}-{next(_numbers)}"
        admin.namespace(name, gpus)
        made.append(name)
        return name

    yield make
    for name in made:
        admin.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture
def start_operator(
    operator_kubeconfig: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Program]]:
    """Start the operator as it is installed; all are stopped at the end and must not have met a defect."""
    running: list[Program] = []

    def start(**environment: str) -> Program:
        env = {
            "KUBECONFIG": str(environment.pop("KUBECONFIG", operator_kubeconfig)),
            "RECON3D_RUNNER_IMAGE": "registry.example/runner:1",
            "RECON3D_STORE": "s3://results",
            "RECON3D_RETRY_BASE_S": "0.3",
            "RECON3D_HEALTH_PORT": "0",
            **environment,
        }
        command = [Path(sys.executable).parent / "recon3d-operator"]
        program = Program("recon3d-operator", command, tmp_path / f"operator-{len(running)}.log", env)
        running.append(program)
        return program

    yield start
    for program in running:
        program.stop()
    for program in running:
        text = program.log.read_text()
        assert "Traceback" not in text, text[-4000:]


@pytest.fixture
def jobs(admin: Client) -> Jobs:
    return Jobs(admin)


class Jobs:
    """What a user and a kubelet do, in words."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def create(self, namespace: str, name: str, **spec: Any) -> dict[str, Any]:
        body = {
            "apiVersion": "recon3d.io/v1alpha1",
            "kind": "ReconstructionJob",
            "metadata": {"name": name},
            "spec": {"input": {"builtin": "example"}, **spec},
        }
        return self.client.create(f"{JOBS}/namespaces/{namespace}/reconstructionjobs", body)

    def path(self, namespace: str, name: str) -> str:
        return f"{JOBS}/namespaces/{namespace}/reconstructionjobs/{name}"

    def get(self, namespace: str, name: str) -> dict[str, Any]:
        return self.client.get(self.path(namespace, name))

    def status(self, namespace: str, name: str) -> dict[str, Any]:
        return dict(self.get(namespace, name).get("status") or {})

    def change(self, namespace: str, name: str, **spec: Any) -> None:
        self.client.merge(self.path(namespace, name), {"spec": spec})

    def wait(self, namespace: str, name: str, phase: str, seconds: float = 60.0) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            status = self.status(namespace, name)
            return status if status.get("phase") == phase else None

        return eventually(reached, seconds=seconds, what=f"{name} is {phase}") or {}

    def pods(self, namespace: str, name: str | None = None) -> list[dict[str, Any]]:
        selector = "recon3d.io/job-uid" if name is None else f"recon3d.io/job-name={name}"
        found = self.client.items(f"/api/v1/namespaces/{namespace}/pods?labelSelector={selector}")
        return sorted(found, key=lambda pod: int(pod["metadata"]["labels"]["recon3d.io/attempt"]))

    def pod(self, namespace: str, name: str, attempt: int = 1) -> dict[str, Any]:
        def there() -> dict[str, Any] | None:
            found = self.pods(namespace, name)
            return found[attempt - 1] if len(found) >= attempt else None

        return eventually(there, what=f"{name} has the Pod of attempt {attempt}") or {}

    def run(self, namespace: str, name: str, attempt: int = 1) -> None:
        pod = self.pod(namespace, name, attempt)
        started = pod["metadata"]["creationTimestamp"]
        self._report(namespace, pod, "Running", {"running": {"startedAt": started}})

    def end(self, namespace: str, name: str, message: str = "", exit_code: int = 0, attempt: int = 1) -> None:
        pod = self.pod(namespace, name, attempt)
        time = pod["metadata"]["creationTimestamp"]
        ended = {"exitCode": exit_code, "message": message, "startedAt": time, "finishedAt": time, "reason": "Error"}
        self._report(namespace, pod, "Failed" if exit_code else "Succeeded", {"terminated": ended})

    def _report(self, namespace: str, pod: dict[str, Any], phase: str, state: dict[str, Any]) -> None:
        entry = {
            "name": "runner",
            "state": state,
            "image": "i",
            "imageID": "i",
            "ready": False,
            "restartCount": 0,
        }
        self.client.pod_status(namespace, pod["metadata"]["name"], {"phase": phase, "containerStatuses": [entry]})

    def summary(self, namespace: str, name: str, attempt: int = 1) -> str:
        uid = self.get(namespace, name)["metadata"]["uid"]
        engine = {"phase": "Completed", "verdict": "normal", "psnr": 31.5, "ssim": 0.95, "seconds": 61.0}
        return json.dumps(
            {
                "schemaVersion": 1,
                "jobUid": uid,
                "attempt": attempt,
                "specSha256": "0" * 64,
                "status": "completed",
                "verdict": "normal",
                "engine": "nvdiffrec",
                "psnr": 31.5,
                "ssim": 0.95,
                "iou": 0.99,
                "faces": 90_000,
                "engines": {"nvdiffrec": engine},
                "artifactCount": 26,
                "artifactBytes": 9_000_000,
                "seconds": 61.0,
            }
        )

    def complete(self, namespace: str, name: str, attempt: int = 1) -> None:
        self.end(namespace, name, self.summary(namespace, name, attempt), attempt=attempt)
