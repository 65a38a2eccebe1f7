"""Lists of jobs, newest first, in pages. A cursor is the place of the last job told, so that new jobs shift nothing."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Final

from recon3d_contract.errors import Code, Recon3dError

from recon3d_api.auth.principal import Principal
from recon3d_api.cluster.cache import JobCache, Order
from recon3d_api.names import BATCH
from recon3d_api.views import STATUS_OF

MAX_PAGE: Final = 500


@dataclass(frozen=True)
class Filter:
    """Which jobs are asked for; None is all."""

    status: str | None = None
    engine: str | None = None
    verdict: str | None = None
    batch: str | None = None
    created_after: str | None = None
    created_before: str | None = None


def page(cache: JobCache, principal: Principal, wanted: Filter, limit: int, cursor: str | None) -> bytes:
    """Return the JSON of one page: {jobs, next_cursor}."""
    bodies: list[bytes] = []
    last: Order | None = None
    more = False
    for job in cache.newest(None if cursor is None else _place(cursor)):
        if wanted.created_after is not None and job.order[0] < wanted.created_after:
            break
        if not principal.sees(job) or (wanted.engine is not None and job.obj["spec"].get("engine") != wanted.engine):
            continue
        if wanted.created_before is not None and job.order[0] >= wanted.created_before:
            continue
        if wanted.status is not None and STATUS_OF[job.phase] != wanted.status:
            continue
        if wanted.verdict is not None:
            summary = (job.obj.get("status") or {}).get("summary") or {}
            if summary.get("verdict") != wanted.verdict:
                continue
        if wanted.batch is not None and (job.obj["metadata"].get("labels") or {}).get(BATCH) != wanted.batch:
            continue
        if len(bodies) == limit:
            more = True
            break
        bodies.append(job.rendered.body)
        last = job.order
    following = json.dumps(_cursor(last) if more and last is not None else None).encode()
    return b'{"jobs":[' + b",".join(bodies) + b'],"next_cursor":' + following + b"}"


def _cursor(order: Order) -> str:
    return base64.urlsafe_b64encode(" ".join(order).encode()).decode().rstrip("=")


def _place(cursor: str) -> Order:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        created, name = text.split(" ")
    except (ValueError, binascii.Error):
        problems = [{"path": "cursor", "problem": "is not one that this service has given"}]
        raise Recon3dError(
            Code.INVALID_REQUEST, "cursor: is not one that this service has given", {"problems": problems}
        ) from None
    return created, name
