"""A real API server for the session, the shim as a process of its own with the rights that the chart gives it, and
real HTTP. Where a test does not start the operator, it writes a job's status itself.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from kubecluster.client import JOBS, Client, Refused, eventually
from kubecluster.control_plane import ControlPlane, control_plane
from kubecluster.process import Program, free_ports
from kubecluster.s3 import S3Server, s3_server
from recon3d_api.auth.keys import new_key
from recon3d_contract.store import FolderStore
from recon3d_operator.startup import RIGHTS

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples" / "input"
RESULT = ROOT / "examples" / "result"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    with control_plane() as running:
        yield running


@pytest.fixture(scope="session")
def admin(plane: ControlPlane) -> Client:
    client = Client(plane.kubeconfig)
    definition = yaml.safe_load((ROOT / "crds" / "reconstructionjobs.yaml").read_text())
    client.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)

    def served() -> bool:
        try:
            return client.get(f"{JOBS}/reconstructionjobs")["kind"] == "ReconstructionJobList"
        except Refused:
            return False

    eventually(served, what="the CRD is served")
    verbs = ["get", "list", "watch", "create", "patch", "delete"]
    rules = [
        {"verbs": verbs, "apiGroups": ["recon3d.io"], "resources": ["reconstructionjobs"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["recon3d-capacity"]},
    ]
    client.create(f"{RBAC}/clusterroles", {"metadata": {"name": "recon3d-api"}, "rules": rules})
    rules = [
        {"verbs": [verb], "apiGroups": [group], "resources": [f"{resource}/{sub}" if sub else resource]}
        for verb, group, resource, sub in RIGHTS
    ]
    crds = {"verbs": ["get"], "apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"]}
    client.create(f"{RBAC}/clusterroles", {"metadata": {"name": "recon3d-operator"}, "rules": [*rules, crds]})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "recon3d-operator"}
    subject = {"kind": "User", "name": "recon3d-operator", "apiGroup": "rbac.authorization.k8s.io"}
    client.create(
        f"{RBAC}/clusterrolebindings",
        {"metadata": {"name": "recon3d-operator"}, "roleRef": role, "subjects": [subject]},
    )
    client.node("gpu-node", 1000)
    return client


@pytest.fixture(scope="session")
def api_kubeconfig(plane: ControlPlane) -> Path:
    return plane.user("recon3d-api")


@pytest.fixture
def namespace(admin: Client) -> Iterator[str]:
    """A namespace of the test's own, in which the shim has its rights and nowhere else."""
    name = f"studio-{os.getpid()}-{next(_numbers)}"
    admin.namespace(name, 1)
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "recon3d-api"}
    subject = {"kind": "User", "name": "recon3d-api", "apiGroup": "rbac.authorization.k8s.io"}
    binding = {"metadata": {"name": "recon3d-api"}, "roleRef": role, "subjects": [subject]}
    admin.create(f"{RBAC}/namespaces/{name}/rolebindings", binding)
    yield name
    admin.delete(f"/api/v1/namespaces/{name}")


@dataclass
class Shim:
    """A running `recon3d-api`, and what a client needs for it."""

    url: str
    program: Program
    keys: dict[str, str]
    store: Path
    env: dict[str, str]
    clients: list[httpx.Client] = field(default_factory=list)

    def client(self, principal: str | None = "alice") -> httpx.Client:
        """A client of a principal; None sends no key."""
        headers = {} if principal is None else {"Authorization": f"Bearer {self.keys[principal]}"}
        client = httpx.Client(base_url=self.url, headers=headers, timeout=60)
        self.clients.append(client)
        return client

    def wait_ready(self) -> None:
        def ready() -> bool:
            assert self.program.running(), self.program.tail()
            try:
                return httpx.get(f"{self.url}/health/ready").status_code == 200
            except httpx.TransportError:
                return False

        eventually(ready, seconds=90, what="the shim is ready")


@pytest.fixture
def start_shim(api_kubeconfig: Path, namespace: str, tmp_path: Path) -> Iterator[Callable[..., Shim]]:
    """Start the shim as it is installed; all are stopped at the end and must not have met a defect."""
    running: list[Shim] = []
    keys, lines = {}, []
    for name, options in (("alice", ""), ("bob", ""), ("chief", "scope=namespace")):
        keys[name], line = new_key(name)
        lines.append(f"{line}  {options}")
    keys_file = tmp_path / "keys"
    keys_file.write_text("\n".join(lines) + "\n")
    store = tmp_path / "store"
    store.mkdir()

    def start(port: int | None = None, **environment: str) -> Shim:
        port = port or free_ports(1)[0]
        env = {
            "KUBECONFIG": str(api_kubeconfig),
            "RECON3D_STORE": str(store),
            "RECON3D_NAMESPACE": namespace,
            "RECON3D_ID_SECRET": "a secret of the tests",
            "RECON3D_KEYS_FILE": str(keys_file),
            "RECON3D_HOST": "127.0.0.1",
            "RECON3D_PORT": str(port),
            **environment,
        }
        command = [Path(sys.executable).parent / "recon3d-api"]
        program = Program("recon3d-api", command, tmp_path / f"api-{len(running)}.log", env)
        shim = Shim(f"http://127.0.0.1:{port}", program, keys, store, env)
        running.append(shim)
        shim.wait_ready()
        return shim

    yield start
    for shim in running:
        for client in shim.clients:
            client.close()
        shim.program.stop()
    for shim in running:
        text = shim.program.log.read_text()
        assert "Traceback" not in text, text[-6000:]


@pytest.fixture
def shim(start_shim: Callable[..., Shim]) -> Shim:
    return start_shim()


@pytest.fixture
def alice(shim: Shim) -> httpx.Client:
    return shim.client("alice")


@pytest.fixture
def start_operator(plane: ControlPlane, tmp_path: Path, admin: Client) -> Iterator[Callable[..., Program]]:
    """Start the real operator; all are stopped at the end and must not have met a defect."""
    running: list[Program] = []

    def start(**environment: str) -> Program:
        env = {
            "KUBECONFIG": str(plane.user("recon3d-operator")),
            "RECON3D_RUNNER_IMAGE": "registry.example/runner:1",
            "RECON3D_STORE": "pvc:results",
            "RECON3D_HEALTH_PORT": "0",
            **environment,
        }
        command = [Path(sys.executable).parent / "recon3d-operator"]
        running.append(Program("recon3d-operator", command, tmp_path / f"operator-{len(running)}.log", env))
        return running[-1]

    yield start
    for program in running:
        program.stop()
    for program in running:
        assert "Traceback" not in program.log.read_text()


@pytest.fixture
def operator(start_operator: Callable[..., Program]) -> Program:
    """The real operator, which works on the jobs that the shim makes."""
    return start_operator()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


class Cluster:
    """What the operator and a kubelet do, in words."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client, self.namespace = client, namespace
        self.jobs = f"{JOBS}/namespaces/{namespace}/reconstructionjobs"

    def get(self, name: str) -> dict[str, Any]:
        return self.client.get(f"{self.jobs}/{name}")

    def items(self) -> list[dict[str, Any]]:
        return self.client.items(self.jobs)

    def create(self, name: str, **spec: Any) -> dict[str, Any]:
        body = {
            "apiVersion": "recon3d.io/v1alpha1",
            "kind": "ReconstructionJob",
            "metadata": {"name": name},
            "spec": {"input": {"builtin": "example"}, **spec},
        }
        return self.client.create(self.jobs, body)

    def status(self, name: str, **status: Any) -> None:
        self.client.merge(f"{self.jobs}/{name}/status", {"status": status})

    def finish(self, name: str, phase: str = "Completed", **status: Any) -> None:
        finished = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.status(name, phase="Processing")
        self.status(name, phase=phase, finishedAt=finished, **status)

    def store_result(self, name: str, store: Path, attempt: int = 1, *, publish: bool = True) -> str:
        """Put the example's result where a runner would."""
        uid = str(self.get(name)["metadata"]["uid"])
        place = FolderStore(store)
        staging = place.begin(uid, attempt)
        shutil.copytree(RESULT, staging.path, dirs_exist_ok=True)
        place.commit(staging)
        if publish:
            place.publish(uid, attempt)
        return uid


@pytest.fixture
def cluster(admin: Client, namespace: str) -> Cluster:
    return Cluster(admin, namespace)


@pytest.fixture
def files() -> Iterator[list[tuple[str, tuple[str, Any, str]]]]:
    """The example's twelve pictures as the parts of a form."""
    with contextlib.ExitStack() as stack:
        yield [
            (
                "files[]",
                (f"{path.parent.name}/{path.name}", stack.enter_context(path.open("rb")), "image/png"),
            )
            for path in sorted(EXAMPLE.glob("*/*.png"))
        ]


@pytest.fixture
def sweep() -> Callable[..., dict[str, int]]:
    """Run the sweep as its CronJob does; by default nothing is too young."""

    def run(shim: Shim, **environment: str) -> dict[str, int]:
        ages = {"RECON3D_SWEEP_JOB_AGE_S": "0", "RECON3D_SWEEP_UPLOAD_AGE_S": "0"}
        command = [str(Path(sys.executable).parent / "recon3d-api"), "sweep"]
        done = subprocess.run(
            command, env={**os.environ, **shim.env, **ages, **environment}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    return run
