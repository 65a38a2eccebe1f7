"""A job's changes as server-sent events. Each tells the whole state, so that missing one loses nothing.

The id of an event is the state's ETag: who comes back with Last-Event-ID is told at once only if something has changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from starlette.responses import StreamingResponse

from recon3d_api.cluster.cache import CachedJob
from recon3d_api.services import Services

HEARTBEAT_S: Final = 15.0
_RETRY_MS: Final = 3000
MEDIA_TYPE: Final = "text/event-stream"


def event_stream(services: Services, job: CachedJob, last_id: str | None) -> StreamingResponse:
    """Return the stream; it ends with the job."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(services, job, last_id), media_type=MEDIA_TYPE, headers=headers)


async def _events(services: Services, job: CachedJob, last_id: str | None) -> AsyncIterator[bytes]:
    cache, name = services.cache, job.name
    services.metrics.listeners.inc()
    try:
        yield f"retry: {_RETRY_MS}\n\n".encode()
        told = last_id
        while True:
            change = cache.change_of(name)
            now = cache.peek(name)
            if now is None or now.uid != job.uid:
                yield b"event: deleted\ndata: {}\n\n"
                return
            if (event := _id(now)) != told:
                told = event
                yield b"id: %s\nevent: status\ndata: %s\n\n" % (event.encode(), now.rendered.body)
            if now.over:
                yield b"event: end\ndata: {}\n\n"
                return
            while not change.done():
                done, _ = await asyncio.wait({change}, timeout=HEARTBEAT_S)
                if not done:
                    yield b": still here\n\n"
    finally:
        services.metrics.listeners.dec()


def _id(job: CachedJob) -> str:
    return job.rendered.etag.strip('"')
