"""The resource /jobs."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Body, Header, Query, Request
from pydantic import Field, StrictBool
from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.phases import Phase
from recon3d_contract.verdict import Verdict
from starlette.responses import Response, StreamingResponse

from recon3d_api.auth.principal import Principal
from recon3d_api.cluster.port import ClusterError
from recon3d_api.inputs.receive import drop, keep, media_type_of, receive_form, receive_json
from recon3d_api.jobs import body_schema
from recon3d_api.jobs.cancel import confirm_cancel, request_cancel
from recon3d_api.jobs.events import MEDIA_TYPE, event_stream
from recon3d_api.jobs.listing import CURSOR, MAX_PAGE, Filter, page
from recon3d_api.jobs.spec import read_object, spec_of, spec_of_form
from recon3d_api.jobs.submit import Origin, answering, digest_for, submit
from recon3d_api.jobs.waiting import wait_for, wished
from recon3d_api.openapi import JOB_ID, answers
from recon3d_api.results.sending import matches
from recon3d_api.services import Services, Shared, Who, principal_of
from recon3d_api.views import JobView, Status, View

router = APIRouter(tags=["jobs"])
_POLL_S: Final = "2"
_TIME: Final = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"
_INPUT_ERRORS: Final = (
    Code.MISSING_VIEW, Code.INVALID_IMAGE, Code.WRONG_RESOLUTION, Code.FILE_TOO_LARGE, Code.UPLOAD_TOO_LARGE,
    Code.INVALID_ARCHIVE, Code.INVALID_INPUT, Code.REQUEST_TIMEOUT, Code.UNSUPPORTED_MEDIA_TYPE, Code.STORAGE_FULL,
    Code.STORAGE_UNAVAILABLE,
)  # fmt: skip

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="Any word of yours. The same request with the same key makes one job, however often it is sent.",
    ),
]


class JobsView(View):
    """A page of jobs, newest first."""

    jobs: list[JobView]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last one.")


class CancelView(View):
    """The state of a cancellation."""

    id: str
    status: Literal["cancel_requested", "cancelled", "cancelling"]
    expires_at: str | None = Field(None, description="The request lapses then, unless it is confirmed.")


class CancelBody(View):
    """The second step, in the body instead of the query."""

    confirm: StrictBool = False


@router.post(
    "/jobs",
    status_code=202,
    response_model=JobView,
    openapi_extra={"requestBody": body_schema.JOB},
    responses=answers(
        *_INPUT_ERRORS, Code.INPUT_NOT_FOUND, Code.INPUT_NOT_ALLOWED, Code.IDEMPOTENCY_KEY_REUSED,
        Code.REQUEST_IN_PROGRESS, Code.QUOTA_EXCEEDED,
    ),
    summary="Submit a job",
)  # fmt: skip
async def create_job(request: Request, services: Shared, who: Who, idempotency_key: IdempotencyKey = None) -> Response:
    """Files and fields as a form, or JSON for an input that is already somewhere."""
    key = digest_for(services, who, idempotency_key)
    with answering(services, key):
        origin = Origin(request.scope.get("recon3d.request_id"), key)
        kind = media_type_of(request)
        if kind == "multipart/form-data":
            with services.uploading.one(who.name):
                received = await receive_form(request, services)
                try:
                    spec = spec_of_form(received.fields, received.upload, services.settings)
                except BaseException:
                    drop(services, received)
                    raise
                await keep(services, received)
        elif kind == "application/json":
            spec = spec_of(read_object(await receive_json(request, services)), None, services.settings)
        else:
            raise Recon3dError(Code.UNSUPPORTED_MEDIA_TYPE, details={"content_type": kind[:100]})
        await check_upload(services, spec)
        job, new = await submit(services, who, spec, origin)
    headers = {"Location": f"/v1/jobs/{job.name}", "Retry-After": _POLL_S}
    if not new:
        headers["Idempotency-Replayed"] = "true"
    return Response(job.rendered.body, 202, headers, "application/json")


async def check_upload(services: Services, spec: dict[str, Any]) -> None:
    """Keep the upload that a job names from being swept. Raises INPUT_NOT_FOUND."""
    upload = spec["input"].get("upload")
    loop = asyncio.get_running_loop()
    if upload is not None and not await loop.run_in_executor(services.threads, services.uploads.renew, upload):
        raise Recon3dError(Code.INPUT_NOT_FOUND, f"There is no upload {upload}.", {"upload": upload})


@router.get("/jobs", response_model=JobsView, responses=answers(), summary="List jobs")
async def list_jobs(
    services: Shared,
    who: Who,
    status: Status | None = None,
    engine: Literal["nvdiffrec", "reconviagen", "both"] | None = None,
    verdict: Verdict | None = None,
    batch: Annotated[str | None, Query(max_length=63)] = None,
    created_after: Annotated[str | None, Query(pattern=_TIME, description="UTC, as 2026-01-31T00:00:00Z.")] = None,
    created_before: Annotated[str | None, Query(pattern=_TIME)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
    cursor: Annotated[str | None, Query(pattern=CURSOR, max_length=80, description="From the page before.")] = None,
) -> Response:
    """Newest first, in pages."""
    wanted = Filter(status, engine, verdict, batch, created_after, created_before)
    return Response(page(services.cache, who, wanted, limit, cursor), media_type="application/json")


@router.get(
    "/jobs/{job_id}",
    response_model=JobView,
    responses={**answers(Code.JOB_NOT_FOUND), 304: {"description": "Unchanged since the ETag in If-None-Match."}},
    summary="A job",
)
async def get_job(
    job_id: JOB_ID,
    request: Request,
    services: Shared,
    who: Who,
    prefer: Annotated[str | None, Header(description="`wait=N`: answer when it changes or ends, or after N s.")] = None,
) -> Response:
    """With an ETag. `Prefer: wait=30` waits for the end, with If-None-Match for any change."""
    return await answer_job(request, services, who, job_id, prefer)


async def read_job(request: Request) -> Response:
    """Answer GET /jobs/{id} without FastAPI's ways, which cost more than all else; create_app puts it before them."""
    services: Services = request.app.state.services
    who = await principal_of(request)
    return await answer_job(request, services, who, request.path_params["job_id"], request.headers.get("prefer"))


async def answer_job(request: Request, services: Services, who: Principal, job_id: str, prefer: str | None) -> Response:
    """Answer GET /jobs/{id}."""
    job = await services.job_for(who, job_id)
    known = request.headers.get("if-none-match")
    seconds = wished(prefer)
    if seconds:
        job = await wait_for(services, job, known, seconds)
    headers = {"ETag": job.rendered.etag, "Cache-Control": "private, no-cache"}
    if seconds:
        headers["Preference-Applied"] = f"wait={seconds}"
    if not job.over:
        headers["Retry-After"] = _POLL_S
    if matches(known, job.rendered.etag):
        return Response(status_code=304, headers=headers)
    return Response(job.rendered.body, 200, headers, "application/json")


@router.delete(
    "/jobs/{job_id}", status_code=204, responses=answers(Code.JOB_NOT_FOUND), summary="Delete a job and its files"
)
async def delete_job(job_id: JOB_ID, services: Shared, who: Who) -> Response:
    """A run that goes on is ended. The files go at once, or with the next sweep."""
    job = await services.job_for(who, job_id)
    try:
        await services.cluster.delete_job(job.name, job.uid)
    except ClusterError as error:
        if error.status != 404 and not error.conflict:
            raise
    services.threads.submit(services.housekeeping.remove_job, job.uid)
    return Response(status_code=204)


@router.post(
    "/jobs/{job_id}/cancel",
    response_model=CancelView,
    response_model_exclude_none=True,
    responses={
        **answers(Code.JOB_NOT_FOUND, Code.CANCEL_NOT_REQUESTED, Code.JOB_ALREADY_FINISHED),
        202: {"description": "Requested, to be confirmed; or confirmed, and about to end.", "model": CancelView},
    },
    summary="Cancel a job, in two steps",
)
async def cancel_job(
    job_id: JOB_ID,
    services: Shared,
    who: Who,
    response: Response,
    confirm: Annotated[bool, Query(description="The second step: ends the job.")] = False,
    body: Annotated[CancelBody | None, Body()] = None,
) -> CancelView:
    """The first call asks and tells until when to confirm; a second one with `confirm=true` ends the job."""
    job = await services.job_for(who, job_id)
    if not confirm and not (body is not None and body.confirm):
        job, expires = await request_cancel(services, job)
        response.status_code = 202
        return CancelView(id=job.name, status="cancel_requested", expires_at=expires)
    job = await confirm_cancel(services, job)
    if job.phase is Phase.CANCELLED:
        return CancelView(id=job.name, status="cancelled")
    response.status_code = 202
    return CancelView(id=job.name, status="cancelling")


@router.get(
    "/jobs/{job_id}/events",
    response_class=StreamingResponse,
    responses={
        **answers(Code.JOB_NOT_FOUND),
        200: {"description": "Server-sent events: `status` with the job, then `end`.",
              "content": {MEDIA_TYPE: {"schema": {"type": "string"}}}},
    },
    summary="A job's changes as they happen",
)  # fmt: skip
async def job_events(
    job_id: JOB_ID,
    services: Shared,
    who: Who,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", max_length=100)] = None,
) -> StreamingResponse:
    """Every event holds the whole job. A comment every 15 s keeps the connection open."""
    return event_stream(services, await services.job_for(who, job_id), last_event_id)
