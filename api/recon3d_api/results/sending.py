"""Sending stored bytes: whole or one range, with an ETag, in constant memory. The store's calls run in threads."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Final

from fastapi import Request
from recon3d_contract.errors import Code, Recon3dError
from starlette.responses import Response, StreamingResponse

from recon3d_api.services import Services

_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")

Read = Callable[[int, int], Iterator[bytes]]
"""(start, stop) -> the bytes between, blocking."""


def send(
    request: Request, services: Services, read: Read, size: int, etag: str, headers: Mapping[str, str]
) -> Response:
    """Answer GET or HEAD with what `read` gives. Raises RANGE_NOT_SATISFIABLE."""
    common = {**headers, "ETag": etag, "Accept-Ranges": "bytes"}
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=common)
    found = _range(request, size, etag)
    start, stop = found or (0, size)
    common["Content-Length"] = str(stop - start)
    status = 200
    if found is not None:
        status = 206
        common["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    if request.method == "HEAD":
        return Response(status_code=status, headers=common)
    media_type = common.pop("Content-Type", None)
    return StreamingResponse(_stream(services, read(start, stop)), status, common, media_type)


def matches(header: str | None, etag: str) -> bool:
    """Whether If-None-Match names the ETag."""
    if header is None:
        return False
    words = [word.strip().removeprefix("W/") for word in header.split(",")]
    return "*" in words or etag in words


def _range(request: Request, size: int, etag: str) -> tuple[int, int] | None:
    """Return the one range that is asked for, as (start, stop); several at once are answered with everything."""
    found = _RANGE.fullmatch(request.headers.get("range", "").strip())
    condition = request.headers.get("if-range")
    if found is None or found.groups() == ("", "") or (condition is not None and condition.strip() != etag):
        return None
    first, last = found.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= stop:
        raise Recon3dError(Code.RANGE_NOT_SATISFIABLE, details={"bytes": size})
    return start, stop


async def _stream(services: Services, source: Iterator[bytes]) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    coming = loop.run_in_executor(services.threads, next, source, None)
    try:
        while (data := await coming) is not None:
            # The next piece is read while this one is sent; there are never more than two.
            coming = loop.run_in_executor(services.threads, next, source, None)
            yield data
    finally:
        await asyncio.gather(coming, return_exceptions=True)
        services.threads.submit(_close, source)


def _close(source: Iterator[bytes]) -> None:
    close = getattr(source, "close", None)
    if close is not None:
        close()
