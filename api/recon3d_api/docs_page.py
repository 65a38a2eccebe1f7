"""GET /openapi.json, and /docs: one page made of it here, without script and without anything from elsewhere."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from fastapi import FastAPI
from recon3d_contract.errors import TABLE
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#1c2430;background:#fff}
h1{margin-bottom:0}h2{margin-top:2.5rem;border-bottom:1px solid #d5dbe3}code,pre{font:13px/1.45 ui-monospace,monospace}
pre{background:#f4f6f9;padding:.7rem;overflow:auto;border-radius:6px}details{border:1px solid #d5dbe3;border-radius:6px;
margin:.5rem 0;padding:.4rem .8rem}summary{cursor:pointer}.m{display:inline-block;min-width:4.5rem;font-weight:700}
.get{color:#11643b}.post{color:#1b4fa0}.delete{color:#a3241c}.head{color:#5a6472}table{border-collapse:collapse;
width:100%}td,th{border:1px solid #d5dbe3;padding:.25rem .5rem;text-align:left;vertical-align:top}
@media(prefers-color-scheme:dark){body{background:#11161d;color:#dde4ec}pre{background:#1b222c}td,th,details,h2{
border-color:#38424f}.get{color:#6fd19b}.post{color:#8ab4ff}.delete{color:#ff8f86}a{color:#8ab4ff}}
"""
_HEADERS: Final = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


def serve(app: FastAPI, document: Callable[[], Mapping[str, Any]]) -> None:
    """Add both addresses to `app`."""

    async def described(_: Request) -> Response:
        return JSONResponse(document())

    async def page(_: Request) -> Response:
        return HTMLResponse(render(document()), headers=_HEADERS)

    app.add_route("/openapi.json", described, include_in_schema=False)
    app.add_route("/docs", page, include_in_schema=False)


def render(document: Mapping[str, Any]) -> str:
    """Return the page of an OpenAPI document."""
    info = document["info"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{_text(info['title'])} API</title><style>{_STYLE}</style>",
        f"<h1>{_text(info['title'])} API</h1>",
        *(f"<p>{_marked(part)}</p>" for part in str(info.get("description", "")).split("\n\n")),
        "<p>The same for programs: <a href=/openapi.json>openapi.json</a>. Every address stands at the root too, ",
        "without <code>/v1</code>. A key goes into the header <code>Authorization: Bearer KEY</code>.</p>",
    ]
    tags: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tags.setdefault((operation.get("tags") or ["other"])[0], []).append(_operation(path, method, operation))
    for tag, shown in tags.items():
        parts += [f"<h2>{_text(tag)}</h2>", *shown]
    return "".join([*parts, *_errors(), "</html>"])


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    rows = [
        f"<tr><td><code>{_text(p['name'])}</code><td>{_text(p['in'])}<td>{_text(_kind(p.get('schema', {})))}"
        f"<td>{_marked(p.get('description', ''))}"
        for p in operation.get("parameters", ())
    ]
    given = f"<table><tr><th>parameter<th>in<th>type<th>{''.join(rows)}</table>" if rows else ""
    bodies = [_body(kind, media) for kind, media in operation.get("requestBody", {}).get("content", {}).items()]
    answers = [
        f"<tr><td>{_text(status)}<td>{_marked(answer.get('description', ''))}"
        for status, answer in sorted(operation["responses"].items())
    ]
    return (
        f"<details><summary><span class='m {method}'>{method.upper()}</span><code>{_text(path)}</code> "
        f"{_text(operation.get('summary', ''))}</summary><p>{_marked(operation.get('description', ''))}</p>"
        f"{given}{''.join(bodies)}<table><tr><th>status<th>{''.join(answers)}</table></details>"
    )


def _body(kind: str, media: Mapping[str, Any]) -> str:
    fields = media.get("schema", {}).get("properties", {})
    rows = [
        f"<tr><td><code>{_text(name)}</code><td>{_text(_kind(schema))}<td>{_marked(schema.get('description', ''))}"
        for name, schema in fields.items()
    ]
    shown = f"<table><tr><th>field<th>type<th>{''.join(rows)}</table>" if rows else ""
    example = media.get("example")
    sample = f"<pre>{_text(json.dumps(example, indent=2))}</pre>" if example else ""
    return f"<p>Body, <code>{_text(kind)}</code>:</p>{shown}{sample}"


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[1]
    if "anyOf" in schema:
        return " | ".join(kind for each in schema["anyOf"] if (kind := _kind(each)) != "null")
    if schema.get("format") == "binary":
        return "file"
    return str(schema.get("type", "any"))


def _errors() -> Iterator[str]:
    yield "<h2>Errors</h2><table><tr><th>code<th>status<th>retry helps<th>meaning<th>suggestion"
    for code, row in TABLE.items():
        retry = "yes" if row.retryable else "no"
        yield f"<tr id={code.value}><td><code>{code.value}</code><td>{row.http_status}<td>{retry}"
        yield f"<td>{_text(row.message)}<td>{_text(row.suggestion)}"
    yield "</table>"


def _text(value: object) -> str:
    return html.escape(str(value))


def _marked(value: object) -> str:
    """Return a text with what stands between backticks as code."""
    parts = html.escape(str(value)).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))
