"""`Prefer: wait=N` (RFC 7240): an answer that comes when there is something to tell."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Final

from recon3d_api.cluster.cache import CachedJob
from recon3d_api.jobs.cancel import wait_until_over
from recon3d_api.results.sending import matches
from recon3d_api.services import Services

MAX_WAIT_S: Final = 60
_WAIT: Final = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])")


def wished(prefer: str | None) -> int:
    """Return the seconds that a Prefer header asks to wait, at most MAX_WAIT_S; 0 is none."""
    found = _WAIT.search(prefer or "")
    return min(int(found[1]), MAX_WAIT_S) if found else 0


async def wait_for(services: Services, job: CachedJob, known: str | None, seconds: int) -> CachedJob:
    """Return the job when it is over; where the client knows an ETag, when it has another one."""
    if known is None:
        return await wait_until_over(services, job, seconds)
    end = time.monotonic() + seconds
    while matches(known, job.rendered.etag) and (left := end - time.monotonic()) > 0:
        change = services.cache.change_of(job.name)
        newer = services.cache.peek(job.name)
        if newer is None:
            break
        if newer.version == job.version:
            await asyncio.wait({change}, timeout=left)
            newer = services.cache.peek(job.name) or job
        job = newer
    return job
