"""GET /health and its two probes, /metrics."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Final, Literal

import anyio
from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import Field
from recon3d_contract.errors import Code, Recon3dError
from starlette.responses import Response

from recon3d_api.cluster.port import ClusterError
from recon3d_api.openapi import answers
from recon3d_api.services import Services, Shared
from recon3d_api.views import STATUS_OF, Status, View

router = APIRouter(tags=["health"])
_SILENT_S: Final = 90.0
"""The watch's bookmarks come every minute; after this, the cluster counts as away."""
_CAPACITY_S: Final = 10.0
_PROBE: Final = "probe"


class GpuView(View):
    """What the operator tells of the accelerators; null is unknown."""

    capacity: int | None = None
    in_use: int | None = None
    memory_gib: float | None = None
    told: dict[str, str] = Field(default_factory=dict, description="All that the operator tells.")


class HealthView(View):
    """How the service is."""

    status: Literal["ok", "degraded"]
    live: bool = True
    ready: bool
    cluster_reachable: bool
    cluster_heard_seconds_ago: float | None = None
    storage_reachable: bool
    jobs: dict[Status, int]
    queue_depth: int
    gpu: GpuView | None = Field(None, description="null: the operator has told nothing.")


class LiveView(View):
    """The process answers."""

    live: bool = True


@router.get("/health", responses=answers(always=()), summary="Health, queue and accelerators")
async def health(services: Shared) -> HealthView:
    """Answers 200 as long as the process lives; `ready` and `status` say the rest."""
    cache = services.cache
    ago = time.monotonic() - cache.heard_at if cache.heard_at else None
    reachable = cache.synced.is_set() and ago is not None and ago < _SILENT_S
    jobs: Counter[Status] = Counter(STATUS_OF[job.phase] for job in cache.newest())
    stored = await _storage(services)
    capacity = await _capacity(services)
    told = dict(capacity or {})
    queue = _number(told, "queueDepth", "queue_depth", "queued")
    return HealthView(
        status="ok" if reachable and stored else "degraded",
        ready=cache.synced.is_set(),
        cluster_reachable=reachable,
        cluster_heard_seconds_ago=None if ago is None else round(ago, 1),
        storage_reachable=stored,
        jobs={status: jobs[status] for status in STATUS_OF.values()},
        queue_depth=jobs["queued"] if queue is None else int(queue),
        gpu=None if capacity is None else _gpu(told),
    )


@router.get("/health/live", responses=answers(always=()), summary="The process answers")
async def live() -> LiveView:
    """For a liveness probe."""
    return LiveView()


@router.get("/health/ready", responses=answers(Code.CLUSTER_UNAVAILABLE, always=()), summary="Requests can be answered")
async def ready(services: Shared) -> LiveView:
    """For a readiness probe: all jobs have been listed once."""
    if not services.cache.synced.is_set():
        raise Recon3dError(Code.CLUSTER_UNAVAILABLE, "The jobs have not been listed yet.")
    return LiveView()


@router.get("/metrics", include_in_schema=False)
async def metrics(services: Shared) -> Response:
    """For Prometheus."""
    services.metrics.jobs.set(len(services.cache))
    return Response(generate_latest(services.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _storage(services: Services) -> bool:
    try:
        with anyio.fail_after(2):
            await asyncio.get_running_loop().run_in_executor(services.threads, services.store.published, _PROBE)
    except (Recon3dError, TimeoutError):
        return False
    return True


async def _capacity(services: Services) -> dict[str, str] | None:
    """Return the operator's ConfigMap, asked for at most every ten seconds."""
    memory = services.capacity
    if time.monotonic() - memory.at > _CAPACITY_S:
        memory.at = time.monotonic()
        try:
            found = await services.cluster.capacity()
            memory.told = None if found is None else dict(found)
        except ClusterError:
            pass  # what was told last stands
    return memory.told


def _gpu(told: dict[str, str]) -> GpuView:
    capacity, used = _number(told, "capacity", "gpus"), _number(told, "inUse", "in_use", "used")
    return GpuView(
        capacity=None if capacity is None else int(capacity),
        in_use=None if used is None else int(used),
        memory_gib=_number(told, "memoryGiB", "memory_gib", "memory"),
        told=told,
    )


def _number(told: dict[str, str], *names: str) -> float | None:
    for name in names:
        try:
            return float(told[name])
        except (KeyError, ValueError):
            continue
    return None
