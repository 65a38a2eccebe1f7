"""Load for benchmarks: an installed operator, many clients at once, and a watch that notes when Pods come and end."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from kubecluster.client import JOBS, Client, Refused, eventually
from kubecluster.control_plane import ControlPlane
from kubecluster.process import Program

CRD = Path(__file__).resolve().parents[3] / "crds" / "reconstructionjobs.yaml"


def install(plane: ControlPlane) -> Client:
    """Install the CRD; return the administrator's client once it is served."""
    admin = Client(plane.kubeconfig)
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    admin.create(definitions, yaml.safe_load(CRD.read_text()))

    def served() -> bool:
        with contextlib.suppress(Refused):
            return bool(admin.get(f"{JOBS}/reconstructionjobs")["kind"])
        return False

    eventually(served, what="the CRD is served")
    return admin


@contextlib.contextmanager
def started_operator(plane: ControlPlane, *, wait: bool = True, **environment: str) -> Iterator[Program]:
    """Start the operator; stop it at the end."""
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        env = {
            "KUBECONFIG": str(plane.kubeconfig),
            "RECON3D_RUNNER_IMAGE": "registry.example/runner:1",
            "RECON3D_STORE": "s3://results",
            "RECON3D_HEALTH_PORT": "0",
            **environment,
        }
        program = Program("recon3d-operator", [Path(sys.executable).parent / "recon3d-operator"], Path(log.name), env)
        try:
            if wait:
                eventually(lambda: "health and metrics" in program.log.read_text(), what="the operator has started")
                time.sleep(2.0)  # Kopf opens its watches
            yield program
        finally:
            program.stop()
            if os.environ.get("RECON3D_BENCH_LOG"):
                sys.stderr.write(program.tail())


def connection(kubeconfig: Path) -> http.client.HTTPSConnection:
    """Return a connection of the administrator's, kept open from one request to the next."""
    config = json.loads(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cafile=cluster["certificate-authority"])
    context.load_cert_chain(user["client-certificate"], user["client-key"])
    parts = urlsplit(cluster["server"])
    return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=60, context=context)


def create_all(kubeconfig: Path, path: str, bodies: Sequence[Any], clients: int) -> float:
    """Send all `bodies` (an object to create at `path`, or a path with a merge patch); return when it began."""
    left = iter(list(bodies))
    guard, problems = threading.Lock(), []

    def work() -> None:
        link = connection(kubeconfig)
        try:
            while True:
                with guard:
                    body = next(left, None)
                if body is None:
                    return
                target, method, kind = path, "POST", "application/json"
                if isinstance(body, tuple):
                    (target, body), method, kind = body, "PATCH", "application/merge-patch+json"
                link.request(method, target, json.dumps(body), {"Content-Type": kind})
                answer = link.getresponse()
                text = answer.read()
                if answer.status >= 300:
                    problems.append(text.decode(errors="replace")[:500])
                    return
        finally:
            link.close()

    begun = time.monotonic()
    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise RuntimeError(problems[0])
    return begun


class PodWatch:
    """Notes when the Pods of a namespace were created and when they ended, by a watch of its own.

    A watch that breaks begins anew, and tells of every Pod again; the first word of each counts.
    """

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.created: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self.owner: dict[str, str] = {}
        self._kubeconfig, self._closed = kubeconfig, False
        self._path = f"/api/v1/namespaces/{namespace}/pods?watch=true&timeoutSeconds=3600"
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> PodWatch:
        self._open()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            if self._link.sock is not None:
                self._link.sock.shutdown(2)
        self._thread.join(5)
        self._link.close()

    def _open(self) -> None:
        self._link = connection(self._kubeconfig)
        self._link.timeout = 3600
        self._link.request("GET", self._path)
        self._answer = self._link.getresponse()

    def _follow(self) -> None:
        while not self._closed:
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError, AttributeError, KeyError):
                while line := self._answer.readline():
                    event = json.loads(line)
                    self._take(event["type"], event["object"])
            while not self._closed:
                time.sleep(0.2)
                with contextlib.suppress(OSError, http.client.HTTPException):
                    self._open()
                    break

    def _take(self, change: str, pod: dict[str, Any]) -> None:
        now, name = time.monotonic(), pod["metadata"]["name"]
        if change == "ADDED":
            self.created.setdefault(name, now)
            self.owner[name] = pod["metadata"]["labels"].get("recon3d.io/job-uid", "")
        if pod["status"]["phase"] in ("Succeeded", "Failed"):
            self.ended.setdefault(name, now)


def job(name: str, **spec: Any) -> dict[str, Any]:
    """Return the smallest ReconstructionJob."""
    kind = {"apiVersion": "recon3d.io/v1alpha1", "kind": "ReconstructionJob", "metadata": {"name": name}}
    return {**kind, "spec": {"input": {"builtin": "example"}, **spec}}


def ended(message: str) -> dict[str, Any]:
    """Return the status of a runner Pod that went well, with its termination message."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    state = {
        "terminated": {"exitCode": 0, "message": message, "startedAt": now, "finishedAt": now, "reason": "Completed"}
    }
    entry = {"name": "runner", "state": state, "image": "i", "imageID": "i", "ready": False, "restartCount": 0}
    return {"phase": "Succeeded", "containerStatuses": [entry]}


def summary(uid: str) -> str:
    """Return the termination message of a run that went well."""
    engine = {"phase": "Completed", "verdict": "normal", "psnr": 31.5, "ssim": 0.95, "seconds": 61.0}
    return json.dumps(
        {
            "schemaVersion": 1,
            "jobUid": uid,
            "attempt": 1,
            "specSha256": "0" * 64,
            "status": "completed",
            "verdict": "normal",
            "engine": "nvdiffrec",
            "psnr": 31.5,
            "ssim": 0.95,
            "engines": {"nvdiffrec": engine},
            "artifactCount": 26,
            "artifactBytes": 9_000_000,
            "seconds": 61.0,
        }
    )
