"""The sweep: removes from the store what no job needs any more. A CronJob runs it; stopping it anywhere does no harm.

First the store is listed, then the jobs: what a job uses was there before the job, so nothing young is taken for lost.

At a job's own place (output.ref) only the attempts of that very job are touched, and never the published one: the place
is its owner's, and a result that was sent there stays when the job goes.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from recon3d_contract.errors import Recon3dError
from recon3d_contract.phases import TERMINAL
from recon3d_contract.store import Housekeeping, Store, below, open_housekeeping, open_store

from recon3d_api.cluster.port import Cluster, Object
from recon3d_api.results.places import elsewhere
from recon3d_api.settings import Settings

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Swept:
    """How much went."""

    jobs: int = 0
    uploads: int = 0
    attempts: int = 0
    unfinished: int = 0


async def sweep(
    clusters: Sequence[Cluster], store: Store, housekeeping: Housekeeping, settings: Settings, now: dt.datetime
) -> Swept:
    """Sweep once. `clusters` are all namespaces whose jobs use the store; if one cannot be listed, nothing goes.

    Raises ClusterError, STORAGE_UNAVAILABLE.
    """
    jobs_kept, uploads_kept = housekeeping.jobs(), housekeeping.uploads()
    jobs: list[Object] = []
    for cluster in clusters:
        jobs += (await cluster.list_jobs())[0]
    uids = {str(job["metadata"]["uid"]) for job in jobs}
    named = {str(job["spec"]["input"].get("upload")) for job in jobs}
    lost = [kept for kept in jobs_kept if kept.name not in uids and kept.age_s >= settings.sweep_job_age_s]
    for kept in lost:
        housekeeping.remove_job(kept.name)
    uploads = 0
    for kept in uploads_kept:
        if kept.name not in named and kept.age_s >= settings.sweep_upload_age_s:
            uploads += housekeeping.remove_upload(kept.name, settings.sweep_upload_age_s)
    present = {kept.name for kept in jobs_kept}
    ended = [job for job in jobs if _ended_before(job, now, settings.sweep_job_age_s)]
    uids_ended = [str(job["metadata"]["uid"]) for job in ended]
    attempts = sum(_sweep_attempts(store, housekeeping, uid) for uid in uids_ended if uid in present)
    attempts += sum(_sweep_elsewhere(job, settings) for job in ended)
    unfinished = housekeeping.remove_unfinished(settings.sweep_upload_age_s)
    swept = Swept(len(lost), uploads, attempts, unfinished)
    _LOG.info("swept: %s", swept)
    return swept


def _sweep_attempts(store: Store, housekeeping: Housekeeping, uid: str) -> int:
    """Remove the attempts of a finished job that were never published."""
    published = store.published(uid)
    unwanted = [attempt for attempt in store.attempts(uid) if attempt != published]
    for attempt in unwanted:
        housekeeping.remove_attempt(uid, attempt)
    return len(unwanted)


def _sweep_elsewhere(job: Object, settings: Settings) -> int:
    """Do the same at the job's own place; one that cannot be reached does not keep the sweep from the others."""
    ref = elsewhere(job["spec"])
    if ref is None or not below(ref, settings.output_refs):
        return 0
    try:
        uid, keeping = str(job["metadata"]["uid"]), open_housekeeping(ref)
        unfinished = keeping.remove_unfinished(settings.sweep_job_age_s, uid)
        return unfinished + _sweep_attempts(open_store(ref), keeping, uid)
    except Recon3dError as error:
        _LOG.warning("%s is not swept: %s", ref, error.message)
        return 0


def _ended_before(job: Object, now: dt.datetime, seconds: float) -> bool:
    status = job.get("status") or {}
    finished = status.get("finishedAt")
    if status.get("phase") not in {phase.value for phase in TERMINAL} or not finished:
        return False
    return (now - dt.datetime.fromisoformat(finished)).total_seconds() >= seconds
