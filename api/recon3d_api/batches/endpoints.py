"""The resource /batches: many jobs in one request, one answer for each."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request
from pydantic import Field
from recon3d_contract.errors import Code, Recon3dError
from starlette.responses import JSONResponse, Response

from recon3d_api.cluster.port import ClusterError
from recon3d_api.inputs.receive import media_type_of, receive_json
from recon3d_api.jobs import body_schema
from recon3d_api.jobs.endpoints import IdempotencyKey, check_upload
from recon3d_api.jobs.spec import read_object, spec_of
from recon3d_api.jobs.submit import Origin, answering, digest_for, submit
from recon3d_api.names import BATCH, id_of, random_id
from recon3d_api.openapi import answers
from recon3d_api.services import Shared, Who
from recon3d_api.views import STATUS_OF, Status, View

router = APIRouter(tags=["batches"])
MAX_JOBS: Final = 100


class BatchItem(View):
    """What became of one job of the request, in its order."""

    id: str | None = None
    error: dict[str, Any] | None = Field(None, description="Why it was not made: code, message, details, suggestion.")


class BatchMade(View):
    """A batch that was just made."""

    id: str
    accepted: int
    refused: int
    jobs: list[BatchItem]
    link: str


class BatchView(View):
    """A batch: its jobs by status; GET /jobs?batch=ID lists them."""

    id: str
    jobs: dict[Status, int]
    finished: bool
    progress: float = Field(description="Percent, the mean of all jobs.")


_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["jobs"],
                "additionalProperties": False,
                "properties": {
                    "jobs": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": MAX_JOBS,
                        "items": {"type": "object", "description": "As the body of POST /jobs; judged by itself."},
                    }
                },
            },
            "example": {"jobs": [body_schema.EXAMPLE, {**body_schema.EXAMPLE, "profile": "high"}]},
        }
    },
}


@router.post(
    "/batches",
    status_code=202,
    response_model=BatchMade,
    openapi_extra={"requestBody": _BODY},
    responses=answers(Code.UNSUPPORTED_MEDIA_TYPE, Code.REQUEST_IN_PROGRESS, Code.UPLOAD_TOO_LARGE),
    summary="Submit many jobs",
)
async def create_batch(
    request: Request, services: Shared, who: Who, idempotency_key: IdempotencyKey = None
) -> Response:
    """Up to 100 jobs as JSON, each accepted or refused by itself. With an Idempotency-Key nothing is made twice."""
    if media_type_of(request) != "application/json":
        raise Recon3dError(Code.UNSUPPORTED_MEDIA_TYPE, suggestion="Send application/json.")
    jobs = _jobs(read_object(await receive_json(request, services)))
    key = digest_for(services, who, idempotency_key)
    batch = random_id() if key is None else id_of(key)
    items: list[BatchItem] = []
    with answering(services, key):
        for number, data in enumerate(jobs):
            own = None if idempotency_key is None else digest_for(services, who, f"{idempotency_key}#{number}")
            origin = Origin(request.scope.get("recon3d.request_id"), own, batch)
            try:
                spec = spec_of(data, None, services.settings)
                await check_upload(services, spec)
                job, _ = await submit(services, who, spec, origin)
                items.append(BatchItem(id=job.name))
            except ClusterError as error:
                items.append(BatchItem(error=error.told().info().model_dump(mode="json")))
            except Recon3dError as error:
                items.append(BatchItem(error=error.info().model_dump(mode="json")))
    made = sum(item.id is not None for item in items)
    if not made:
        told = [{"path": f"jobs.{n}", "problem": str((item.error or {})["message"])} for n, item in enumerate(items)]
        raise Recon3dError(Code.INVALID_REQUEST, "No job of the batch was accepted.", {"problems": told[:50]})
    view = BatchMade(id=batch, accepted=made, refused=len(items) - made, jobs=items, link=f"/v1/batches/{batch}")
    return JSONResponse(view.model_dump(exclude_none=True), 202, {"Location": view.link})


@router.get("/batches/{batch_id}", responses=answers(Code.NOT_FOUND), summary="A batch")
async def get_batch(
    batch_id: Annotated[str, Path(min_length=1, max_length=63, examples=["k7m2x9qd"])], services: Shared, who: Who
) -> BatchView:
    """How far its jobs are."""
    found = [
        job
        for job in services.cache.newest()
        if (job.obj["metadata"].get("labels") or {}).get(BATCH) == batch_id and who.sees(job)
    ]
    if not found:
        raise Recon3dError(Code.NOT_FOUND, "There is no such batch.")
    counts: Counter[Status] = Counter(STATUS_OF[job.phase] for job in found)
    percent = [100 if job.over else (job.status.get("progress") or {}).get("percent", 0) for job in found]
    return BatchView(
        id=batch_id,
        jobs={status: counts[status] for status in STATUS_OF.values()},
        finished=all(job.over for job in found),
        progress=round(sum(percent) / len(percent), 1),
    )


def _jobs(data: dict[str, Any]) -> list[dict[str, Any]]:
    jobs = data.get("jobs")
    right = isinstance(jobs, list) and 1 <= len(jobs) <= MAX_JOBS and all(isinstance(job, dict) for job in jobs)
    if not right or set(data) != {"jobs"}:
        problems = [{"path": "jobs", "problem": f"must be a list of 1 to {MAX_JOBS} jobs, and the only field"}]
        raise Recon3dError(Code.INVALID_REQUEST, f"jobs: {problems[0]['problem']}", {"problems": problems})
    return jobs  # type: ignore[return-value]
