"""GET /jobs/{id}/download, /jobs/{id}/files and /jobs/{id}/files/{path}."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import Field
from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.layout import media_type
from recon3d_contract.store import Store, StoredFile
from starlette.responses import Response

from recon3d_api.cluster.cache import CachedJob
from recon3d_api.openapi import JOB_ID, answers
from recon3d_api.results.places import reading
from recon3d_api.results.sending import Read, matches, send
from recon3d_api.results.zipped import Archive, Checksums, Member, pieces
from recon3d_api.services import Services, Shared, Who
from recon3d_api.views import View

router = APIRouter(tags=["results"])
_checksums: Final = Checksums()
_ERRORS: Final = (Code.JOB_NOT_FOUND, Code.JOB_NOT_READY, Code.NOT_FOUND, Code.STORAGE_UNAVAILABLE)
# A report has its own script; as a document of its own origin it can do nothing here.
_SAFE: Final = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox allow-scripts"}


class FileView(View):
    """A file of the result."""

    path: str
    bytes: int
    media_type: str
    link: str = Field(description="Its address on this server.")
    url: str | None = Field(None, description="A signed address at the store, where the installation hands them out.")
    url_expires_at: str | None = None


class FilesView(View):
    """All files of the result."""

    id: str
    attempt: int
    files: list[FileView]


@router.head("/jobs/{job_id}/download", include_in_schema=False)
@router.get(
    "/jobs/{job_id}/download",
    response_class=Response,
    responses=answers(*_ERRORS, Code.RANGE_NOT_SATISFIABLE, media={"application/zip": b"PK"}, partial=True),
    summary="The whole result as one ZIP",
)
async def download(job_id: JOB_ID, request: Request, services: Shared, who: Who) -> Response:
    """Files are stored, not compressed; the length is known, ranges can be asked for, and the ETag is strong."""
    job = await services.job_for(who, job_id)
    store, attempt, files = await _result(services, job)
    archive = await _in_thread(services, _archive, store, job, attempt, files)
    headers = {
        "Content-Type": "application/zip",
        "Content-Disposition": f'attachment; filename="{job.name}.zip"',
        "Cache-Control": "private, no-cache",
    }
    read: Read = partial(archive.read, open_file=partial(store.open, job.uid, attempt))
    return send(request, services, read, archive.bytes, archive.etag, headers)


@router.get("/jobs/{job_id}/files", responses=answers(*_ERRORS), summary="The files of the result")
async def list_files(job_id: JOB_ID, services: Shared, who: Who) -> FilesView:
    """Each with its size, media type and address."""
    job = await services.job_for(who, job_id)
    store, attempt, files = await _result(services, job)
    shown = await _in_thread(services, lambda: [_file_view(services, store, job, attempt, file) for file in files])
    return FilesView(id=job.name, attempt=attempt, files=shown)


@router.head("/jobs/{job_id}/files/{path:path}", include_in_schema=False)
@router.get(
    "/jobs/{job_id}/files/{path:path}",
    response_class=Response,
    responses=answers(
        *_ERRORS, Code.RANGE_NOT_SATISFIABLE, media={"model/gltf-binary": b"glTF", "*/*": b""}, partial=True
    ),
    summary="One file of the result",
)
async def one_file(job_id: JOB_ID, path: str, request: Request, services: Shared, who: Who) -> Response:
    """With its own media type, so that a browser shows it."""
    job = await services.job_for(who, job_id)
    store, attempt, files = await _result(services, job)
    found = next((file for file in files if file.path == path), None)
    if found is None:
        raise Recon3dError(Code.NOT_FOUND, "The result has no such file.", {"file": path[:200]})
    etag = '"' + hashlib.sha256(f"{job.uid} {attempt} {path} {found.bytes}".encode()).hexdigest()[:24] + '"'
    headers = {"Content-Type": media_type(path), "Cache-Control": "private, no-cache", **_SAFE}
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers={"ETag": etag})

    def read(start: int, stop: int) -> Any:
        with store.open(job.uid, attempt, path) as file:
            yield from pieces(file, start, stop)

    return send(request, services, read, found.bytes, etag, headers)


async def _result(services: Services, job: CachedJob) -> tuple[Store, int, list[StoredFile]]:
    """Return where the job's result is, its attempt, and its files. Raises JOB_NOT_READY, NOT_FOUND."""
    if not job.over:
        details: dict[str, object] = {"status": job.rendered.status}
        raise Recon3dError(Code.JOB_NOT_READY, f"The job is {job.rendered.status}.", details)

    def look() -> tuple[Store, int, list[StoredFile]]:
        with reading(job.spec):
            store = services.places.of(job.spec)
            published = store.published(job.uid)
            if published is None:
                text = f"The job is {job.rendered.status} and has no result."
                raise Recon3dError(Code.NOT_FOUND, text, {"status": job.rendered.status}, "See the job's error.")
            return store, published, store.files(job.uid, published)

    found: tuple[Store, int, list[StoredFile]] = await _in_thread(services, look)
    return found


def _archive(store: Store, job: CachedJob, attempt: int, files: list[StoredFile]) -> Archive:
    open_file = partial(store.open, job.uid, attempt)
    members = [Member(file.path, file.bytes, _checksums.of(job.uid, attempt, file.path, open_file)) for file in files]
    return Archive(members, job.name)


def _file_view(services: Services, store: Store, job: CachedJob, attempt: int, file: StoredFile) -> FileView:
    seconds = services.settings.signed_url_s
    url = store.signed_url(job.uid, attempt, file.path, seconds) if seconds else None
    until = dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=seconds) if url else None
    return FileView(
        path=file.path,
        bytes=file.bytes,
        media_type=media_type(file.path),
        link=f"/v1/jobs/{job.name}/files/{file.path}",
        url=url,
        url_expires_at=until.strftime("%Y-%m-%dT%H:%M:%SZ") if until else None,
    )


async def _in_thread(services: Services, work: Any, *arguments: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(services.threads, partial(work, *arguments))
