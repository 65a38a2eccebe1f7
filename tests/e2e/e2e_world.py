"""The chart installed on a real node, and what its users do there.

The node offers one GPU of a device plugin; nobody computes on it. So the runner's image has one layer more: a
`recon3d-runner` that takes the CPU although it is told `cuda`, and a small example (256 pixels), so that a job takes
seconds. It is the image of both engines; it has no weights, so reconviagen ends in it with an error of its own, dies as
told, or runs with a stand-in for its model. Operator, API, chart, queue and store are what a user gets.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubecluster.binaries import ensure
from kubecluster.builds import ROOT, Image, build
from kubecluster.client import Refused, eventually
from kubecluster.images import with_layer
from kubecluster.installed import CHART, NAMESPACE, RELEASE, helm, install
from kubecluster.node import Cluster, Right
from PIL import Image as Picture

sys.path.insert(0, str(ROOT / "tests/integration/reconviagen"))
import stand_in

FULL = "full"
"""A namespace whose store has next to no room."""
PLACE = "/opt/recon3d/e2e"
DIES = 139
"""The seed of a job whose container of reconviagen is to die at once."""
GENERATES = 141
"""The seed of one whose reconviagen is to generate the example's shape, without a model."""
VALUES = (
    "--set=licenses.nvdiffrast.acceptNonCommercial=true,licenses.reconviagen.acceptNonCommercial=true",
    f"--set=jobs.namespaces={{{NAMESPACE},{FULL}}}",
    "--set=jobs.gpus=1,jobs.createNamespaces=true",
    "--set=runner.cpu=500m,runner.memory=3Gi,runner.shm=64Mi,runner.scratch=2Gi",
    "--set-string=store.pvc.storageClassName=",
    "--set=store.pvc.size=1Mi",
    "--set=api.service.type=NodePort",
)
WRAPPER = f"""#!/bin/sh
case "$RECON3D_ENGINE $RECON3D_JOB" in
"reconviagen "*'"seed":'*{DIES}*) exit 139 ;;
"reconviagen "*'"seed":'*{GENERATES}*)
{"".join(f"export {name}={value!r};" for name, value in stand_in.variables(f"{PLACE}/stand-in").items())}
esac
RECON3D_DEVICE=cpu exec /opt/recon3d/bin/recon3d-runner "$@"
"""
SPEC = {
    "input": {"builtin": "example"},
    "profile": "fast",
    "mesh": {"maxFaces": 6000},
    "output": {"formats": ["glb"]},
}
LASTS = {"maxFaces": 30_000}
"""The mesh of a job that is to run still when something happens to it."""


def small_example() -> dict[str, bytes]:
    """The bundled example at 256 pixels, by the names of its files."""
    files = {}
    for file in sorted((ROOT / "examples/input").rglob("*.png")):
        with Picture.open(file) as picture:
            buffer = io.BytesIO()
            picture.resize((256, 256), Picture.Resampling.NEAREST).save(buffer, "PNG")
        files[f"{file.parent.name}/{file.name}"] = buffer.getvalue()
    return files


def small_zip(**changes: bytes | None) -> bytes:
    """That as a ZIP; `changes` replace files by their stems with dots as __, None leaves one out."""
    example = small_example()
    files = {name: changes.get(name.removesuffix(".png").replace("/", "__"), data) for name, data in example.items()}
    return packed({name: data for name, data in files.items() if data is not None})


def full_zip() -> bytes:
    """The bundled example as it is."""
    folder = ROOT / "examples/input"
    return packed({str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.png"))})


def packed(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def runner_image(folder: Path) -> Image:
    """The runner's image with the layer for tests."""
    plain = build("runner")
    image = Image("runner", f"{plain.tag}-e2e", folder / "runner.tar")
    files = {f"{PLACE}/recon3d-runner": WRAPPER.encode()}
    files |= {f"{PLACE}/builtin/example/{name}": data for name, data in small_example().items()}
    made = folder / "stand-in"
    stand_in.make(made, ROOT / "examples/result/nvdiffrec/mesh.glb")
    files |= {f"{PLACE}/{p.relative_to(folder)}": p.read_bytes() for p in made.rglob("*") if p.is_file()}
    environment = {"PATH": f"{PLACE}:/opt/recon3d/bin:/usr/bin:/bin", "RECON3D_BUILTIN_DIR": f"{PLACE}/builtin"}
    with_layer(plain.archive, image.archive, image.reference, files, environment)
    return image


class World:
    """The installed product, on its node."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.client = cluster, cluster.client
        self.store = folder / "store"
        self.environment = {**os.environ, "KUBECONFIG": str(cluster.plane.kubeconfig)}
        self.images = {"operator": build("operator"), "runner": runner_image(folder)}
        for image in self.images.values():
            cluster.load_image(image.archive)
        self.images["runner"].archive.unlink()
        for namespace, place in ((NAMESPACE, self.store), (FULL, folder / FULL)):
            cluster.folder_volume(f"store-{namespace}", place, mode="ReadWriteOnce")
            claim = {"claimRef": {"namespace": namespace, "name": f"{RELEASE}-store"}}
            self.client.merge(f"/api/v1/persistentvolumes/store-{namespace}", {"spec": claim})

    # --- the administrator

    def install(self, *values: str, chart: Path = CHART) -> float:
        runner = self.images["runner"]
        both = ("--set=image.reconviagen.repository=runner", f"--set-string=image.reconviagen.tag={runner.tag}")
        return install(self.environment, self.images, *VALUES, *both, *values, chart=chart)

    def helm(self, *arguments: str) -> str:
        return helm(self.environment, *arguments)

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        program = ensure(("kubectl",))["kubectl"]
        done = subprocess.run(
            [program, *arguments], env=self.environment, input=text, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def pods(self, part: str, namespace: str = NAMESPACE) -> list[dict[str, Any]]:
        selector = f"app.kubernetes.io/name=recon3d-{part}"
        return self.client.items(f"/api/v1/namespaces/{namespace}/pods?labelSelector={selector}")

    def rights(self, part: str) -> set[Right]:
        """What the installation grants to the account of `operator`, `api` or `sweeper`, anywhere."""
        api = "/apis/rbac.authorization.k8s.io/v1"
        found: set[Right] = set()
        for binding in (*self.client.items(f"{api}/rolebindings"), *self.client.items(f"{api}/clusterrolebindings")):
            accounts = [
                subject["name"] for subject in binding.get("subjects", ()) if subject["kind"] == "ServiceAccount"
            ]
            if accounts == [f"{RELEASE}-{part}"]:
                ref, namespace = binding["roleRef"], binding["metadata"].get("namespace")
                place = f"{api}/namespaces/{namespace}/roles" if ref["kind"] == "Role" else f"{api}/clusterroles"
                for rule in self.client.get(f"{place}/{ref['name']}")["rules"]:
                    for verb, group, name in itertools.product(rule["verbs"], rule["apiGroups"], rule["resources"]):
                        resource, _, sub = name.partition("/")
                        found.add((verb, group, resource, sub))
        return found

    # --- jobs

    def path(self, name: str = "", namespace: str = NAMESPACE) -> str:
        return f"/apis/recon3d.io/v1alpha1/namespaces/{namespace}/reconstructionjobs/{name}".rstrip("/")

    def submit(self, name: str, namespace: str = NAMESPACE, **spec: Any) -> dict[str, Any]:
        body = {
            "apiVersion": "recon3d.io/v1alpha1",
            "kind": "ReconstructionJob",
            "metadata": {"name": name},
            "spec": {**SPEC, **spec},
        }
        return self.client.create(self.path(namespace=namespace), body)

    def job(self, name: str, namespace: str = NAMESPACE) -> dict[str, Any]:
        return self.client.get(self.path(name, namespace))

    def status(self, name: str, namespace: str = NAMESPACE) -> dict[str, Any]:
        return dict(self.job(name, namespace).get("status") or {})

    def change(self, name: str, **spec: Any) -> None:
        self.client.merge(self.path(name), {"spec": spec})

    def wait(self, name: str, *phases: str, seconds: float = 180, namespace: str = NAMESPACE) -> dict[str, Any]:
        """Wait for one of the phases; a job that ended otherwise fails at once, with what it said."""

        def reached() -> dict[str, Any] | None:
            status = self.status(name, namespace)
            phase = status.get("phase")
            if phase in ("Completed", "Failed", "Cancelled") and phase not in phases:
                raise RuntimeError(f"{name} is {phase}: {json.dumps(status.get('error'))}\n{self.log(name, namespace)}")
            return status if phase in phases else None

        return eventually(reached, seconds=seconds, what=f"{name} is {' or '.join(phases)}") or {}

    def runs(self, name: str, stage: str = "", seconds: float = 120) -> dict[str, Any]:
        """Wait until the job's progress has arrived, from `stage` if one is given."""

        def told() -> dict[str, Any] | None:
            status = self.status(name)
            if status.get("phase") in ("Failed", "Completed", "Cancelled"):
                raise RuntimeError(f"{name} has ended: {status.get('error')}")
            progress = status.get("progress") or {}
            return status if progress.get("percent") and stage in ("", progress.get("stage")) else None

        return eventually(told, seconds=seconds, what=f"{name} tells of its progress") or {}

    def uid(self, path: str) -> str:
        """The uid of an object; nothing if it is not there."""
        try:
            return str(self.client.get(path)["metadata"]["uid"])
        except Refused:
            return ""

    def reason(self, name: str, kind: str = "QuotaReserved", namespace: str = NAMESPACE) -> str:
        conditions = self.status(name, namespace).get("conditions") or []
        return next((str(c["reason"]) for c in conditions if c["type"] == kind), "")

    def runner_pods(self, name: str, namespace: str = NAMESPACE) -> list[dict[str, Any]]:
        selector = f"recon3d.io/job-name={name}"
        found = self.client.items(f"/api/v1/namespaces/{namespace}/pods?labelSelector={selector}")
        return sorted(found, key=lambda pod: int(pod["metadata"]["labels"]["recon3d.io/attempt"]))

    def log(self, name: str, namespace: str = NAMESPACE) -> str:
        try:
            pod = self.runner_pods(name, namespace)[-1]["metadata"]["name"]
            return self.cluster.logs(namespace, pod, "runner")[-3000:]
        except (IndexError, OSError) as error:
            return f"no log: {error}"

    def result(self, name: str) -> dict[str, Any]:
        """The published result.json of the job."""
        return self.stored(name, "result.json")

    def stored(self, name: str, file: str) -> dict[str, Any]:
        """A JSON file of the job's published result, from the store's disk."""
        folder = self.store / "jobs" / self.job(name)["metadata"]["uid"]
        current = json.loads((folder / "current").read_text()) if (folder / "current").is_file() else None
        attempt = current["attempt"] if isinstance(current, Mapping) else current
        return dict(json.loads((folder / "attempts" / str(attempt) / file).read_text()))

    def remove(self, *names: str, namespace: str = NAMESPACE) -> None:
        for name in names:
            self.client.delete(self.path(name, namespace))
        eventually(lambda: not [p for n in names for p in self.runner_pods(n, namespace)], what="no Pod is left")

    # --- REST

    @property
    def address(self) -> str:
        service = self.client.get(f"/api/v1/namespaces/{NAMESPACE}/services/{RELEASE}-api")
        return f"http://{self.cluster.node_address}:{service['spec']['ports'][0]['nodePort']}"

    @property
    def key(self) -> str:
        secret = self.client.get(f"/api/v1/namespaces/{NAMESPACE}/secrets/{RELEASE}-api")
        return base64.b64decode(secret["data"]["admin-key"]).decode()

    def rest(self, method: str, path: str, data: bytes | None = None, kind: str = "") -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self.key}", **({"Content-Type": kind} if kind else {})}
        request = urllib.request.Request(self.address + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def healthy(self) -> bool:
        """Whether the api answers, and well."""
        try:
            return self.rest("GET", "/health")[0] == 200
        except OSError:  # there is nobody yet
            return False


def seconds_between(earlier: str, later: str) -> float:
    """Seconds between two times of the API server."""
    form = "%Y-%m-%dT%H:%M:%SZ"
    return time.mktime(time.strptime(later[:19] + "Z", form)) - time.mktime(time.strptime(earlier[:19] + "Z", form))
