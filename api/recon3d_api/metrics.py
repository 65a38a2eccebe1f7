"""Prometheus metrics. No job's or principal's name is a label: their number has no bound."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 120, 600)


class Metrics:
    """All metrics of one application, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "recon3d_api_requests", "Requests answered", ("method", "route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "recon3d_api_request_seconds",
            "From the request's head to the answer's end",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.received = Counter("recon3d_api_upload_bytes", "Bytes of requests with files", registry=self.registry)
        self.submitted = Counter("recon3d_api_jobs_submitted", "Jobs created", ("engine",), registry=self.registry)
        self.listeners = Gauge("recon3d_api_event_listeners", "Open streams of events", registry=self.registry)
        self.jobs = Gauge("recon3d_api_jobs_known", "Jobs in the watch cache", registry=self.registry)
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; finding the labels' children costs more than counting, so they are kept."""
        key = (method, route, status)
        children = self._children.get(key)
        if children is None:
            children = self.requests.labels(method, route, status), self.seconds.labels(route)
            self._children[key] = children
        children[0].inc()
        children[1].observe(seconds)
