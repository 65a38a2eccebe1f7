"""The jobs of the namespace as one watch tells them, so that reading costs the API server nothing.

Also the place where listeners wait for a change: all listeners of a job share one future.
"""

from __future__ import annotations

import asyncio
import bisect
import logging
import random
import time
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final

from recon3d_contract.phases import TERMINAL, Phase

from recon3d_api.cluster.port import Cluster, ClusterError, Object
from recon3d_api.names import OWNER
from recon3d_api.rendering import Rendered, render

_LOG: Final = logging.getLogger(__name__)
_BACKOFF_S: Final = (0.2, 5.0)
_UNKNOWN_S: Final = 1.0
_UNKNOWN_KEPT: Final = 10_000
_DIRECT: Final = 16

Order = tuple[str, str]
"""(creation time, name): sorts jobs by age."""


class CachedJob:
    """One job as it was last seen; what users see of it is made once."""

    def __init__(self, obj: Object) -> None:
        meta = obj["metadata"]
        meta.pop("managedFields", None)
        self.obj = obj
        self.name = str(meta["name"])
        self.uid = str(meta["uid"])
        self.version = int(meta["resourceVersion"])
        self.owner: str | None = (meta.get("annotations") or {}).get(OWNER)
        self.order: Order = (str(meta["creationTimestamp"]), self.name)

    @property
    def spec(self) -> dict[str, Any]:
        """The job's spec."""
        return dict(self.obj["spec"])

    @property
    def status(self) -> dict[str, Any]:
        """The job's status; empty before the operator has seen it."""
        return dict(self.obj.get("status") or {})

    @property
    def phase(self) -> Phase:
        """Queued until the operator says otherwise."""
        return Phase((self.obj.get("status") or {}).get("phase") or Phase.QUEUED)

    @property
    def over(self) -> bool:
        """Whether nothing will change any more."""
        return self.phase in TERMINAL

    @cached_property
    def rendered(self) -> Rendered:
        """What users see."""
        return render(self.obj)


class JobCache:
    """All jobs of the namespace, as of a moment ago."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._jobs: dict[str, CachedJob] = {}
        self._order: list[Order] = []
        self._waiters: dict[str, asyncio.Future[None]] = {}
        self._gone: dict[str, int] = {}
        self._unknown: dict[str, float] = {}
        self._asking: dict[str, asyncio.Task[CachedJob]] = {}
        self._direct = asyncio.Semaphore(_DIRECT)
        self.synced = asyncio.Event()
        """Everything has been listed once."""
        self.heard_at = 0.0
        """When the API server was last heard of (monotonic)."""

    def __len__(self) -> int:
        """Jobs known."""
        return len(self._jobs)

    async def run(self) -> None:
        """List and watch for ever; broken watches begin anew after a pause that grows."""
        pause = _BACKOFF_S[0]
        while True:
            try:
                version = await self._list()
                pause = _BACKOFF_S[0]
                while True:
                    version = await self._watch(version)
            except ClusterError as error:
                _LOG.warning("the watch of jobs begins anew: %s", error)
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - only spreads the load
            pause = min(pause * 2, _BACKOFF_S[1])

    async def _list(self) -> str:
        items, version = await self._cluster.list_jobs()
        self._heard()
        present = set()
        for item in items:
            present.add(item["metadata"]["name"])
            self.put(item)
        for name in [name for name, job in self._jobs.items() if name not in present and job.version <= int(version)]:
            self._remove(name, int(version))
        self.synced.set()
        return version

    async def _watch(self, version: str) -> str:
        async for kind, obj in self._cluster.watch_jobs(version):
            self._heard()
            version = obj["metadata"]["resourceVersion"]
            if kind == "DELETED":
                self._remove(obj["metadata"]["name"], int(version))
            elif kind != "BOOKMARK":
                self.put(obj)
        return version

    def _heard(self) -> None:
        self.heard_at = time.monotonic()

    def put(self, obj: Object) -> CachedJob:
        """Take in a job as the API server has just told it; an older one than known changes nothing."""
        name, version = obj["metadata"]["name"], int(obj["metadata"]["resourceVersion"])
        known = self._jobs.get(name)
        if known is not None and known.version >= version:
            return known
        job = CachedJob(obj)
        if known is None and self._gone.get(name, 0) >= version:
            return job  # it was deleted after this state of it
        if known is not None and known.order != job.order:
            self._unlist(known.order)
            known = None
        if known is None:
            bisect.insort(self._order, job.order)
        self._jobs[name] = job
        self._unknown.pop(name, None)
        self._tell(name)
        return job

    def _remove(self, name: str, version: int) -> None:
        known = self._jobs.get(name)
        if known is None or known.version > version:
            return
        del self._jobs[name]
        self._unlist(known.order)
        self._gone[name] = version
        while len(self._gone) > _UNKNOWN_KEPT:
            del self._gone[next(iter(self._gone))]
        self._tell(name)

    def _unlist(self, order: Order) -> None:
        at = bisect.bisect_left(self._order, order)
        if at < len(self._order) and self._order[at] == order:
            del self._order[at]

    def peek(self, name: str) -> CachedJob | None:
        """Return a job that is known."""
        return self._jobs.get(name)

    async def get(self, name: str) -> CachedJob:
        """Return the job; one that is not known is asked for at the API server. Raises ClusterError 404."""
        known = self._jobs.get(name)
        if known is not None:
            return known
        now = time.monotonic()
        if now - self._unknown.get(name, -_UNKNOWN_S) < _UNKNOWN_S:
            raise ClusterError(404, "not found", "NotFound")
        # All who ask at once share one question.
        task = self._asking.get(name)
        if task is None:
            task = self._asking[name] = asyncio.create_task(self._ask(name))
            task.add_done_callback(lambda _: self._asking.pop(name, None))
        return await asyncio.shield(task)

    async def _ask(self, name: str) -> CachedJob:
        async with self._direct:
            try:
                return self.put(await self._cluster.get_job(name))
            except ClusterError as error:
                if error.status == 404:
                    if len(self._unknown) > _UNKNOWN_KEPT:
                        self._unknown.clear()
                    self._unknown[name] = time.monotonic()
                raise

    def newest(self, before: Order | None = None) -> Iterator[CachedJob]:
        """Yield the jobs from the newest to the oldest, beginning after the place `before`."""
        at = len(self._order) if before is None else bisect.bisect_left(self._order, before)
        for order in reversed(self._order[:at]):
            yield self._jobs[order[1]]

    def change_of(self, name: str) -> asyncio.Future[None]:
        """Return a future that is done at the job's next change or end; wait for it with asyncio.wait."""
        future = self._waiters.get(name)
        if future is None:
            future = self._waiters[name] = asyncio.get_running_loop().create_future()
        return future

    def _tell(self, name: str) -> None:
        future = self._waiters.pop(name, None)
        if future is not None and not future.done():
            future.set_result(None)
