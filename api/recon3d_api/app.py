"""create_app: the parts of the service put together, around a cluster that the caller opens and closes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from recon3d_contract.store import open_housekeeping, open_store, open_uploads
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from recon3d_api import docs_page, openapi, problems
from recon3d_api.auth.keys import KeyRing
from recon3d_api.auth.limits import AtOnce, Rate
from recon3d_api.auth.oidc import Oidc
from recon3d_api.batches import endpoints as batches
from recon3d_api.cluster.cache import JobCache
from recon3d_api.cluster.port import Cluster
from recon3d_api.health import endpoints as health
from recon3d_api.inputs import endpoints as inputs
from recon3d_api.jobs import endpoints as jobs
from recon3d_api.metrics import Metrics
from recon3d_api.middleware import Around
from recon3d_api.results import endpoints as results
from recon3d_api.results.places import Places
from recon3d_api.services import Capacity, Services
from recon3d_api.settings import Settings

_THREADS: Final = 8
_EXPOSED: Final = (
    "ETag", "Location", "Retry-After", "Content-Range", "Accept-Ranges", "Content-Disposition", "X-Request-Id",
    "Idempotency-Replayed", "Preference-Applied",
)  # fmt: skip


def create_app(settings: Settings, cluster: Cluster) -> FastAPI:
    """Return the application. Raises Recon3dError, KeysError, OSError where the store or the keys cannot be used."""
    services = _services(settings, cluster)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(services.cache.run())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            services.threads.shutdown(wait=False, cancel_futures=True)

    app = FastAPI(title="recon3d", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.services = services
    app.router.routes += [Route(f"{prefix}/jobs/{{job_id}}", jobs.read_job, methods=["GET"]) for prefix in ("", "/v1")]
    routers = (jobs.router, results.router, inputs.router, batches.router, health.router)
    for router in routers:
        app.include_router(router, include_in_schema=False)  # the same as under /v1, where older clients are
    for router in routers:
        app.include_router(router, prefix="/v1")
    _describe(app)
    problems.install(app)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=["Authorization", "X-API-Key", "Idempotency-Key", "If-None-Match", "Prefer", "Range"],
            expose_headers=list(_EXPOSED),
        )
    app.add_middleware(Around, metrics=services.metrics)
    return app


def _services(settings: Settings, cluster: Cluster) -> Services:
    store = open_store(settings.store)
    return Services(
        settings=settings,
        cluster=cluster,
        cache=JobCache(cluster),
        store=store,
        places=Places(store, settings.output_refs),
        uploads=open_uploads(settings.store, Path(settings.scratch)),
        housekeeping=open_housekeeping(settings.store),
        keys=KeyRing(Path(settings.keys_file)) if settings.keys_file else None,
        oidc=Oidc(settings) if settings.oidc_issuer else None,
        rate=Rate(settings.rate_per_s, settings.rate_burst),
        uploading=AtOnce(settings.uploads_at_once, "uploads"),
        answering=set(),
        threads=ThreadPoolExecutor(_THREADS, "files"),
        metrics=Metrics(),
        capacity=Capacity(),
    )


def _describe(app: FastAPI) -> None:
    """Serve the OpenAPI document and a page made of it, both without anything from elsewhere."""
    made: dict[str, Any] = {}

    def document() -> dict[str, Any]:
        if not made:
            made.update(openapi.document(app))
        return made

    app.openapi = document  # type: ignore[method-assign]
    docs_page.serve(app, document)
