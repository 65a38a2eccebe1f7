"""What the OpenAPI document says beyond the endpoints' types: every error with its code and an example."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

from fastapi import FastAPI, Path
from fastapi.openapi.utils import get_openapi
from recon3d_contract.errors import TABLE, Code

from recon3d_api.jobs import body_schema
from recon3d_api.problems import MEDIA_TYPE, Problem

JOB_ID = Annotated[
    str,
    Path(
        description="The job's id: the name of its ReconstructionJob.",
        min_length=1,
        max_length=63,
        examples=["k7m2x9qd"],
    ),
]
_ALWAYS: Final = (
    Code.UNAUTHENTICATED,
    Code.RATE_LIMITED,
    Code.INVALID_REQUEST,
    Code.INTERNAL,
    Code.CLUSTER_UNAVAILABLE,
)
DESCRIPTION: Final = """Six axis views of an object in, a validated, textured 3D mesh out.

A job is a ReconstructionJob in the cluster; this API keeps nothing of its own. Every error is
`application/problem+json` with a `code` that never changes its meaning, and a suggestion."""


def answers(
    *codes: Code, media: Mapping[str, bytes] | None = None, partial: bool = False, always: Iterable[Code] = _ALWAYS
) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI's `responses` for an endpoint: its errors, and what it sends if that is no JSON."""
    found: dict[int | str, dict[str, Any]] = {}
    for code in [*codes, *always]:
        row = TABLE[code]
        entry = found.setdefault(
            row.http_status,
            {"description": "", "content": {MEDIA_TYPE: {"schema": {"$ref": _PROBLEM}, "examples": {}}}},
        )
        if code.value not in entry["content"][MEDIA_TYPE]["examples"]:
            entry["description"] = f"{entry['description']} `{code.value}` {row.message}".strip()
            entry["content"][MEDIA_TYPE]["examples"][code.value] = {"summary": row.message, "value": _example(code)}
        if row.http_status in (429, 503, 409) and row.retryable:
            entry["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
        if row.http_status == 401:
            entry["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    if media is not None:
        content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in media}
        found[200] = {"description": "The bytes.", "content": content}
        found[304] = {"description": "Unchanged since the ETag in If-None-Match."}
        if partial:
            found[206] = {"description": "The range that was asked for.", "content": content}
    return found


_PROBLEM: Final = "#/components/schemas/Problem"


def _example(code: Code) -> dict[str, Any]:
    row = TABLE[code]
    return {
        "type": f"/docs#{code.value}",
        "title": row.message,
        "status": row.http_status,
        "detail": row.message,
        "code": code.value,
        "category": row.category,
        "details": {},
        "suggestion": row.suggestion,
        "retryable": row.retryable,
        "request_id": "4f1c0a9be2d84c57",
    }


def document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    made = get_openapi(
        title="recon3d", version="1", openapi_version="3.1.0", description=DESCRIPTION, routes=app.routes
    )
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    schemas.update(body_schema.DEFINITIONS)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    made["components"]["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "An API key, or a token of the configured issuer."}
    }
    for path, operations in made["paths"].items():
        for operation in operations.values():
            if not path.startswith("/v1/health") and path not in OPEN:
                operation["security"] = [{"key": []}]
            # FastAPI says 422 of every operation with parameters in its own form.
            told = operation["responses"].get("422", {}).get("content", {})
            told.pop("application/json", None)
    return made


OPEN: Final = ("/health", "/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json")
"""Answered without a key."""
