"""The runner's Pod: one accelerator, no rights, a read-only root, and of the store only the job's own folder.

Pure: a job and the settings in, the Pod's dict out. What the runner reads from its environment is described by
`recon3d-runner job --help`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.job import JobSpec
from recon3d_contract.resource import GROUP, KIND, VERSION, job_of

from recon3d_operator.model import Object
from recon3d_operator.names import (
    ATTEMPT,
    FIRST_ENGINE,
    JOB_NAME,
    JOB_UID,
    QUEUE_NAME,
    RUNNER,
    SAFE_TO_EVICT,
    pod_name,
)  # fmt: skip
from recon3d_operator.settings import Settings

_USER: Final = 65532
_STORE: Final = "/store"
_INPUT: Final = "/input"
_PARTS: Final = "/parts"
_TOKEN_FOLDER: Final = "/var/run/recon3d"  # noqa: S105 - a folder
AUDIENCE: Final = "recon3d-progress"
_TOKEN_SECONDS: Final = 3600
_LOCKED: Final = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def build_pod(job: Mapping[str, Any], attempt: int, settings: Settings) -> Object:
    """Return the Pod of the job's attempt. Raises Recon3dError where the job cannot run in a cluster."""
    meta, spec = job["metadata"], job_of(job["spec"])
    uid, name = str(meta["uid"]), str(meta["name"])
    volumes = _Volumes()
    resources = _resources(job, settings)
    environment = _environment(spec, uid, attempt, settings, volumes)
    init = _preparation(uid, settings) if settings.store.startswith("pvc:") and spec.output.ref is None else []
    if spec.engine == "both" and settings.reconviagen_image:
        volumes.add("parts", _PARTS, {"emptyDir": {"sizeLimit": settings.scratch}})
        lost = lost_engines(job)
        mine = {"RECON3D_ENGINE": "nvdiffrec", "RECON3D_TAKE": _PARTS}
        if lost:
            mine["RECON3D_LOST"] = ",".join(f"{engine}={code}" for engine, code in lost.items())
        if FIRST_ENGINE not in lost:
            first = {**environment, "RECON3D_ENGINE": FIRST_ENGINE, "RECON3D_LEAVE": _PARTS}
            init.append(_container(FIRST_ENGINE, settings.reconviagen_image, first, resources, settings, volumes))
        environment |= mine
        image = settings.runner_image
    else:
        alone = spec.engine == "reconviagen" and settings.reconviagen_image
        image = alone or settings.runner_image
    container = _container(RUNNER, image, environment, resources, settings, volumes)
    pod: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_name(name, uid, attempt),
            "labels": {
                **settings.labels,
                "app.kubernetes.io/name": "recon3d-runner",
                "app.kubernetes.io/managed-by": "recon3d-operator",
                JOB_UID: uid,
                JOB_NAME: name,
                ATTEMPT: str(attempt),
                **({QUEUE_NAME: job["spec"]["queueName"]} if job["spec"].get("queueName") else {}),
            },
            "annotations": {SAFE_TO_EVICT: "false"},
            "ownerReferences": [
                {
                    "apiVersion": f"{GROUP}/{VERSION}",
                    "kind": KIND,
                    "name": name,
                    "uid": uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": {
            "restartPolicy": "Never",
            "serviceAccountName": settings.runner_account,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": settings.grace_seconds,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER,
                "runAsGroup": _USER,
                "fsGroup": _USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "initContainers": init,
            "containers": [container],
            "volumes": volumes.volumes,
        },
    }
    if settings.image_pull_secrets:
        pod["spec"]["imagePullSecrets"] = [{"name": secret} for secret in settings.image_pull_secrets]
    asked = job["spec"].get("pod") or {}
    allowed = {key: value for key, value in asked.items() if key in settings.pod_overrides and key != "resources"}
    pod["spec"].update({**settings.pod_defaults, **allowed})
    return pod


def lost_engines(job: Mapping[str, Any]) -> dict[str, str]:
    """Return the engines whose container died in an earlier run of this job of both, with the reason's code."""
    attempts = (job.get("status") or {}).get("attempts") or ()
    return {run["lostEngine"]: run.get("lostCode") or "INTERNAL" for run in attempts if run.get("lostEngine")}


def _container(
    name: str, image: str, environment: Mapping[str, str], resources: Object, settings: Settings, volumes: _Volumes
) -> Object:
    own = {"RECON3D_IMAGE_DIGEST": image.partition("@")[2]} if "@" in image else {}
    if settings.rasteriser and image == settings.runner_image:
        own["RECON3D_RASTERISER"] = settings.rasteriser
    container: Object = {
        "name": name,
        "image": image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["recon3d-runner", "job"],
        # Kubernetes replaces $(NAME) in values; a job's text must arrive as it is.
        "env": [{"name": key, "value": value.replace("$", "$$")} for key, value in {**environment, **own}.items()],
        "resources": resources,
        "securityContext": _LOCKED,
        "volumeMounts": list(volumes.mounts),
        "terminationMessagePolicy": "File",
    }
    if settings.store_secret:
        container["envFrom"] = [{"secretRef": {"name": settings.store_secret}}]
    return container


class _Volumes:
    """Volumes and the runner's mounts of them, side by side."""

    def __init__(self) -> None:
        self.volumes: list[Object] = []
        self.mounts: list[Object] = []

    def add(self, name: str, path: str, source: Object, **mount: Any) -> None:
        """Mount `source` at `path`; the volume of a name is declared once."""
        if all(volume["name"] != name for volume in self.volumes):
            self.volumes.append({"name": name, **source})
        self.mounts.append({"name": name, "mountPath": path, **mount})


def _environment(spec: JobSpec, uid: str, attempt: int, settings: Settings, volumes: _Volumes) -> dict[str, str]:
    volumes.add("tmp", "/tmp", {"emptyDir": {"sizeLimit": settings.scratch}})  # noqa: S108 - in the Pod
    volumes.add("shm", "/dev/shm", {"emptyDir": {"medium": "Memory", "sizeLimit": settings.shm}})  # noqa: S108
    values = {
        "RECON3D_JOB": spec.to_json(),
        "RECON3D_JOB_UID": uid,
        "RECON3D_ATTEMPT": str(attempt),
        "RECON3D_DEVICE": settings.device,
        "RECON3D_INPUT": _input(spec, settings, volumes),
        "RECON3D_OUTPUT": _output(spec, uid, settings, volumes),
        "RECON3D_SCRATCH": "/tmp",  # noqa: S108
        "HOME": "/tmp",  # noqa: S108 - the root is read-only, and libraries keep caches at home
    }
    if settings.input_hosts:
        values["RECON3D_INPUT_HOSTS"] = ",".join(settings.input_hosts)
    if settings.accept_licences:
        values["RECON3D_ACCEPT_LICENCES"] = ",".join(settings.accept_licences)
    if settings.progress_url:
        values |= {"RECON3D_PROGRESS_URL": settings.progress_url, "RECON3D_TOKEN": f"{_TOKEN_FOLDER}/token"}
        token = {"path": "token", "audience": AUDIENCE, "expirationSeconds": _TOKEN_SECONDS}
        sources: list[Object] = [{"serviceAccountToken": token}]
        if settings.progress_ca:
            values["RECON3D_CA"] = f"{_TOKEN_FOLDER}/ca.crt"
            sources.append(
                {"configMap": {"name": settings.progress_ca, "items": [{"key": "ca.crt", "path": "ca.crt"}]}}
            )
        volumes.add("progress", _TOKEN_FOLDER, {"projected": {"sources": sources}}, readOnly=True)
    return values


def _input(spec: JobSpec, settings: Settings, volumes: _Volumes) -> str:
    source = spec.input
    if source is None or source.path is not None:
        raise Recon3dError(Code.INPUT_NOT_ALLOWED, "A path of one machine is no input in a cluster.")
    if source.pvc is not None:
        claim = {"persistentVolumeClaim": {"claimName": source.pvc.claim_name, "readOnly": True}}
        part = {"subPath": source.pvc.path.strip("/")} if source.pvc.path.strip("/") else {}
        volumes.add("input", f"{_INPUT}/views", claim, readOnly=True, **part)
        return f"{_INPUT}/views"
    if source.upload is not None:
        if not settings.store.startswith("pvc:"):
            return f"{settings.store.rstrip('/')}/inputs/{source.upload}"
        volumes.add("store", f"{_INPUT}/views", _store(settings), readOnly=True, subPath=f"inputs/{source.upload}")
        return f"{_INPUT}/views"
    return source.reference or ""


def _output(spec: JobSpec, uid: str, settings: Settings, volumes: _Volumes) -> str:
    if spec.output.ref is not None:
        return spec.output.ref  # where the administrator allows it
    if not settings.store.startswith("pvc:"):
        return settings.store
    volumes.add("store", f"{_STORE}/jobs/{uid}", _store(settings), subPath=f"jobs/{uid}")
    return _STORE


def _store(settings: Settings) -> Object:
    return {"persistentVolumeClaim": {"claimName": settings.store.removeprefix("pvc:")}}


def _preparation(uid: str, settings: Settings) -> list[Object]:
    """Return the init container that makes the job's folder, which a subPath mount would else make as root."""
    few = {"cpu": "10m", "memory": "64Mi"}
    return [
        {
            "name": "folder",
            "image": settings.runner_image,
            "imagePullPolicy": settings.image_pull_policy,
            "command": ["mkdir", "-p", f"/all/jobs/{uid}"],
            "resources": {"requests": dict(few), "limits": {"cpu": "1", "memory": few["memory"]}},
            "securityContext": _LOCKED,
            "volumeMounts": [{"name": "store", "mountPath": "/all"}],
        }
    ]


def _resources(job: Mapping[str, Any], settings: Settings) -> Object:
    asked = (job["spec"].get("pod") or {}).get("resources") or {}
    given = asked if "resources" in settings.pod_overrides else {}
    memory = given.get("memory") or settings.memory
    requests: dict[str, str] = {"cpu": given.get("cpu") or settings.cpu, "memory": memory}
    limits: dict[str, str] = {"memory": memory}
    if settings.device == "cuda":
        requests[settings.accelerator] = limits[settings.accelerator] = "1"
    return {"requests": requests, "limits": limits}
