"""What requests share: built once in create_app, found by every endpoint through one dependency."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.store import Housekeeping, Store, Uploads

from recon3d_api.auth.keys import KeyRing
from recon3d_api.auth.limits import AtOnce, Rate
from recon3d_api.auth.oidc import Oidc
from recon3d_api.auth.principal import ANYBODY, Principal
from recon3d_api.cluster.cache import CachedJob, JobCache
from recon3d_api.cluster.port import Cluster, ClusterError
from recon3d_api.metrics import Metrics
from recon3d_api.names import NAME
from recon3d_api.results.places import Places
from recon3d_api.settings import Settings


@dataclass
class Capacity:
    """What the operator told last of the accelerators."""

    told: dict[str, str] | None = None
    at: float = float("-inf")
    """When it was asked for (monotonic)."""


@dataclass(frozen=True)
class Services:
    """One application's parts."""

    settings: Settings
    cluster: Cluster
    cache: JobCache
    store: Store
    places: Places
    uploads: Uploads
    housekeeping: Housekeeping
    keys: KeyRing | None
    oidc: Oidc | None
    rate: Rate
    uploading: AtOnce
    answering: set[str]
    """Idempotency-Keys (their digests) that are being answered here now."""
    threads: ThreadPoolExecutor
    """For files: the store's calls block."""
    metrics: Metrics
    capacity: Capacity

    async def job_for(self, principal: Principal, name: str) -> CachedJob:
        """Return a job that the principal sees; for all others, there is none. Raises JOB_NOT_FOUND."""
        if not NAME.fullmatch(name):
            raise Recon3dError(Code.JOB_NOT_FOUND)
        try:
            job = await self.cache.get(name)
        except ClusterError as error:
            raise error.told() from None
        if not principal.sees(job):
            raise Recon3dError(Code.JOB_NOT_FOUND)
        return job


async def services_of(request: Request) -> Services:
    """Return the application's services. Asynchronous, since FastAPI sends all others through a thread."""
    services: Services = request.app.state.services
    return services


Shared = Annotated[Services, Depends(services_of)]


async def principal_of(request: Request) -> Principal:
    """Return who asks. Raises UNAUTHENTICATED, RATE_LIMITED."""
    services: Services = request.app.state.services
    principal = ANYBODY if services.settings.auth == "none" else await _known(request, services)
    services.rate.take(principal.name)
    return principal


Who = Annotated[Principal, Depends(principal_of)]


async def _known(request: Request, services: Services) -> Principal:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
    if not token:
        raise Recon3dError(Code.UNAUTHENTICATED)
    found = services.keys.principal(token) if services.keys is not None else None
    if found is None and services.oidc is not None and token.count(".") == 2:
        found = await services.oidc.principal(token)
    if found is None:
        raise Recon3dError(Code.UNAUTHENTICATED, "The key or token is not accepted.")
    return found
