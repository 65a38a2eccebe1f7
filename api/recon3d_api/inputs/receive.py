"""A request's body into the store: constant memory, limits on size, pauses and time, and nothing left when it fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio
from fastapi import Request
from python_multipart.multipart import parse_options_header
from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.inputs import TOTAL_LIMIT, InputManifest
from recon3d_contract.job import MAX_JOB_BYTES
from recon3d_contract.store.uploads import upload_id

from recon3d_api.inputs.form import Form
from recon3d_api.services import Services

BODY_LIMIT: Final = TOTAL_LIMIT + 1024 * 1024
"""All files, and what a form has around them."""
_BATCH: Final = 512 * 1024
"""Bytes that go to a thread together: going there costs as much as checking some."""


@dataclass(frozen=True)
class Received:
    """A body that is whole and right. Its files lie beside the store's until `keep` or `drop`."""

    fields: Mapping[str, str] = field(default_factory=dict)
    manifest: InputManifest | None = None
    folder: Path | None = None

    @property
    def upload(self) -> str | None:
        """The id that the files will have, or have."""
        return None if self.manifest is None else upload_id(self.manifest)


def media_type_of(request: Request) -> str:
    """Return the body's media type without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def receive_json(request: Request, services: Services) -> bytes:
    """Return a JSON body, which is small."""
    parts, size = [], 0
    async for data in _body(request, services, MAX_JOB_BYTES, "job"):
        size += len(data)
        parts.append(data)
    return b"".join(parts)


async def receive_form(request: Request, services: Services) -> Received:
    """Read a form, or a ZIP as the whole body. Raises Recon3dError; then nothing is left of it."""
    kind, options = parse_options_header(request.headers.get("content-type"))
    form = Form(options.get(b"boundary") or b"-", services.uploads.begin)
    loop = asyncio.get_running_loop()
    working: asyncio.Future[Any] | None = None
    whole_zip = kind != b"multipart/form-data"
    try:
        if not whole_zip and not options.get(b"boundary"):
            raise Recon3dError(Code.INVALID_REQUEST, "The Content-Type has no boundary.")
        if whole_zip:
            await loop.run_in_executor(services.threads, form.begin_file, "file", "input.zip", "application/zip")
        take = _taking_file(form) if whole_zip else _taking(form)
        async for batch in _batches(request, services):
            # While a thread checks one batch, the next one comes in; there are never more than two.
            if working is not None:
                await working
            working = loop.run_in_executor(services.threads, take, batch)
        if working is not None:
            await working
        if whole_zip:
            form.all_there()
        manifest = await loop.run_in_executor(services.threads, form.finish)
        return Received(form.fields, manifest, form.folder)
    except BaseException:
        if working is not None:
            await asyncio.gather(working, return_exceptions=True)
        form.close()
        if form.folder is not None:
            services.threads.submit(services.uploads.discard, form.folder)
        raise


def _taking(form: Form) -> Any:
    def take(batch: list[bytes]) -> None:
        for data in batch:
            form.feed(data)

    return take


def _taking_file(form: Form) -> Any:
    def take(batch: list[bytes]) -> None:
        for data in batch:
            form.feed_file(data)

    return take


async def keep(services: Services, received: Received) -> str | None:
    """Store the files of a body; return their id."""
    if received.folder is None or received.upload is None:
        return None
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(services.threads, services.uploads.commit, received.folder, received.upload)
    return received.upload


def drop(services: Services, received: Received) -> None:
    """Remove the files of a body that were not kept, soon."""
    if received.folder is not None:
        services.threads.submit(services.uploads.discard, received.folder)


async def _batches(request: Request, services: Services) -> AsyncIterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    async for data in _body(request, services, BODY_LIMIT, "input"):
        services.metrics.received.inc(len(data))
        batch.append(data)
        size += len(data)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


async def _body(request: Request, services: Services, limit: int, what: str) -> AsyncIterator[bytes]:
    """Yield the body. Raises UPLOAD_TOO_LARGE, REQUEST_TIMEOUT, INVALID_REQUEST where it does not end well."""
    settings = services.settings
    too_large = Recon3dError(Code.UPLOAD_TOO_LARGE, f"The {what} is larger than {limit} bytes.", {"limit": limit})
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large
    end = time.monotonic() + settings.body_s
    received = 0
    more = True
    while more:
        try:
            with anyio.fail_after(min(settings.idle_s, max(0.01, end - time.monotonic()))):
                message = await request.receive()
        except TimeoutError:
            raise Recon3dError(Code.REQUEST_TIMEOUT) from None
        if message["type"] != "http.request":
            raise Recon3dError(Code.INVALID_REQUEST, "The connection ended before the body did.")
        data: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        received += len(data)
        if received > limit:
            raise too_large
        if data:
            yield data
    request.scope["recon3d.body_read"] = True
