"""The body of POST /jobs as OpenAPI describes it: it is read as a stream, so no type of an argument can say it."""

from __future__ import annotations

from typing import Any, Final

from recon3d_contract.conventions import VIEWS
from recon3d_contract.spec import JobSpec

_FILE: Final[dict[str, Any]] = {"type": "string", "format": "binary"}
_FIELDS: Final[dict[str, Any]] = {
    "engine": {"type": "string", "enum": ["nvdiffrec", "reconviagen", "both"], "description": "Also `model_type`."},
    "profile": {"type": "string", "enum": ["fast", "standard", "high"]},
    "seed": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    "priority": {"type": "integer", "minimum": -1000, "maximum": 1000},
}


def _form() -> dict[str, Any]:
    views = {view: {**_FILE, "description": f"multi_views/{view}.png"} for view in VIEWS}
    depth = {f"depth_{view}": {**_FILE, "description": f"depth_renders/{view}.png"} for view in VIEWS}
    return {
        "type": "object",
        "description": "Six or twelve PNG by view, or `files[]` by path, or one ZIP as `file`; and fields.",
        "properties": {
            **views,
            **depth,
            "files[]": {"type": "array", "items": _FILE},
            "file": {**_FILE, "description": "A ZIP that holds multi_views/ and depth_renders/."},
            **_FIELDS,
            "parameters": {"type": "string", "description": "JSON: any other field of a job."},
            "quality": {"type": "string", "description": "JSON: thresholds of the verdict."},
        },
    }


def _json() -> dict[str, Any]:
    schema = JobSpec.model_json_schema(by_alias=True, ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    schema["properties"] |= {"priority": _FIELDS["priority"], "parameters": {"type": "object"}}
    schema["required"] = ["input"]
    return schema


EXAMPLE: Final = {"engine": "nvdiffrec", "profile": "fast", "input": {"builtin": "example"}}
DEFINITIONS: Final[dict[str, Any]] = JobSpec.model_json_schema(
    by_alias=True, ref_template="#/components/schemas/{model}"
)["$defs"]
"""What the JSON body refers to; they belong among the document's schemas."""

JOB: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        "multipart/form-data": {"schema": _form()},
        "application/json": {"schema": _json(), "example": EXAMPLE},
    },
}
