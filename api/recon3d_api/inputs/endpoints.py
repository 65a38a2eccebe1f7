"""POST /inputs: files for later jobs, over HTTP or of kubectl's users (`input.upload: <id>`)."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import Field
from recon3d_contract.errors import Code, Recon3dError
from starlette.responses import JSONResponse

from recon3d_api.inputs.receive import keep, media_type_of, receive_form
from recon3d_api.jobs import body_schema
from recon3d_api.openapi import answers
from recon3d_api.services import Shared, Who
from recon3d_api.views import View

router = APIRouter(tags=["inputs"])
_FORM: Final = body_schema.JOB["content"]["multipart/form-data"]
_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        "multipart/form-data": _FORM,
        "application/zip": {"schema": {"type": "string", "format": "binary"}},
    },
}


class UploadView(View):
    """An upload: checked, and stored under an id that is made of what is in it."""

    id: str = Field(description="For a job's `input.upload`.")
    files: list[str]
    bytes: int
    warnings: list[str]
    expires_in_seconds: int = Field(description="Without a job that names it, it is removed after that time.")


@router.post(
    "/inputs",
    status_code=201,
    response_model=UploadView,
    openapi_extra={"requestBody": _BODY},
    responses=answers(
        Code.MISSING_VIEW, Code.INVALID_IMAGE, Code.WRONG_RESOLUTION, Code.FILE_TOO_LARGE, Code.UPLOAD_TOO_LARGE,
        Code.INVALID_ARCHIVE, Code.INVALID_INPUT, Code.REQUEST_TIMEOUT, Code.UNSUPPORTED_MEDIA_TYPE, Code.STORAGE_FULL,
        Code.STORAGE_UNAVAILABLE,
    ),
    summary="Upload an input",
)  # fmt: skip
async def create_input(request: Request, services: Shared, who: Who) -> JSONResponse:
    """A form with six or twelve PNG or one ZIP, or a ZIP as the body. The same files have the same id."""
    if media_type_of(request) not in ("multipart/form-data", "application/zip"):
        raise Recon3dError(Code.UNSUPPORTED_MEDIA_TYPE, details={"content_type": media_type_of(request)[:100]})
    with services.uploading.one(who.name):
        received = await receive_form(request, services)
        upload = await keep(services, received)
    manifest = received.manifest
    if manifest is None or upload is None:
        raise Recon3dError(Code.MISSING_VIEW, "There is no file in the form.")
    view = UploadView(
        id=upload,
        files=[file.name for file in manifest.files],
        bytes=sum(file.bytes for file in manifest.files),
        warnings=[warning.message for warning in manifest.warnings],
        expires_in_seconds=int(services.settings.sweep_upload_age_s),
    )
    return JSONResponse(view.model_dump(), 201)
