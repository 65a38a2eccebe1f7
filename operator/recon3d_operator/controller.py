"""The loop: watch events mark keys, workers reconcile them, the submitter lets the head of each queue start.

    told(change, object) -> Index, marks -> WorkQueue -> reconcile(key): observe -> decide -> create or apply

Nothing here is remembered that the cluster does not hold: after a restart the same is worked out anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

from recon3d_contract.errors import Code, Recon3dError

from recon3d_operator.apply import apply
from recon3d_operator.claims import refused_input, webhook_ready
from recon3d_operator.cluster.port import Cluster
from recon3d_operator.cluster.refusals import ApiError, Kind
from recon3d_operator.confirm import Unconfirmed
from recon3d_operator.decide import decide
from recon3d_operator.metrics import Metrics
from recon3d_operator.model import Decision, Key, Object, Observed, attempt_of, is_over, is_terminal, job_uid_of, key_of
from recon3d_operator.observe import Index
from recon3d_operator.pod import build_pod
from recon3d_operator.rules.conditions import GPU_CAPACITY, WEBHOOK_READY, Fact
from recon3d_operator.settings import Settings
from recon3d_operator.submit import Submitter
from recon3d_operator.times import parse
from recon3d_operator.workqueue import WorkQueue

_LOG: Final = logging.getLogger(__name__)
_TICK_S: Final = 15.0
_HEAD_S: Final = 2.0
_PLACES_PER_TICK: Final = 200
_CONFIRM_AFTER_S: Final = 60.0
_CONFIRM_AT_ONCE: Final = 100
_PROGRESS_S: Final = 5.0
_LONGEST_RETRY_S: Final = 30.0


class Controller:
    """Everything that the operator does about jobs; how it learns of changes is up to its owner."""

    def __init__(
        self, cluster: Cluster, settings: Settings, clock: Callable[[], float], metrics: Metrics | None = None
    ) -> None:
        """Use `clock`, in seconds since 1970."""
        self.metrics = metrics or Metrics(lambda: self.index)
        self.cluster, self.settings, self.clock = cluster, settings, clock
        self.index = Index()
        self.work = WorkQueue(clock)
        self.submitter = Submitter(self.index, settings, clock, self.work.add)
        self.webhooks: Callable[[Mapping[str, Any]], None] = lambda _job: None  # is told of every job
        self.capacity: Fact | None = None
        """The condition GPUCapacity of jobs that are not over."""
        self._progress: dict[Key, Mapping[str, Any]] = {}
        self._refresh: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._unconfirmed = Unconfirmed()

    # --- what is told

    def told(self, change: str | None, obj: Mapping[str, Any]) -> None:
        """Take in a watch event: `change` is DELETED or anything else; `obj` a job, a runner Pod or a quota."""
        gone, kind = change == "DELETED", obj["kind"]
        self._unconfirmed.drop(obj)
        if kind == "ResourceQuota":
            self._told_quota(obj, gone)
        elif kind == "Pod":
            self._told_pod(obj, gone)
        else:
            self._told_job(obj, gone)

    def listed(self, obj: Mapping[str, Any]) -> None:
        """Take in an object of the first list; a watch has yet to confirm that it is still there."""
        self.told(None, obj)
        self._unconfirmed.add(obj)

    def _told_job(self, job: Mapping[str, Any], gone: bool) -> None:
        key = key_of(job)
        if gone:
            self.index.drop_job(job)
            self.submitter.revoke(key)
            self._progress.pop(key, None)
            self._failures.pop(key, None)
            self._offer(key[0])
        elif self.index.put_job(job):
            self.work.add(key)
            self.webhooks(job)

    def _told_pod(self, pod: Mapping[str, Any], gone: bool) -> None:
        key = self.index.drop_pod(pod) if gone else self.index.put_pod(pod)
        if key is not None:
            self.work.add(key)
        if gone or is_terminal(pod):
            namespace = pod["metadata"]["namespace"]
            self.submitter.changed(namespace)
            self._offer(namespace)

    def _told_quota(self, quota: Mapping[str, Any], gone: bool) -> None:
        namespace = quota["metadata"]["namespace"]
        if gone:
            self.index.drop_quota(quota)
        elif not self.index.put_quota(quota):
            return
        self.submitter.changed(namespace)
        self._offer(namespace)

    def progress_of(self, key: Key, attempt: int) -> Mapping[str, Any] | None:
        """Return what is known of the attempt's progress: told since the start, or written before it."""
        job = self.index.jobs.get(key)
        written = None if job is None else (job.get("status") or {}).get("progress")
        return self._progress.get(key) or (None if written is None else {**written, "attempt": attempt})

    def progressed(self, key: Key, progress: Mapping[str, Any]) -> None:
        """Take in what a runner told; it is written with the next status."""
        self._progress[key] = progress
        written = parse(((self.index.jobs.get(key) or {}).get("status") or {}).get("progress", {}).get("updatedAt"))
        self.work.add_at(key, self.clock() if written is None else written + _PROGRESS_S)

    # --- the work

    async def reconcile(self, key: Key) -> None:
        """Bring the job one step nearer to what shall be; come back when something fails."""
        job = self.index.jobs.get(key)
        if job is None:
            return
        try:
            with self.metrics.reconcile.time():
                await self._reconcile(key, job)
            self._failures.pop(key, None)
        except ApiError as error:
            await self._failed(key, job, error)

    async def _reconcile(self, key: Key, job: Object) -> None:
        first = (job.get("status") or {}).get("phase") is None
        hook, refused = await self._webhook(job) if first else (None, None)
        decision = self._decide(key, job, refused, hook)
        if decision.create is not None:
            if not first:  # it may have waited for long
                hook, refused = await self._webhook(job)
            refused = refused or await refused_input(self.cluster, job)
            refused = refused or await self._create(key, job, decision.create)
            self.submitter.revoke(key)
            decision = self._decide(key, job, refused, hook)
            if not decision.waits and refused is None and first:
                # The Pod is there; its status is written when fewer others wait for theirs.
                self._leave_queue(key)
                self.work.add_behind(key)
                self._offer(key[0])
                return
        if not decision.waits:
            self._leave_queue(key)
        if decision.look_again_at is not None:
            self.work.add_at(key, decision.look_again_at)
        await apply(self.cluster, self.index, job, decision, self.clock())
        if not is_over(job):
            self.metrics.changed(job, job.get("status") or {}, decision.status)
        latest = self.index.jobs.get(key) or job
        if is_over(latest):
            self._progress.pop(key, None)
            self.webhooks(latest)
            if not is_over(job):
                self.work.add(key)  # for what follows an end: no watch need tell what the index has already
        self._offer(key[0])

    async def _webhook(self, job: Object) -> tuple[Fact | None, Recon3dError | None]:
        """Return whether the job's webhook can be signed, and why the job may not use the Secret that it names."""
        looks = self.settings.webhooks and self.settings.serves(job["metadata"]["namespace"])
        return await webhook_ready(self.cluster, job) if looks and job["spec"].get("webhook") else (None, None)

    def _decide(self, key: Key, job: Object, refused: Recon3dError | None = None, hook: Fact | None = None) -> Decision:
        refresh = key in self._refresh
        self._refresh.discard(key)
        known = {GPU_CAPACITY: self.capacity, WEBHOOK_READY: hook}

        def observed() -> Observed:
            return Observed(
                job=job,
                pods=self.index.pods_of(job),
                turn=self.submitter.turn(key, refresh=refresh),
                progress=self._told_progress(key, job),
                found={kind: fact for kind, fact in known.items() if fact is not None},
                refused=refused,
            )

        seen = observed()
        decision = decide(seen, self.settings, self.clock())
        if decision.waits and seen.turn is None:
            self.index.waits(job)
            self._offer(key[0])
            decision = decide(observed(), self.settings, self.clock())
        elif decision.waits:
            self.index.waits(job)  # its priority may have changed
        return decision

    def _told_progress(self, key: Key, job: Object) -> Mapping[str, Any] | None:
        """Return the latest progress, if it is of the attempt that runs now."""
        told = self._progress.get(key)
        latest = max((attempt_of(pod) for pod in self.index.pods_of(job)), default=0)
        if told is None or told["attempt"] != latest:
            return None
        return {name: value for name, value in told.items() if name != "attempt"}

    async def _create(self, key: Key, job: Object, attempt: int) -> Recon3dError | None:
        """Create the attempt's Pod; return why that can never be."""
        try:
            pod = build_pod(job, attempt, self.settings)
        except Recon3dError as error:
            return error
        try:
            created = await self.cluster.create_pod(key[0], pod)
        except ApiError as error:
            if error.kind is Kind.EXISTS:
                created = await self.cluster.get_pod(key[0], pod["metadata"]["name"])
                if job_uid_of(created) != job["metadata"]["uid"]:
                    return Recon3dError(Code.INTERNAL, "Another object has the name of the job's Pod.")
            elif error.kind is Kind.REFUSED:
                return Recon3dError(Code.INVALID_REQUEST, f"The cluster refuses the job's Pod: {error.message}")
            elif error.kind is Kind.GONE:
                self.submitter.refused(key[0], error)  # the namespace goes; its jobs would be granted again at once
                raise
            else:
                self.metrics.refusals.labels(error.row.reason).inc()
                again = self.submitter.refused(key[0], error)
                self.work.add_at(key, again)
                return None
        self.submitter.accepted(key[0])
        self.index.put_pod(created)
        return None

    async def _failed(self, key: Key, job: Object, error: ApiError) -> None:
        self.submitter.revoke(key)
        if error.kind is Kind.GONE:
            self._leave_queue(key)  # the job, or its whole namespace: the watch tells when it is certain
        count = self._failures[key] = self._failures.get(key, 0) + 1
        if error.kind is Kind.CONFLICT:
            with contextlib.suppress(ApiError):
                self.index.put_job(await self.cluster.get_job(*key))
        else:
            log = _LOG.info if error.kind is Kind.GONE else _LOG.warning
            log("%s/%s: %s", *key, error, extra={"job_uid": job["metadata"]["uid"]})
        wait = min(0.05 * 2.0 ** min(count, 12), _LONGEST_RETRY_S) * random.uniform(0.8, 1.2)  # noqa: S311
        self.work.add_at(key, self.clock() + max(error.retry_after_s or 0.0, wait))

    def _leave_queue(self, key: Key) -> None:
        self.submitter.revoke(key)
        queue = self.index.queues[key[0]]
        if queue.drop(key[1]):
            for name in queue.first(1):  # told that it is the head, unless it has started by then
                self.work.add_at((key[0], name), self.clock() + _HEAD_S)

    def _offer(self, namespace: str) -> None:
        again = self.submitter.offer(namespace)
        if again is not None:
            for name in self.index.queues[namespace].first(1):
                self.work.add_at((namespace, name), again)

    def refresh_places(self) -> None:
        """Have the places written that have moved."""
        for key in self.submitter.moved(self.index.jobs, _PLACES_PER_TICK):
            self._refresh.add(key)
            self.work.add(key)
        for namespace in self.index.queues:
            self._offer(namespace)

    async def confirm(self, most: int) -> None:
        """Look again after up to `most` listed objects of which no watch has told since."""
        async for change, obj in self._unconfirmed.look_again(self.cluster, most):
            self.told(change, obj)

    async def run(self) -> None:
        """Work until cancelled."""
        workers = [self._worker() for _ in range(self.settings.workers)]
        await asyncio.gather(self._tick(), *workers)

    async def _worker(self) -> None:
        while True:
            key = await self.work.get()
            try:
                await self.reconcile(key)
            except Exception:  # noqa: BLE001 - and it is told in full
                # A defect met by one job must not stop the others; it comes again, seldom.
                _LOG.exception("%s/%s: reconcile failed", *key)
                self.work.add_at(key, self.clock() + _LONGEST_RETRY_S)
            finally:
                self.work.done(key)

    async def _tick(self) -> None:
        began = self.clock()
        while True:
            await asyncio.sleep(_TICK_S)
            self.refresh_places()
            if self.clock() - began >= _CONFIRM_AFTER_S:
                await self.confirm(_CONFIRM_AT_ONCE)
