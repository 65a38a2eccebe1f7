"""The port in memory, for tests: names, versions, preconditions, ownership, and ResourceQuota as the API server has it.

As in a real cluster, a quota's `used` rises with a Pod's creation, but falls only when `settle` (the controller
manager's part) has run. `listener` hears every change, as a watch does; `fault` may refuse a call before or after it
took effect.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from typing import Any, Literal

from recon3d_operator.cluster.port import Object
from recon3d_operator.cluster.refusals import ApiError
from recon3d_operator.times import stamp

Change = Literal["ADDED", "MODIFIED", "DELETED"]
Fault = Callable[[str, str], ApiError | None]
"""(`before` or `after`, the call's name) -> the refusal, or None."""


class FakeCluster:
    """Implements recon3d_operator.cluster.port.Cluster, with a clock that tests set."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.jobs: dict[tuple[str, str], Object] = {}
        self.pods: dict[tuple[str, str], Object] = {}
        self.quotas: dict[tuple[str, str], Object] = {}
        self.claims: dict[tuple[str, str], Object] = {}
        self.secrets: dict[tuple[str, str], Object] = {}
        self.events: list[Object] = []
        self.calls: list[str] = []
        self.listener: Callable[[Change, Object], None] = lambda _change, _object: None
        self.fault: Fault = lambda _when, _call: None
        self._versions = itertools.count(1)
        self._uids = itertools.count(1)

    # --- the port

    async def create_pod(self, namespace: str, pod: Object) -> Object:
        """See Cluster.create_pod."""
        self._enter("create_pod")
        key = (namespace, pod["metadata"]["name"])
        if key in self.pods:
            raise ApiError(409, f'pods "{key[1]}" already exists', "AlreadyExists")
        self._admit(namespace, pod)
        stored = self._new("v1", "Pod", namespace, pod)
        stored["status"] = {"phase": "Pending"}
        self.pods[key] = stored
        return self._leave("create_pod", self._tell("ADDED", stored))

    async def get_pod(self, namespace: str, name: str) -> Object:
        """See Cluster.get_pod."""
        self._enter("get_pod")
        return copy.deepcopy(_get(self.pods, namespace, name))

    async def delete_pod(self, namespace: str, name: str, uid: str, grace_s: int | None = None) -> None:
        """See Cluster.delete_pod; a Pod that runs stays until `finish_deletion`."""
        self._enter("delete_pod")
        pod = self.pods.get((namespace, name))
        if pod is not None and pod["metadata"]["uid"] == uid:
            running = pod["spec"].get("nodeName") and pod["status"]["phase"] not in ("Succeeded", "Failed")
            if running and grace_s != 0:
                if "deletionTimestamp" not in pod["metadata"]:
                    grace = pod["spec"].get("terminationGracePeriodSeconds", 30) if grace_s is None else grace_s
                    pod["metadata"]["deletionTimestamp"] = stamp(self.now + grace)
                    self._changed(pod)
            else:
                self._remove(self.pods, pod)
        self._leave("delete_pod", {})

    async def get_job(self, namespace: str, name: str) -> Object:
        """See Cluster.get_job."""
        self._enter("get_job")
        return copy.deepcopy(_get(self.jobs, namespace, name))

    async def write_status(self, job: Object, status: Object) -> Object:
        """See Cluster.write_status."""
        self._enter("write_status")
        meta = job["metadata"]
        stored = _get(self.jobs, meta["namespace"], meta["name"])
        if stored["metadata"]["uid"] != meta["uid"]:
            raise ApiError(409, "the object is another one", "Conflict")
        if stored["metadata"]["resourceVersion"] != meta["resourceVersion"]:
            raise ApiError(409, "the object has been modified", "Conflict")
        stored["status"] = copy.deepcopy(status)
        return self._leave("write_status", self._changed(stored))

    async def delete_job(self, namespace: str, name: str, uid: str) -> None:
        """See Cluster.delete_job."""
        self._enter("delete_job")
        job = self.jobs.get((namespace, name))
        if job is not None and job["metadata"]["uid"] == uid:
            self._remove(self.jobs, job)
            for pod in [pod for pod in self.pods.values() if _owner(pod) == uid]:
                self._remove(self.pods, pod)
        self._leave("delete_job", {})

    async def get_quota(self, namespace: str, name: str) -> Object:
        """See Cluster.get_quota."""
        self._enter("get_quota")
        return copy.deepcopy(_get(self.quotas, namespace, name))

    async def get_claim(self, namespace: str, name: str) -> Object:
        """See Cluster.get_claim."""
        self._enter("get_claim")
        return copy.deepcopy(_get(self.claims, namespace, name))

    async def get_secret(self, namespace: str, name: str) -> Object:
        """See Cluster.get_secret."""
        self._enter("get_secret")
        return copy.deepcopy(_get(self.secrets, namespace, name))

    async def create_event(self, namespace: str, event: Object) -> None:
        """See Cluster.create_event."""
        self._enter("create_event")
        if event["metadata"]["namespace"] != namespace:
            raise ApiError(400, "the namespace of the event is another one", "BadRequest")
        self.events.append(copy.deepcopy(event))
        self._leave("create_event", {})

    # --- what users, the kubelet and the controller manager do

    def add_job(self, namespace: str, name: str, spec: Object) -> Object:
        """Create a job as a user does."""
        body = {"metadata": {"name": name, "generation": 1}, "spec": spec}
        job = self._new("recon3d.io/v1alpha1", "ReconstructionJob", namespace, body)
        self.jobs[namespace, name] = job
        return self._tell("ADDED", job)

    def change_job(self, namespace: str, name: str, **spec: Any) -> Object:
        """Change fields of a job's spec as a user does."""
        job = self.jobs[namespace, name]
        job["spec"].update(spec)
        job["metadata"]["generation"] += 1
        return self._changed(job)

    def set_quota(self, namespace: str, hard: dict[str, str] | None, name: str = "gpu") -> None:
        """Create, change or (with None) delete a ResourceQuota."""
        quota = self.quotas.get((namespace, name))
        if hard is None:
            if quota is not None:
                self._remove(self.quotas, quota)
            return
        if quota is None:
            quota = self._new("v1", "ResourceQuota", namespace, {"metadata": {"name": name}, "spec": {}})
            self.quotas[namespace, name] = quota
        quota["spec"] = {"hard": dict(hard)}
        quota["status"] = {"hard": dict(hard), "used": self._used(namespace, hard)}
        self._changed(quota)

    def set_pod(self, namespace: str, name: str, status: Object, node: str = "node-1") -> Object:
        """Report a Pod's status as its kubelet does."""
        pod = self.pods[namespace, name]
        pod["spec"]["nodeName"] = node
        pod["status"] = copy.deepcopy(status)
        return self._changed(pod)

    def finish_deletion(self, namespace: str, name: str) -> None:
        """Remove a Pod as its kubelet does when the containers are gone."""
        self._remove(self.pods, self.pods[namespace, name])

    def settle(self) -> None:
        """Count every quota's use anew, as the controller manager does."""
        for (namespace, _), quota in self.quotas.items():
            used = self._used(namespace, quota["spec"]["hard"])
            if quota["status"]["used"] != used:
                quota["status"]["used"] = used
                self._changed(quota)

    def everything(self) -> Iterator[Object]:
        """Yield every object that a list would return."""
        for objects in (self.quotas, self.pods, self.jobs):
            yield from (copy.deepcopy(each) for each in objects.values())

    # --- inside

    def _enter(self, call: str) -> None:
        self.calls.append(call)
        refusal = self.fault("before", call)
        if refusal is not None:
            raise refusal

    def _leave(self, call: str, result: Object) -> Object:
        refusal = self.fault("after", call)
        if refusal is not None:
            raise refusal
        return result

    def _new(self, api: str, kind: str, namespace: str, body: Object) -> Object:
        meta = {
            "uid": f"00000000-0000-4000-8000-{next(self._uids):012d}",
            "creationTimestamp": stamp(self.now),
            "resourceVersion": str(next(self._versions)),
        }
        new = {"apiVersion": api, "kind": kind, **copy.deepcopy(body)}
        new["metadata"] = {**new["metadata"], "namespace": namespace, **meta}
        return new

    def _changed(self, stored: Object) -> Object:
        stored["metadata"]["resourceVersion"] = str(next(self._versions))
        return self._tell("MODIFIED", stored)

    def _remove(self, objects: dict[tuple[str, str], Object], stored: Object) -> None:
        del objects[stored["metadata"]["namespace"], stored["metadata"]["name"]]
        stored["metadata"]["resourceVersion"] = str(next(self._versions))
        self._tell("DELETED", stored)

    def _tell(self, change: Change, stored: Object) -> Object:
        self.listener(change, copy.deepcopy(stored))
        return copy.deepcopy(stored)

    def _used(self, namespace: str, hard: dict[str, str]) -> dict[str, str]:
        active = [
            pod
            for (place, _), pod in self.pods.items()
            if place == namespace and pod["status"]["phase"] not in ("Succeeded", "Failed")
        ]
        return {key: str(sum(request(pod, key) for pod in active)) for key in hard}

    def _admit(self, namespace: str, pod: Object) -> None:
        quotas = [quota for (place, _), quota in self.quotas.items() if place == namespace]
        for quota in quotas:
            for key, hard in quota["spec"]["hard"].items():
                wanted, used = request(pod, key), int(quota["status"]["used"].get(key, "0"))
                if wanted and used + wanted > int(hard):
                    text = f"exceeded quota: {quota['metadata']['name']}, requested: {key}={wanted}, "
                    text += f"used: {key}={used}, limited: {key}={hard}"
                    raise ApiError(403, f'pods "{pod["metadata"]["name"]}" is forbidden: {text}', "Forbidden")
        for quota in quotas:
            for key in quota["spec"]["hard"]:
                quota["status"]["used"][key] = str(int(quota["status"]["used"].get(key, "0")) + request(pod, key))
            self._changed(quota)


def request(pod: Object, key: str) -> int:
    """Return how much of the quota key (`requests.nvidia.com/gpu`, `pods`) a Pod is charged with."""
    if key in ("pods", "count/pods"):
        return 1
    name = key.removeprefix("requests.")
    return sum(int(each.get("resources", {}).get("requests", {}).get(name, 0)) for each in pod["spec"]["containers"])


def _get(objects: dict[tuple[str, str], Object], namespace: str, name: str) -> Object:
    try:
        return objects[namespace, name]
    except KeyError:
        raise ApiError(404, f'"{name}" not found', "NotFound") from None


def _owner(pod: Object) -> str | None:
    owners = pod["metadata"].get("ownerReferences") or []
    return next((owner["uid"] for owner in owners if owner.get("controller")), None)
