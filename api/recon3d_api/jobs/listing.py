"""Lists of jobs, newest first, in pages. A cursor is the place of the last job told, so that new jobs shift nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from recon3d_api.auth.principal import Principal
from recon3d_api.cluster.cache import JobCache, Order
from recon3d_api.names import BATCH
from recon3d_api.views import STATUS_OF

MAX_PAGE: Final = 500
CURSOR: Final = r"^[0-9]{14}\.[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$"
"""Creation time and name of the last job told; any place in the order is one, whether or not a job is there."""


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
    created, name = order
    return "".join(letter for letter in created if letter.isdigit()) + f".{name}"


def _place(cursor: str) -> Order:
    digits, _, name = cursor.partition(".")
    year, month, day, hour, minute, second = digits[:4], *(digits[at : at + 2] for at in range(4, 14, 2))
    return f"{year}-{month}-{day}T{hour}:{minute}:{second}Z", name
