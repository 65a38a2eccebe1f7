"""The index: what the watches told, kept small, and always at least as new as what this process itself wrote.

A watch may be behind the answer to our own write; an object is therefore only ever replaced by a newer version.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from recon3d_operator.model import Key, Object, is_over, is_terminal, job_uid_of, key_of
from recon3d_operator.rules.queue import SortKey, sort_key

_GRAVES: Final = 2000
_SPEC_OF_THE_DONE: Final = ("ttlSecondsAfterFinished",)
_STATUS_OF_THE_DONE: Final = ("phase", "finishedAt", "webhook")
_META: Final = ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp")
_POD_META: Final = (*_META, "labels", "annotations", "ownerReferences")


class Queue:
    """The waiting jobs of one namespace, in order."""

    def __init__(self) -> None:
        self._order: list[tuple[SortKey, str]] = []
        self._places: dict[str, SortKey] = {}

    def __len__(self) -> int:
        return len(self._order)

    def put(self, name: str, key: SortKey) -> None:
        """Put the job in its place."""
        if self._places.get(name) != key:
            self.drop(name)
            self._places[name] = key
            insort(self._order, (key, name))

    def drop(self, name: str) -> bool:
        """Take the job out; return whether it was in."""
        key = self._places.pop(name, None)
        if key is None:
            return False
        del self._order[bisect_left(self._order, (key, name))]
        return True

    def position(self, name: str) -> int | None:
        """Return the job's place, from 1; None if it does not wait."""
        key = self._places.get(name)
        return None if key is None else bisect_left(self._order, (key, name)) + 1

    def first(self, count: int) -> list[str]:
        """Return the names of the first `count` jobs."""
        return [name for _, name in self._order[:count]]


class Index:
    """Jobs, their Pods, and the quotas, by namespace."""

    def __init__(self) -> None:
        self.jobs: dict[Key, Object] = {}
        self.queues: defaultdict[str, Queue] = defaultdict(Queue)
        self._pods: defaultdict[str, dict[str, Object]] = defaultdict(dict)
        self._active: defaultdict[str, set[str]] = defaultdict(set)
        self._quotas: defaultdict[str, dict[str, Object]] = defaultdict(dict)
        self._owners: dict[str, Key] = {}
        self._gone: dict[str, None] = {}
        self._names: dict[str, tuple[str, str]] = {}

    # --- what the watches tell

    def put_job(self, job: Mapping[str, Any]) -> bool:
        """Keep the job; return whether it is newer than what was known."""
        key = key_of(job)
        known = self.jobs.get(key)
        if job["metadata"]["uid"] in self._gone or (known is not None and not _newer(job, known)):
            return False
        if known is not None and known["metadata"]["uid"] != job["metadata"]["uid"]:
            self._owners.pop(known["metadata"]["uid"], None)
        self.jobs[key] = _small_job(job)
        self._owners[job["metadata"]["uid"]] = key
        if is_over(job):
            self.queues[key[0]].drop(key[1])
        return True

    def drop_job(self, job: Mapping[str, Any]) -> None:
        """Forget the job, unless another one of its name is known already."""
        key = key_of(job)
        self._bury(job)
        known = self.jobs.get(key)
        if known is not None and known["metadata"]["uid"] == job["metadata"]["uid"]:
            del self.jobs[key]
            self.queues[key[0]].drop(key[1])
        self._owners.pop(job["metadata"]["uid"], None)

    def put_pod(self, pod: Mapping[str, Any]) -> Key | None:
        """Keep the Pod; return the key of its job, if that is known and the Pod is news."""
        name, uid = pod["metadata"]["name"], job_uid_of(pod)
        known = self._pods.get(uid, {}).get(name)
        if pod["metadata"]["uid"] in self._gone or (known is not None and not _newer(pod, known)):
            return None
        self._pods[uid][name] = _small_pod(pod)
        self._names[pod["metadata"]["uid"]] = (uid, name)
        active = self._active[pod["metadata"]["namespace"]]
        (active.discard if is_terminal(pod) else active.add)(name)
        return self._owners.get(uid)

    def drop_pod(self, pod: Mapping[str, Any]) -> Key | None:
        """Forget the Pod; return the key of its job, if that is known."""
        name, uid = pod["metadata"]["name"], job_uid_of(pod)
        self._bury(pod)
        self._names.pop(pod["metadata"]["uid"], None)
        known = self._pods.get(uid, {}).get(name)
        if known is not None and known["metadata"]["uid"] == pod["metadata"]["uid"]:
            del self._pods[uid][name]
            self._active[pod["metadata"]["namespace"]].discard(name)
        if not self._pods.get(uid):
            self._pods.pop(uid, None)
        return self._owners.get(uid)

    def put_quota(self, quota: Mapping[str, Any]) -> bool:
        """Keep the quota; return whether it is newer than what was known."""
        namespace, name = key_of(quota)
        known = self._quotas[namespace].get(name)
        if known is not None and not _newer(quota, known):
            return False
        small = {key: quota.get(key) or {} for key in ("spec", "status")}
        self._quotas[namespace][name] = {"metadata": _pick(quota["metadata"], _META), **small}
        return True

    def drop_quota(self, quota: Mapping[str, Any]) -> None:
        """Forget the quota."""
        namespace, name = key_of(quota)
        self._quotas[namespace].pop(name, None)

    def _bury(self, obj: Mapping[str, Any]) -> None:
        """Remember that the object is gone: the answer to our own write of it may still be on its way."""
        self._gone[obj["metadata"]["uid"]] = None
        while len(self._gone) > _GRAVES:
            del self._gone[next(iter(self._gone))]

    # --- what is known

    def pods_of(self, job: Mapping[str, Any]) -> tuple[Object, ...]:
        """Return the job's Pods."""
        return tuple(self._pods.get(job["metadata"]["uid"], {}).values())

    def by_pod_uid(self, uid: str) -> tuple[Object, Object] | None:
        """Return the job that has the Pod, and the Pod."""
        name = self._names.get(uid)
        pod = None if name is None else self._pods.get(name[0], {}).get(name[1])
        key = None if pod is None else self._owners.get(job_uid_of(pod))
        job = None if key is None else self.jobs.get(key)
        return None if pod is None or job is None else (job, pod)

    def all_active(self) -> int:
        """Return how many runner Pods have not ended, in all namespaces."""
        return sum(len(names) for names in self._active.values())

    def active(self, namespace: str) -> int:
        """Return how many runner Pods of the namespace have not ended."""
        return len(self._active[namespace])

    def quotas(self, namespace: str) -> tuple[Object, ...]:
        """Return the namespace's quotas."""
        return tuple(self._quotas[namespace].values())

    def waits(self, job: Mapping[str, Any]) -> None:
        """Put the job into its namespace's queue."""
        namespace, name = key_of(job)
        self.queues[namespace].put(name, sort_key(job))

    def of_namespace(self, namespace: str) -> Iterator[Key]:
        """Yield the namespace's jobs."""
        return (key for key in list(self.jobs) if key[0] == namespace)


def _newer(new: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    return int(new["metadata"]["resourceVersion"]) > int(known["metadata"]["resourceVersion"])


def _pick(values: Mapping[str, Any], names: tuple[str, ...]) -> Object:
    return {name: values[name] for name in names if name in values}


def _small_job(job: Mapping[str, Any]) -> Object:
    """Return what is needed of the job; of one that is over, next to nothing, since thousands of them are kept."""
    meta, spec, status = _pick(job["metadata"], _META), job["spec"], job.get("status") or {}
    if is_over(job):
        spec, status = _pick(spec, _SPEC_OF_THE_DONE), _pick(status, _STATUS_OF_THE_DONE)
    return {"metadata": meta, "spec": dict(spec), "status": dict(status)}


def _small_pod(pod: Mapping[str, Any]) -> Object:
    spec = pod.get("spec") or {}
    return {
        "metadata": _pick(pod["metadata"], _POD_META),
        "spec": _pick(spec, ("nodeName", "terminationGracePeriodSeconds")),
        "status": dict(pod.get("status") or {}),
    }
