"""Creating a job. Its name is the lock: with an Idempotency-Key the name follows from it, so that no second one can be.

The same request again finds the job of the first one, whichever replica answers and however often the service was
killed in between; nothing but the ReconstructionJob remembers it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from recon3d_contract.errors import Code, Recon3dError

from recon3d_api.auth.limits import LimitedError
from recon3d_api.auth.principal import Principal
from recon3d_api.cluster.cache import CachedJob
from recon3d_api.cluster.port import ClusterError, Object
from recon3d_api.names import BATCH, FINGERPRINT, KEY, OWNER, REQUEST, id_of, key_digest, random_id
from recon3d_api.services import Services

_TRIES: Final = 5


@dataclass(frozen=True)
class Origin:
    """What a job keeps of the request that made it."""

    request_id: str | None = None
    key: str | None = None
    """The key_digest of its Idempotency-Key."""
    batch: str | None = None


def digest_for(services: Services, principal: Principal, key: str | None) -> str | None:
    """Return the key_digest of a request's Idempotency-Key."""
    return None if key is None else key_digest(services.settings.id_secret, principal.name, key)


@contextmanager
def answering(services: Services, digest: str | None) -> Iterator[None]:
    """Hold the key for the block. Raises REQUEST_IN_PROGRESS if it is held."""
    if digest is None:
        yield
        return
    if digest in services.answering:
        raise Recon3dError(Code.REQUEST_IN_PROGRESS)
    services.answering.add(digest)
    try:
        yield
    finally:
        services.answering.discard(digest)


async def submit(
    services: Services, principal: Principal, spec: Mapping[str, Any], origin: Origin
) -> tuple[CachedJob, bool]:
    """Create the job; return it, and whether it is new. Raises IDEMPOTENCY_KEY_REUSED, QUOTA_EXCEEDED ..."""
    fingerprint = hashlib.sha256(json.dumps(spec, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    if origin.key is None:
        _check_active(services, principal)
    for round_ in range(_TRIES):
        name = random_id() if origin.key is None else id_of(origin.key, round_)
        try:
            stored = await services.cluster.create_job(_job(name, principal, spec, origin, fingerprint))
        except ClusterError as error:
            if not error.exists:
                raise error.told() from None
            if origin.key is None:
                continue
            found = await _earlier(services, name)
            if found is None:
                continue
            if _annotation(found, KEY) != origin.key:
                continue  # another key's id: the next round has another one
            if _annotation(found, FINGERPRINT) != fingerprint:
                raise Recon3dError(Code.IDEMPOTENCY_KEY_REUSED, details={"job": name}) from None
            return found, False
        services.metrics.submitted.labels(spec.get("engine", "nvdiffrec")).inc()
        return services.cache.put(stored), True
    raise Recon3dError(Code.CLUSTER_UNAVAILABLE, "No free id was found.")


async def _earlier(services: Services, name: str) -> CachedJob | None:
    """Return the job that has the name; None if it has just gone."""
    try:
        return services.cache.put(await services.cluster.get_job(name))
    except ClusterError as error:
        if error.status == 404:
            return None
        raise error.told() from None


def _annotation(job: CachedJob, name: str) -> str | None:
    value = (job.obj["metadata"].get("annotations") or {}).get(name)
    return None if value is None else str(value)


def _check_active(services: Services, principal: Principal) -> None:
    limit = services.settings.active_jobs
    if limit and sum(not job.over and job.owner == principal.name for job in services.cache.newest()) >= limit:
        raise LimitedError(f"More than {limit} jobs that have not ended.", 30)


def _job(name: str, principal: Principal, spec: Mapping[str, Any], origin: Origin, fingerprint: str) -> Object:
    annotations = {FINGERPRINT: fingerprint}
    if not principal.everything:
        annotations[OWNER] = principal.name
    if origin.key is not None:
        annotations[KEY] = origin.key
    if origin.request_id is not None:
        annotations[REQUEST] = origin.request_id
    labels = {"app.kubernetes.io/managed-by": "recon3d-api"}
    if origin.batch is not None:
        labels[BATCH] = origin.batch
    return {"metadata": {"name": name, "annotations": annotations, "labels": labels}, "spec": dict(spec)}
