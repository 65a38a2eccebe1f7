"""Kueue's real controller beside a control plane of ours, for tests. It is not built here: whoever has it, puts into
`~/.cache/recon3d/kueue` (or $RECON3D_KUEUE_HOME)

    kueue           the controller, `go build ./cmd/kueue` of its repository
    manifests.yaml  those of a release, or `helm template kueue charts/kueue --namespace kueue-system --include-crds`

The API server calls its webhooks at 127.0.0.1; conversion between versions, the metrics and the visibility server are
left out.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from kubecluster.binaries import cache_folder
from kubecluster.client import Client, Refused, eventually
from kubecluster.control_plane import ControlPlane
from kubecluster.process import Program, free_ports

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1"
QUEUES = "/apis/kueue.x-k8s.io/v1beta2"
# Kueue wants the certificate of its metrics at one fixed path, even where it serves none.
_OWN_ETC = """set -e
mount -t tmpfs none /etc
mkdir -p /etc/kueue/metrics
cp -r "$0" /etc/kueue/metrics/certs
exec "$@" """
_COVERED = ("cpu", "memory", "nvidia.com/gpu")


def home() -> Path | None:
    """Return where Kueue is; None if it is not there, or cannot run (its own mounts need root)."""
    folder = Path(os.environ.get("RECON3D_KUEUE_HOME") or cache_folder().parents[1] / "kueue")
    return (
        folder if os.geteuid() == 0 and all((folder / name).is_file() for name in ("kueue", "manifests.yaml")) else None
    )


@contextlib.contextmanager
def kueue(plane: ControlPlane, folder: Path) -> Iterator[Program]:
    """Run Kueue for plain Pods; what it added to the cluster is gone afterwards, but for its definitions."""
    place, admin = home(), Client(plane.kubeconfig)
    assert place is not None
    documents = [each for each in _load(place / "manifests.yaml") if each]
    for each in documents:
        if each["kind"] == "CustomResourceDefinition":
            each["spec"].pop("conversion", None)
            admin.ensure(CRDS, each)
    admin.ensure("/api/v1/namespaces", {"metadata": {"name": "kueue-system"}})
    eventually(lambda: _served(admin), what="Kueue's definitions are served")
    health, port = free_ports(2)
    program = Program(
        "kueue",
        [
            "unshare",
            "--mount",
            "sh",
            "-c",
            _OWN_ETC,
            folder,
            place / "kueue",
            "--config",
            _config(plane, folder, health, port),
            "--feature-gates=VisibilityOnDemand=false",
        ],
        folder / "kueue.log",
        {"KUBECONFIG": str(plane.kubeconfig)},
    )
    made = []
    try:
        eventually(lambda: _listens(program, port), what="Kueue's webhooks listen")
        for each in documents:
            if each["kind"].endswith("WebhookConfiguration"):
                path = f"{WEBHOOKS}/{each['kind'].lower()}s"
                admin.create(path, _here(each, plane, port))
                made.append(f"{path}/{each['metadata']['name']}")
        yield program
    finally:
        for path in made:
            admin.delete(path)
        program.stop()


def cluster_queue(admin: Client, name: str, gpus: int) -> None:
    """Make a ClusterQueue that admits Pods with up to `gpus` in all; a more important one takes another's place."""
    admin.ensure(f"{QUEUES}/resourceflavors", _object("ResourceFlavor", "any"))
    quotas = [{"name": each, "nominalQuota": gpus if each.endswith("gpu") else "10000Gi"} for each in _COVERED]
    groups = [{"coveredResources": list(_COVERED), "flavors": [{"name": "any", "resources": quotas}]}]
    preemption = {"withinClusterQueue": "LowerPriority"}
    spec = {"namespaceSelector": {}, "resourceGroups": groups, "preemption": preemption}
    # The webhooks answer a moment after their port is open.
    eventually(lambda: _made(admin, f"{QUEUES}/clusterqueues", _object("ClusterQueue", name, spec)), what=name)


def local_queue(admin: Client, namespace: str, name: str, queue: str) -> None:
    """Make a LocalQueue of the namespace before a ClusterQueue."""
    admin.create(f"{QUEUES}/namespaces/{namespace}/localqueues", _object("LocalQueue", name, {"clusterQueue": queue}))
    path = f"{QUEUES}/namespaces/{namespace}/localqueues/{name}"

    def active() -> bool:
        conditions = admin.get(path).get("status", {}).get("conditions") or []
        return any(each["type"] == "Active" and each["status"] == "True" for each in conditions)

    eventually(active, what=f"the queue {name} is active")


def _load(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as file:
        yield from yaml.load_all(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _object(kind: str, name: str, spec: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind, "metadata": {"name": name}, "spec": spec or {}}


def _served(admin: Client) -> bool:
    with contextlib.suppress(Refused):
        return bool(admin.get(f"{QUEUES}/workloads")["kind"] and admin.get(f"{QUEUES}/cohorts")["kind"])
    return False


def _made(admin: Client, path: str, body: dict[str, Any]) -> bool:
    with contextlib.suppress(Refused):
        admin.create(path, body)
        return True
    return False


def _config(plane: ControlPlane, folder: Path, health: int, port: int) -> Path:
    certificate, key = plane.authority.issue("kueue-webhooks", hosts=("127.0.0.1",))
    for source, name in ((certificate, "tls.crt"), (key, "tls.key")):
        (folder / name).write_bytes(source.read_bytes())
    config = {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "health": {"healthProbeBindAddress": f"127.0.0.1:{health}"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"port": port, "host": "127.0.0.1", "certDir": str(folder)},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "integrations": {"frameworks": ["pod"]},
    }
    path = folder / "kueue.json"
    path.write_text(json.dumps(config))
    return path


def _here(configuration: dict[str, Any], plane: ControlPlane, port: int) -> dict[str, Any]:
    """Return the webhooks for Pods and Kueue's own resources, at the port where they are."""
    authority = base64.b64encode((plane.authority.folder / "ca.crt").read_bytes()).decode()
    kept = []
    for hook in configuration["webhooks"]:
        if any(rule["apiGroups"] in ([""], ["kueue.x-k8s.io"]) for rule in hook["rules"]):
            path = hook["clientConfig"]["service"]["path"]
            hook["clientConfig"] = {"url": f"https://127.0.0.1:{port}{path}", "caBundle": authority}
            kept.append(hook)
    return {**configuration, "webhooks": kept}


def _listens(program: Program, port: int) -> bool:
    assert program.running(), program.tail()
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
