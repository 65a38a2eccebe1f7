"""A real node on this machine: kubelet, containerd, kube-proxy, DNS and a device plugin that offers GPUs.

    with real_cluster(gpus=1) as cluster:
        cluster.load_image(archive)                      # of `docker save`, `buildah push docker-archive:` ...
        Client(cluster.plane.kubeconfig)                 # or KUBECONFIG=... kubectl
        cluster.plane.programs["kubelet"].tail()         # what a program of it said

Pods are real containers of real images. They reach this machine at `host_address`, and this machine reaches the
node at `node_address` (NodePorts) and every Pod at its own address. Nothing of it outlives this process (capsule.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubecluster.binaries import NODE_PROGRAMS, ensure, say
from kubecluster.capsule import Capsule, CapsuleError, capsule, pause_program
from kubecluster.client import Client, Refused, eventually
from kubecluster.control_plane import AUDIT, ControlPlane, started_in
from kubecluster.device_plugin import DevicePlugin
from kubecluster.images import PAUSE, layer_of, write_image
from kubecluster.node_files import containerd_file, corefile, kubelet_file, network_file, proxy_file
from kubecluster.process import Program, own_folder

NODE = "gpu-node"
GPU = "nvidia.com/gpu"
Right = tuple[str, str, str, str]
"""Verb, group, resource, subresource."""
_DNS_SERVICE = "10.96.0.10"
_PROGRAMS = ("containerd", "kubelet", "kube-proxy", "coredns")
_READY_S = 120.0


@dataclass
class Cluster:
    """A running cluster of one real node."""

    plane: ControlPlane
    capsule: Capsule
    devices: DevicePlugin
    client: Client

    @property
    def host_address(self) -> str:
        """This machine's address, for Pods."""
        return self.capsule.host_address

    @property
    def node_address(self) -> str:
        """The node's address, for this machine."""
        return self.capsule.address

    @property
    def socket(self) -> Path:
        """Where its containerd listens."""
        return self.plane.folder / "containerd.sock"

    def ctr(self, *arguments: str | Path) -> str:
        """Run `ctr` against its containerd, in the namespace of Kubernetes. Raises CapsuleError."""
        return self.capsule.run("ctr", "-a", self.socket, "-n", "k8s.io", *arguments)

    def load_image(self, archive: Path) -> None:
        """Give the node the images of an archive (docker-archive or OCI); Pods use them by name, never pulling."""
        self.ctr("images", "import", archive)

    def folder_volume(self, name: str, folder: Path, size: str = "10Gi", mode: str = "ReadWriteMany") -> None:
        """Offer `folder` of this machine as the PersistentVolume `name`, for a claim with volumeName `name`."""
        spec = {
            "capacity": {"storage": size},
            "accessModes": [mode],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "hostPath": {"path": str(folder), "type": "Directory"},
        }
        self.client.create("/api/v1/persistentvolumes", {"metadata": {"name": name}, "spec": spec})

    def asked(self, account: str) -> dict[Right, bool]:
        """Return what a service account (`namespace:name`) has asked of the API server, and whether it ever might.

        An API server that has just come back refuses everybody for a moment.
        """
        found: dict[Right, bool] = {}
        for line in (self.plane.folder / AUDIT).read_text().splitlines():
            event = json.loads(line)
            what = event.get("objectRef")
            if what and event["user"]["username"] == f"system:serviceaccount:{account}":
                right = (event["verb"], what.get("apiGroup", ""), what["resource"], what.get("subresource", ""))
                allowed = event.get("annotations", {}).get("authorization.k8s.io/decision") != "forbid"
                found[right] = found.get(right, False) or allowed
        return found

    def restart_kubelet(self) -> None:
        """Kill the kubelet and start it again, as a reboot of it does; containers go on."""
        kubelet = self.plane.programs["kubelet"]
        for pid in kubelet.children():
            os.kill(pid, signal.SIGKILL)
        kubelet.stop()
        self.plane.programs["kubelet"] = _start_kubelet(self.plane, self.capsule)

    def logs(self, namespace: str, pod: str, container: str = "") -> str:
        """Return what a container wrote."""
        query = f"?container={container}" if container else ""
        return self.client.text(f"/api/v1/namespaces/{namespace}/pods/{pod}/log{query}")


@contextlib.contextmanager
def real_cluster(*, gpus: int = 1, gpu_memory_mib: int = 24576) -> Iterator[Cluster]:
    """Yield a control plane with a node that is ready and offers `gpus`; nothing of it is left afterwards."""
    ensure()
    ensure(NODE_PROGRAMS)
    with own_folder() as folder, capsule(folder) as walls, contextlib.ExitStack() as stack:
        plane = stack.enter_context(started_in(folder, node_address=walls.host_address))
        stack.callback(_end, plane, walls)  # before the API server, which would wait for the kubelet's requests
        client = Client(plane.kubeconfig)
        _start_containerd(plane, walls)
        plane.programs["kubelet"] = _start_kubelet(plane, walls)
        plane.programs["kube-proxy"] = _start_proxy(plane, walls)
        plane.programs["coredns"] = _start_dns(plane, walls, client)
        devices = stack.enter_context(DevicePlugin(folder / "var/lib/kubelet/device-plugins", GPU, gpus))
        cluster = Cluster(plane, walls, devices, client)
        _wait_ready(cluster, gpus)
        labels = {"nvidia.com/gpu.memory": str(gpu_memory_mib)}
        client.merge(f"/api/v1/nodes/{NODE}", {"metadata": {"labels": labels}})
        yield cluster


def _end(plane: ControlPlane, walls: Capsule) -> None:
    walls.end()
    for name in _PROGRAMS:
        if name in plane.programs:
            plane.programs.pop(name).stop()


def _start(plane: ControlPlane, walls: Capsule, name: str, *arguments: str | Path) -> Program:
    program = ensure(NODE_PROGRAMS).get(name, name)
    return Program(name, walls.command(program, *arguments), plane.folder / f"{name}.log")


def _start_containerd(plane: ControlPlane, walls: Capsule) -> None:
    folder = plane.folder
    (folder / "cni").mkdir()
    (folder / "cni" / "10-bridge.conflist").write_text(network_file(walls.pod_subnet))
    config = folder / "containerd.toml"
    config.write_text(containerd_file(folder))
    plane.programs["containerd"] = _start(plane, walls, "containerd", "--config", config)
    end = time.monotonic() + _READY_S
    with tempfile.TemporaryDirectory() as temporary:
        layer = layer_of({"pause": pause_program().read_bytes()})
        archive = write_image(Path(temporary) / "pause.tar", PAUSE, [layer], Entrypoint=["/pause"])
        while True:
            try:
                walls.run("ctr", "-a", folder / "containerd.sock", "-n", "k8s.io", "images", "import", archive)
                return
            except CapsuleError as error:
                plane.check()
                if time.monotonic() > end:
                    raise RuntimeError(f"containerd does not answer: {error}") from error
                time.sleep(0.1)


def _start_kubelet(plane: ControlPlane, walls: Capsule) -> Program:
    kubeconfig = plane.user(f"system:node:{NODE}", ("system:nodes",), inside=True)
    config = plane.folder / "kubelet.json"
    ca = plane.authority.folder / "ca.crt"
    config.write_text(kubelet_file(plane.folder, ca, walls.cgroup, _DNS_SERVICE))
    return _start(
        plane, walls, "kubelet",
        f"--config={config}", f"--kubeconfig={kubeconfig}", f"--hostname-override={NODE}",
        f"--node-ip={walls.address}",
    )  # fmt: skip


def _start_proxy(plane: ControlPlane, walls: Capsule) -> Program:
    config = plane.folder / "kube-proxy.json"
    config.write_text(proxy_file(plane.user("system:kube-proxy", inside=True), walls.pod_subnet))
    return _start(plane, walls, "kube-proxy", f"--config={config}", f"--hostname-override={NODE}")


def _start_dns(plane: ControlPlane, walls: Capsule, client: Client) -> Program:
    """Start DNS as a program on the node, behind the service where Pods look for it."""
    _allow_dns(client)
    config = plane.folder / "Corefile"
    config.write_text(corefile(plane.user("system:coredns", inside=True), walls.address))
    ports = [{"name": name, "port": 53, "protocol": name.upper()} for name in ("udp", "tcp")]
    meta = {"name": "kube-dns", "namespace": "kube-system"}
    service = {"metadata": meta, "spec": {"clusterIP": _DNS_SERVICE, "ports": ports}}
    client.create("/api/v1/namespaces/kube-system/services", service)
    endpoints = {
        "metadata": {"name": "kube-dns", "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [walls.address], "conditions": {"ready": True}}],
        "ports": ports,
    }
    client.create("/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices", endpoints)
    return _start(plane, walls, "coredns", "-conf", config)


def _allow_dns(client: Client) -> None:
    api = "/apis/rbac.authorization.k8s.io/v1"
    watch = {"verbs": ["list", "watch"], "apiGroups": [""], "resources": ["services", "namespaces", "pods"]}
    slices = {**watch, "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"]}
    client.create(f"{api}/clusterroles", {"metadata": {"name": "system:coredns"}, "rules": [watch, slices]})
    binding: dict[str, Any] = {
        "metadata": {"name": "system:coredns"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"},
        "subjects": [{"kind": "User", "name": "system:coredns", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    client.create(f"{api}/clusterrolebindings", binding)


def _wait_ready(cluster: Cluster, gpus: int) -> None:
    def ready() -> bool:
        cluster.plane.check()
        with contextlib.suppress(Refused):
            node = cluster.client.get(f"/api/v1/nodes/{NODE}")
            conditions = {c["type"]: c["status"] for c in node["status"].get("conditions", [])}
            offered = int(node["status"].get("allocatable", {}).get(GPU, "0"))
            return conditions.get("Ready") == "True" and offered == gpus and not node["spec"].get("taints")
        return False

    try:
        eventually(ready, seconds=_READY_S, what=f"the node is ready with {gpus} GPUs")
    except AssertionError as error:
        tails = "\n".join(f"--- {name}\n{cluster.plane.programs[name].tail()}" for name in ("kubelet", "containerd"))
        raise RuntimeError(f"{error}\n{tails}") from error
    say(f"the node {NODE} is ready with {gpus} x {GPU}")
