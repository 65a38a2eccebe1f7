"""The real node does as Kubernetes promises: containers, GPUs, network, names, folders; and then it is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kubecluster.capsule import sweep_cgroups
from kubecluster.client import Refused, eventually
from kubecluster.node import GPU, NODE
from kubecluster.process import sweep

pytestmark = [pytest.mark.cluster, pytest.mark.needs("node"), pytest.mark.timeout(400, func_only=True)]
HARNESS = Path(__file__).resolve().parents[2] / "cluster"
IMAGE = "recon3d.local/debian:1"
PODS = "/api/v1/namespaces/default/pods"


def make_pod(cluster, name: str, *command: str, gpus: int = 0, **spec: Any) -> None:
    limits = {GPU: str(gpus)} if gpus else {}
    container = {"name": "main", "image": IMAGE, "imagePullPolicy": "Never", "command": list(command)}
    container |= {"resources": {"limits": limits}, **spec.pop("container", {})}
    body = {"metadata": {"name": name}, "spec": {"restartPolicy": "Never", "containers": [container], **spec}}
    body["spec"].setdefault("terminationGracePeriodSeconds", 1)
    cluster.client.create(PODS, body)


def wait(cluster, name: str, *phases: str) -> dict[str, Any]:
    def reached() -> dict[str, Any] | None:
        pod = cluster.client.get(f"{PODS}/{name}")
        return pod if pod["status"].get("phase") in phases else None

    return eventually(reached, seconds=60, what=f"{name} is {' or '.join(phases)}")


def remove(cluster, *names: str) -> None:
    for name in names:
        cluster.client.delete(f"{PODS}/{name}", 0)


def test_a_container_runs_and_its_last_words_arrive(cluster):
    script = "echo hello; printf 'the result' > /dev/termination-log; id -u"
    make_pod(cluster, "speaks", "sh", "-c", script, securityContext={"runAsUser": 65532, "runAsNonRoot": True})
    pod = wait(cluster, "speaks", "Succeeded", "Failed")
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["message"]) == (0, "the result")
    assert cluster.logs("default", "speaks").split() == ["hello", "65532"]
    remove(cluster, "speaks")


def test_a_pod_gets_its_own_gpu_and_the_third_waits(cluster):
    for number in range(3):
        make_pod(cluster, f"gpu-{number}", "sh", "-c", "echo $NVIDIA_VISIBLE_DEVICES; sleep 100", gpus=1)
    for number in range(2):
        wait(cluster, f"gpu-{number}", "Running")
    given = {cluster.logs("default", f"gpu-{number}").strip() for number in range(2)}
    assert given == {"gpu-0", "gpu-1"}
    waiting = cluster.client.get(f"{PODS}/gpu-2")["status"]
    assert waiting["phase"] == "Pending"
    assert "Insufficient nvidia.com/gpu" in waiting["conditions"][0]["message"]
    remove(cluster, "gpu-0")
    wait(cluster, "gpu-2", "Running")
    remove(cluster, "gpu-1", "gpu-2")


def test_a_broken_gpu_is_offered_no_more(cluster):
    def offered() -> str:
        return str(cluster.client.get(f"/api/v1/nodes/{NODE}")["status"]["allocatable"][GPU])

    cluster.devices.set_healthy(0, False)
    eventually(lambda: offered() == "1", what="one GPU is left")
    cluster.devices.set_healthy(0, True)
    eventually(lambda: offered() == "2", what="both are back")


def test_the_gpus_are_there_again_after_the_kubelet_was_killed(cluster):
    make_pod(cluster, "goes-on", "sleep", "100", gpus=1)
    wait(cluster, "goes-on", "Running")
    cluster.restart_kubelet()
    make_pod(cluster, "after", "sh", "-c", "echo $NVIDIA_VISIBLE_DEVICES", gpus=1)
    wait(cluster, "after", "Succeeded")
    running = cluster.client.get(f"{PODS}/goes-on")["status"]
    assert running["phase"] == "Running"
    assert running["containerStatuses"][0]["restartCount"] == 0
    remove(cluster, "goes-on", "after")


def test_names_services_and_this_machine_are_reached_from_a_pod(cluster):
    serve = "mkdir /tmp/w; cd /tmp/w; echo from-the-pod > index.html; exec python3 -m http.server 8000"
    make_pod(cluster, "server", "sh", "-c", serve)
    cluster.client.merge(f"{PODS}/server", {"metadata": {"labels": {"app": "server"}}})
    ports = [{"port": 80, "targetPort": 8000}]
    service = {"metadata": {"name": "web"}, "spec": {"type": "NodePort", "selector": {"app": "server"}, "ports": ports}}
    node_port = cluster.client.create("/api/v1/namespaces/default/services", service)["spec"]["ports"][0]["nodePort"]
    wait(cluster, "server", "Running")
    look = (
        "import time, urllib.request as r, socket\n"
        "def get(url):\n"
        "    for _ in range(100):\n"
        "        try: return r.urlopen(url, timeout=2).read().decode().strip()\n"
        "        except OSError as e: last = e; time.sleep(.1)\n"
        "    raise last\n"
        "print(get('http://web.default.svc.cluster.local'), get('http://web'))\n"
        "socket.create_connection(('kubernetes.default.svc', 443), 5).close()\n"
        f"socket.create_connection(({cluster.host_address!r}, {cluster.plane.server.rsplit(':', 1)[1]}), 5).close()\n"
    )
    make_pod(cluster, "client", "python3", "-c", look)
    pod = wait(cluster, "client", "Succeeded", "Failed")
    assert cluster.logs("default", "client").split() == ["from-the-pod"] * 2, pod["status"]
    assert b"from-the-pod" in fetch(f"http://{cluster.node_address}:{node_port}/")
    assert b"from-the-pod" in fetch(f"http://{cluster.client.get(f'{PODS}/server')['status']['podIP']}:8000/")
    cluster.client.delete("/api/v1/namespaces/default/services/web")
    remove(cluster, "server", "client")


def fetch(url: str) -> bytes:
    done = subprocess.run(["curl", "-sS", "--retry", "20", "--retry-all-errors", "--retry-delay", "1", url],
                          capture_output=True, check=True)  # fmt: skip
    return done.stdout


def test_a_folder_of_this_machine_is_a_volume(cluster, tmp_path):
    tmp_path.chmod(0o777)
    for folder in tmp_path.parents[:2]:
        folder.chmod(0o755)
    cluster.folder_volume("shared", tmp_path)
    claim = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    claim |= {"storageClassName": "", "volumeName": "shared"}
    claims = "/api/v1/namespaces/default/persistentvolumeclaims"
    cluster.client.create(claims, {"metadata": {"name": "shared"}, "spec": claim})
    make_pod(
        cluster, "writes", "sh", "-c", "echo kept > /store/file",
        securityContext={"runAsUser": 65532}, container={"volumeMounts": [{"name": "store", "mountPath": "/store"}]},
        volumes=[{"name": "store", "persistentVolumeClaim": {"claimName": "shared"}}],
    )  # fmt: skip
    wait(cluster, "writes", "Succeeded")
    assert (tmp_path / "file").read_text() == "kept\n"
    assert (tmp_path / "file").stat().st_uid == 65532
    remove(cluster, "writes")
    cluster.client.delete(f"{claims}/shared")


def test_a_container_above_its_memory_is_ended_by_the_kernel(cluster):
    hungry = {"resources": {"limits": {"memory": "64Mi"}}}
    make_pod(cluster, "hungry", "python3", "-c", "x = bytearray(10**9)", container=hungry)
    pod = wait(cluster, "hungry", "Failed")
    assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] == "OOMKilled"
    remove(cluster, "hungry")


def test_an_image_that_is_not_there_is_named(cluster):
    make_pod(cluster, "no-image", "true", container={"image": "recon3d.local/none:1", "imagePullPolicy": "Never"})

    def reason() -> str:
        entries = cluster.client.get(f"{PODS}/no-image")["status"].get("containerStatuses") or [{}]
        return str(entries[0].get("state", {}).get("waiting", {}).get("reason"))

    eventually(lambda: reason() == "ErrImageNeverPull", what="the kubelet says so")
    remove(cluster, "no-image")


SCRIPT = """
import time
from kubecluster.node import real_cluster
with real_cluster(gpus=1) as cluster:
    print(cluster.plane.folder, cluster.capsule.pid, flush=True)
    time.sleep(600)
"""


def test_a_killed_run_leaves_no_process_no_network_and_no_mount(cluster):
    environment = {**os.environ, "PYTHONPATH": str(HARNESS)}
    before = links()
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    with process.stdout:
        # The second cluster stands beside the first.
        folder, pid = process.stdout.readline().split()
        assert len(links()) == len(before) + 1
        process.send_signal(signal.SIGKILL)
        process.wait()
    eventually(lambda: not Path(f"/proc/{pid}").exists(), what="its first process has ended")
    eventually(lambda: links() == before, what="its network is gone")
    assert folder not in Path("/proc/self/mountinfo").read_text()
    assert Path(folder) in sweep()
    assert Path(folder).name in sweep_cgroups()
    assert not Path(folder).exists()
    cluster.plane.check()
    with pytest.raises(Refused):
        cluster.client.get(f"{PODS}/none")


def links() -> set[str]:
    return {path.name for path in Path("/sys/class/net").glob("recon3d*")}
