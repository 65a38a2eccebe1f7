"""Prometheus metrics. No object's name is a label: their number has no bound."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from recon3d_contract.phases import Phase

from recon3d_operator.observe import Index
from recon3d_operator.rules.capacity import Offer
from recon3d_operator.times import parse

_LONG: Final = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 43200, 86400)
_SHORT: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)


class Metrics:
    """All metrics of one operator, in a registry of their own."""

    def __init__(self, index: Callable[[], Index | None]) -> None:
        """Read the gauges from `index()` whenever they are asked for."""
        self.registry = CollectorRegistry()
        self._index = index
        self._wait = Histogram(
            "recon3d_queue_wait_seconds", "From creation to the first start", buckets=_LONG, registry=self.registry
        )
        self._run = Histogram(
            "recon3d_run_seconds", "From the first start to the end", buckets=_LONG, registry=self.registry
        )
        self._ended = Counter(
            "recon3d_jobs_ended", "Jobs that ended", ("phase", "code", "engine"), registry=self.registry
        )
        self._seconds = Counter(
            "recon3d_accelerator_seconds", "Seconds in which a Pod had an accelerator", registry=self.registry
        )
        self.reconcile = Histogram(
            "recon3d_reconcile_seconds", "One look at a job", buckets=_SHORT, registry=self.registry
        )
        self.refusals = Counter(
            "recon3d_api_refusals", "What the API server refused", ("reason",), registry=self.registry
        )
        self._offer: Offer | None = None
        self.registry.register(self)

    def offered(self, found: Offer | None) -> None:
        """Take in what the nodes offer; None is unknown."""
        self._offer = found

    def collect(self) -> Iterable[Metric]:
        """Yield the gauges."""
        index = self._index()
        jobs = GaugeMetricFamily("recon3d_jobs", "Jobs by phase", labels=["phase"])
        queue = GaugeMetricFamily("recon3d_queue_depth", "Jobs that wait for their turn")
        pods = GaugeMetricFamily("recon3d_active_pods", "Runner Pods that have not ended")
        if index is not None:
            phases = Count((job.get("status") or {}).get("phase") or Phase.QUEUED.value for job in index.jobs.values())
            for phase in Phase:
                jobs.add_metric([phase.value], phases.get(phase.value, 0))
            queue.add_metric([], sum(len(each) for each in index.queues.values()))
            pods.add_metric([], index.all_active())
        offered = GaugeMetricFamily("recon3d_accelerators", "Accelerators that ready nodes offer")
        memory = GaugeMetricFamily("recon3d_accelerator_memory_bytes", "Memory of the smallest accelerator, as told")
        if self._offer is not None:
            offered.add_metric([], self._offer.total)
            if self._offer.smallest_mib is not None:
                memory.add_metric([], self._offer.smallest_mib * 2**20)
        yield from (jobs, queue, pods, offered, memory)

    def changed(self, job: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """Count what a new status says that the old one did not."""
        created, started = parse(job["metadata"].get("creationTimestamp")), parse(new.get("startedAt"))
        if started is not None and created is not None and not old.get("startedAt"):
            self._wait.observe(max(0.0, started - created))
        known = {attempt["number"] for attempt in old.get("attempts") or () if attempt.get("finishedAt")}
        for attempt in new.get("attempts") or ():
            begin, end = parse(attempt.get("startedAt")), parse(attempt.get("finishedAt"))
            if begin is not None and end is not None and attempt["number"] not in known:
                self._seconds.inc(max(0.0, end - begin))
        finished = parse(new.get("finishedAt"))
        if finished is not None and not old.get("finishedAt"):
            if started is not None:
                self._run.observe(max(0.0, finished - started))
            code = (new.get("error") or {}).get("code", "")
            self._ended.labels(str(new["phase"]), code, str(job["spec"].get("engine", ""))).inc()
