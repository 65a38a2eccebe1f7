"""Errors as application/problem+json (RFC 9457), all with a code of the contract's table."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, Final

import anyio
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from recon3d_contract.errors import TABLE, Category, Code, Recon3dError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Message, Receive, Scope, Send

from recon3d_api.auth.limits import LimitedError
from recon3d_api.cluster.port import ClusterError

_LOG: Final = logging.getLogger(__name__)
MEDIA_TYPE: Final = "application/problem+json"
_RETRY_S: Final = {
    Code.JOB_NOT_READY: 5,
    Code.REQUEST_IN_PROGRESS: 1,
    Code.CLUSTER_UNAVAILABLE: 2,
    Code.STORAGE_UNAVAILABLE: 5,
    Code.STORAGE_FULL: 60,
    Code.QUOTA_EXCEEDED: 30,
}
_LINGER_S: Final = 3.0
_BY_STATUS: Final = {
    400: Code.INVALID_REQUEST,
    401: Code.UNAUTHENTICATED,
    403: Code.FORBIDDEN,
    404: Code.NOT_FOUND,
    405: Code.METHOD_NOT_ALLOWED,
    413: Code.UPLOAD_TOO_LARGE,
    415: Code.UNSUPPORTED_MEDIA_TYPE,
}


class Problem(BaseModel):
    """What every error looks like."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(description="Where the code is described, on this server.")
    title: str = Field(description="What is always true of the code.")
    status: int
    detail: str = Field(description="What happened here.")
    code: Code
    category: Category
    details: dict[str, Any] = Field(description="Which file, which view, which field, which number.")
    suggestion: str
    retryable: bool = Field(description="Whether the same request can succeed later.")
    request_id: str | None = None


class ProblemResponse(Response):
    """An error's answer. While the client is still sending, it goes on listening for a moment.

    A connection that is closed with bytes unread is reset, and the client loses the answer that it has not read yet.
    """

    media_type = MEDIA_TYPE

    def __init__(self, error: Recon3dError, headers: Mapping[str, str] | None = None, request_id: str | None = None):
        row = TABLE[error.code]
        retry = error.retry_after_s if isinstance(error, LimitedError) else _RETRY_S.get(error.code)
        extra = {"Retry-After": str(retry)} if retry else {}
        if error.code is Code.RANGE_NOT_SATISFIABLE and "bytes" in error.details:
            extra["Content-Range"] = f"bytes */{error.details['bytes']}"
        if row.http_status == 401:
            extra["WWW-Authenticate"] = 'Bearer realm="recon3d"'
        problem = Problem(
            type=f"/docs#{error.code.value}",
            title=row.message,
            status=row.http_status,
            detail=error.message,
            code=error.code,
            category=row.category,
            details=error.details,
            suggestion=error.suggestion,
            retryable=row.retryable,
            request_id=request_id,
        )
        super().__init__(
            json.dumps(problem.model_dump(mode="json", exclude_none=True), ensure_ascii=False).encode(),
            row.http_status,
            {**(headers or {}), **extra, "Cache-Control": "no-store"},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer; then let the client finish, for a few seconds."""
        if scope["method"] not in ("POST", "PUT", "PATCH") or scope.get("recon3d.body_read"):
            await super().__call__(scope, receive, send)
            return
        self.headers["Connection"] = "close"
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        try:
            with anyio.fail_after(_LINGER_S):
                message: Message = {"type": "http.request", "more_body": True}
                while message["type"] == "http.request" and message.get("more_body"):
                    message = await receive()
        except TimeoutError:
            pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _respond(request: Request, error: Recon3dError, headers: Mapping[str, str] | None = None) -> ProblemResponse:
    return ProblemResponse(error, headers, request.scope.get("recon3d.request_id"))


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, Recon3dError)  # noqa: S101 - what it is registered for
    return _respond(request, error)


async def _clusters(request: Request, error: Exception) -> Response:
    assert isinstance(error, ClusterError)  # noqa: S101
    _LOG.warning("the cluster refuses: %s", error)
    return _respond(request, error.told())


async def _https(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    code = _BY_STATUS.get(error.status_code, Code.INTERNAL if error.status_code >= 500 else Code.INVALID_REQUEST)
    headers = dict(error.headers or {})
    if code is Code.METHOD_NOT_ALLOWED:
        headers["Allow"] = _allowed(request)  # the router names the methods of one route only
    return _respond(request, Recon3dError(code), headers)


def _allowed(request: Request) -> str:
    found = [
        method
        for method in ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    ]
    return ", ".join(found)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    problems = [
        {"path": ".".join(str(part) for part in item["loc"][1:])[:200], "problem": str(item["msg"])[:300]}
        for item in error.errors()[:50]
    ]
    text = "; ".join(f"{item['path']}: {item['problem']}" for item in problems[:5])
    return _respond(request, Recon3dError(Code.INVALID_REQUEST, text, {"problems": problems}))


async def _defect(request: Request, error: Exception) -> Response:
    _LOG.error("a defect", exc_info=error)
    return _respond(request, Recon3dError(Code.INTERNAL))


def install(app: FastAPI) -> None:
    """Answer every error of `app` as a problem."""
    app.add_exception_handler(Recon3dError, _ours)
    app.add_exception_handler(ClusterError, _clusters)
    app.add_exception_handler(HTTPException, _https)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _defect)
