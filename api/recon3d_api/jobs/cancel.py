"""Cancelling takes two steps, as in the ReconstructionJob: a request that lapses after an hour, then its confirmation.

The word that ties them together stays in the cluster; who confirms here confirms the request that stands.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
import time
from typing import Any, Final

from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.phases import Phase
from recon3d_contract.resource import CANCEL_WINDOW_S

from recon3d_api.cluster.cache import CachedJob
from recon3d_api.cluster.port import ClusterError
from recon3d_api.services import Services

_TRIES: Final = 5
_WAIT_S: Final = 8.0


async def request_cancel(services: Services, job: CachedJob) -> tuple[CachedJob, str]:
    """Ask for the cancellation; return the job and when the request lapses. A request that stands is kept."""
    for _ in range(_TRIES):
        _not_over(job)
        token, expires = _standing(job)
        if token is not None:
            return job, expires
        word = secrets.token_hex(8)
        try:
            return await _patch(services, job, {"request": word, "confirm": None}), _lapses(time.time())
        except ClusterError as error:
            job = await _again(services, job, error)
    raise Recon3dError(Code.CLUSTER_UNAVAILABLE)


async def confirm_cancel(services: Services, job: CachedJob) -> CachedJob:
    """Confirm the request that stands; return the job once it is cancelled, or as it is after some seconds.

    Raises CANCEL_NOT_REQUESTED, JOB_ALREADY_FINISHED.
    """
    for _ in range(_TRIES):
        _not_over(job)
        token, _ = _standing(job)
        if token is None:
            raise Recon3dError(Code.CANCEL_NOT_REQUESTED, _why_not(job))
        if (job.spec.get("cancel") or {}).get("confirm") == token:
            break
        try:
            job = await _patch(services, job, {"request": token, "confirm": token})
            break
        except ClusterError as error:
            job = await _again(services, job, error)
    job = await wait_until_over(services, job, _WAIT_S)
    if job.over and job.phase is not Phase.CANCELLED:
        _not_over(job)
    return job


async def wait_until_over(services: Services, job: CachedJob, seconds: float) -> CachedJob:
    """Return the job when it is over, or as it is after `seconds`."""
    end = time.monotonic() + seconds
    while not job.over and (left := end - time.monotonic()) > 0:
        change = services.cache.change_of(job.name)
        newer = services.cache.peek(job.name)
        if newer is not None and newer.version == job.version:
            await asyncio.wait({change}, timeout=left)
            newer = services.cache.peek(job.name)
        if newer is None:
            return job
        job = newer
    return job


def _standing(job: CachedJob) -> tuple[str | None, str]:
    """Return the word of a request that has not lapsed, and when it does."""
    token = (job.spec.get("cancel") or {}).get("request")
    record = job.status.get("cancellation") or {}
    if token is None:
        return None, ""
    if record.get("token") != token:
        return token, _lapses(time.time())  # the operator has not seen it yet
    expired = record["state"] == "Expired" or dt.datetime.fromisoformat(record["expiresAt"]).timestamp() < time.time()
    return (None if expired else token), str(record["expiresAt"])


def _why_not(job: CachedJob) -> str:
    asked = (job.spec.get("cancel") or {}).get("request")
    return "The request to cancel has lapsed; request it again." if asked else "No cancellation was requested."


def _not_over(job: CachedJob) -> None:
    if job.over:
        text = f"The job is {job.rendered.status} already."
        raise Recon3dError(Code.JOB_ALREADY_FINISHED, text, {"status": job.rendered.status})


def _lapses(now: float) -> str:
    return dt.datetime.fromtimestamp(now + CANCEL_WINDOW_S, dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


async def _patch(services: Services, job: CachedJob, cancel: dict[str, Any]) -> CachedJob:
    version = str(job.obj["metadata"]["resourceVersion"])
    patch = {"metadata": {"resourceVersion": version}, "spec": {"cancel": cancel}}
    return services.cache.put(await services.cluster.patch_job(job.name, patch))


async def _again(services: Services, job: CachedJob, error: ClusterError) -> CachedJob:
    """Return the job as it is now, after a refusal that says that it has changed."""
    if not error.conflict:
        raise error.told()
    try:
        return services.cache.put(await services.cluster.get_job(job.name))
    except ClusterError as newer:
        raise newer.told() from None
