"""Carries a Decision out: deletions, one status write, then events about what is written, and the job's own removal."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from typing import Any, Final

from recon3d_contract.resource import GROUP, KIND, VERSION

from recon3d_operator.cluster.port import Cluster
from recon3d_operator.cluster.refusals import ApiError
from recon3d_operator.model import Decision, Event, Object, is_over, key_of
from recon3d_operator.observe import Index
from recon3d_operator.times import stamp

_LOG: Final = logging.getLogger(__name__)


async def apply(cluster: Cluster, index: Index, job: Object, decision: Decision, now: float) -> None:
    """Do what `decision` says of `job` (all but creating a Pod). Raises ApiError; what was done is done."""
    namespace, name = key_of(job)
    for pod in decision.delete:
        meta = pod["metadata"]
        await cluster.delete_pod(namespace, meta["name"], meta["uid"], decision.grace_s)
    if not is_over(job) and decision.status != (job.get("status") or {}):
        written = await cluster.write_status(job, dict(decision.status))
        index.put_job(written)
        for event in decision.events:
            await _record(cluster, job, event, now)
    if decision.remove_job:
        await cluster.delete_job(namespace, name, job["metadata"]["uid"])


def event_of(about: Mapping[str, Any], event: Event, now: float) -> Object:
    """Return the core/v1 Event about an object, a job unless it says what it is."""
    meta = about["metadata"]
    digest = hashlib.sha256(f"{meta['uid']} {event.reason} {now}".encode()).hexdigest()[:16]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{meta['name'][:200]}.{digest}", "namespace": meta["namespace"]},
        "involvedObject": {
            "apiVersion": about.get("apiVersion", f"{GROUP}/{VERSION}"),
            "kind": about.get("kind", KIND),
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
        },
        "type": event.kind,
        "reason": event.reason,
        "message": event.message[:1024],
        "firstTimestamp": stamp(now),
        "lastTimestamp": stamp(now),
        "count": 1,
        "source": {"component": "recon3d-operator"},
    }


async def _record(cluster: Cluster, job: Mapping[str, Any], event: Event, now: float) -> None:
    """Record an event; one that cannot be recorded is no loss, the status says the same."""
    try:
        await cluster.create_event(job["metadata"]["namespace"], event_of(job, event, now))
    except ApiError as error:
        _LOG.warning("an event could not be recorded: %s", error)
