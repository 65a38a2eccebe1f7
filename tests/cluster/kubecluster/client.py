"""A small client of the API server for tests: plain dicts, one request a call, the administrator's certificate."""

from __future__ import annotations

import contextlib
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

Object = dict[str, Any]
T = TypeVar("T")

JOBS = "/apis/recon3d.io/v1alpha1"


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message
        self.retry_after_s = retry_after_s


class Client:
    """Requests as the user of a kubeconfig that this harness wrote."""

    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.server = cluster["server"]
        self._context = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self._context.load_cert_chain(user["client-certificate"], user["client-key"])

    def request(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Object:
        """Return the JSON answer; a read that is told to come back does so, as every client's. Raises Refused."""
        for _ in range(10):
            try:
                return self._once(method, path, body, kind)
            except Refused as refusal:
                if method != "GET" or not refusal.retry_after_s:
                    raise
                time.sleep(refusal.retry_after_s)
        return self._once(method, path, body, kind)

    def _once(self, method: str, path: str, body: Any, kind: str) -> Object:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": kind, "Accept": "application/json"}
        request = urllib.request.Request(self.server + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30, context=self._context) as response:
                return dict(json.loads(response.read()))
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode(errors="replace")
            with contextlib.suppress(ValueError, KeyError):
                text = json.loads(text)["message"]
            raise Refused(error.code, text, float(error.headers.get("Retry-After") or 0)) from None

    def text(self, path: str) -> str:
        """Return an answer that is no JSON."""
        with urllib.request.urlopen(self.server + path, timeout=30, context=self._context) as response:
            return str(response.read().decode())

    def get(self, path: str) -> Object:
        return self.request("GET", path)

    def create(self, path: str, body: Mapping[str, Any]) -> Object:
        return self.request("POST", path, body)

    def ensure(self, path: str, body: Mapping[str, Any]) -> bool:
        """Create what may be there already; return whether it was made now."""
        try:
            self.create(path, body)
        except Refused as refusal:
            if refusal.status != 409:
                raise
            return False
        return True

    def merge(self, path: str, body: Mapping[str, Any]) -> Object:
        return self.request("PATCH", path, body, "application/merge-patch+json")

    def delete(self, path: str, grace_s: int | None = None) -> None:
        options = {} if grace_s is None else {"gracePeriodSeconds": grace_s}
        self.request("DELETE", path, options)

    def items(self, path: str) -> list[Object]:
        return list(self.get(path)["items"])

    def namespace(self, name: str, gpus: int | None) -> None:
        """Make a namespace with the runner's account and, unless None, a quota of `gpus`."""
        self.create("/api/v1/namespaces", {"metadata": {"name": name}})
        self.create(f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata": {"name": "recon3d-runner"}})
        if gpus is not None:
            self.create(
                f"/api/v1/namespaces/{name}/resourcequotas",
                {"metadata": {"name": "gpu"}, "spec": {"hard": {"requests.nvidia.com/gpu": str(gpus)}}},
            )
            path = f"/api/v1/namespaces/{name}/resourcequotas/gpu"
            eventually(lambda: self.get(path).get("status", {}).get("hard"), what="the quota is counted")

    def node(self, name: str, gpus: int) -> None:
        """Make a node as a kubelet registers it, with `gpus`."""
        capacity = {"cpu": "1000", "memory": "4000Gi", "pods": "5000", "ephemeral-storage": "4000Gi"}
        capacity["nvidia.com/gpu"] = str(gpus)
        self.create("/api/v1/nodes", {"metadata": {"name": name}})
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}
        status = {"capacity": capacity, "allocatable": capacity, "conditions": [ready]}
        self.merge(f"/api/v1/nodes/{name}/status", {"status": status})
        node = self.get(f"/api/v1/nodes/{name}")
        if node["spec"].get("taints"):
            self.merge(f"/api/v1/nodes/{name}", {"spec": {"taints": None}})

    def pod_status(self, namespace: str, name: str, status: Mapping[str, Any]) -> None:
        """Report a Pod's status as its kubelet does."""
        self.merge(f"/api/v1/namespaces/{namespace}/pods/{name}/status", {"status": status})


def eventually(check: Callable[[], T], *, seconds: float = 60.0, what: str = "it holds") -> T:
    """Return `check()` once it is true; raise AssertionError if it is not in time.

    It asks often at first and twice a second in the end, so that those who are waited for have the processor.
    """
    began = time.monotonic()
    while True:
        value = check()
        if value:
            return value
        waited = time.monotonic() - began
        if waited > seconds:
            raise AssertionError(f"after {seconds:.0f} s still not so: {what}; last seen: {value!r}")
        time.sleep(min(0.5, 0.05 + waited / 20))
