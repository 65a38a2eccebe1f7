"""From what a client sends to a ReconstructionJob's spec: the contract's job, less what only people of the cluster may.

Whoever comes in over HTTP acts with this service's rights. So a job made here names no volume and no Secret, no bucket
and no host but those that the installation allows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import ValidationError
from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.job import apply_settings, parse_job, read_json
from recon3d_contract.resource import OPERATOR_FIELDS, ResourceSpec
from recon3d_contract.spec import camel
from recon3d_contract.store import HttpsPolicy, below

from recon3d_api.settings import Settings

Problems = list[dict[str, str]]

_ALIASES: Final = {"modelType": "engine", "ttl": "ttlSecondsAfterFinished"}
_ALLOWED: Final = OPERATOR_FIELDS & {"priority", "ttlSecondsAfterFinished", "deadlines", "retry", "webhook"}


def spec_of_form(fields: Mapping[str, str], upload: str | None, settings: Settings) -> dict[str, Any]:
    """Return the spec that a form's fields describe; `upload` is the id of the files that came with it."""
    data = dict(_parameters(fields.get("parameters", "")))
    texts = [f"{name}={text}" for name, text in fields.items() if name != "parameters"]
    return spec_of(apply_settings(data, texts), upload, settings)


def spec_of(data: Mapping[str, Any], upload: str | None, settings: Settings) -> dict[str, Any]:
    """Return the spec that a JSON object describes. Raises INVALID_REQUEST, INPUT_NOT_ALLOWED."""
    given = {_ALIASES.get(name := camel(str(key)), name): value for key, value in data.items()}
    parameters = given.pop("parameters", None)
    if parameters is not None:
        given = _with_parameters(given, parameters)
    if isinstance(given.get("webhook"), str):
        given["webhook"] = {"url": given["webhook"]}
    problems: Problems = []
    if upload is not None:
        if "input" in given:
            problems.append({"path": "input", "problem": "cannot be given together with files"})
        given["input"] = {"upload": upload}
    job, operators = _split(given, problems, settings)
    try:
        spec = parse_job(job, require_input=True)
    except Recon3dError as error:
        found = error.details.get("problems")
        problems += found if isinstance(found, list) else [{"path": "", "problem": error.message}]
        raise _invalid(problems) from None
    if problems:
        raise _invalid(problems)
    result: dict[str, Any] = json.loads(spec.to_json())
    _check_source(result["input"], settings)
    return {**result, **operators}


def read_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a request's body. Raises INVALID_REQUEST."""
    value = read_json(body)
    if not isinstance(value, dict):
        raise _invalid([{"path": "", "problem": "the body must be a JSON object"}])
    return value


def _parameters(text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise _invalid([{"path": "parameters", "problem": "must be a JSON object"}])
    return {"parameters": value}


def _with_parameters(given: dict[str, Any], parameters: Any) -> dict[str, Any]:
    if not isinstance(parameters, Mapping):
        raise _invalid([{"path": "parameters", "problem": "must be an object"}])
    return apply_settings(given, [f"{path}={json.dumps(value)}" for path, value in _leaves(parameters, "")])


def _leaves(value: Mapping[str, Any], path: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        inner = f"{path}.{key}" if path else str(key)
        if isinstance(item, Mapping) and item and depth < 12:
            yield from _leaves(item, inner, depth + 1)
        else:
            yield inner, item


def _split(given: Mapping[str, Any], problems: Problems, settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the contract's part and the operator's; add what is wrong with the latter."""
    operators = {key: value for key, value in given.items() if key in OPERATOR_FIELDS}
    for key in sorted(set(operators) - _ALLOWED):
        problems.append({"path": key, "problem": "cannot be set over HTTP"})
        del operators[key]
    webhook = operators.get("webhook")
    if webhook is not None and not settings.webhook_secret:
        problems.append({"path": "webhook", "problem": "is not set up in this installation"})
        del operators["webhook"]
    elif isinstance(webhook, Mapping):
        if set(webhook) - {"url"}:
            problems.append({"path": "webhook", "problem": "has no field but url over HTTP"})
        name, _, key = settings.webhook_secret.partition("/")
        operators["webhook"] = {**webhook, "secretRef": {"name": name, **({"key": key} if key else {})}}
    try:
        ResourceSpec.model_validate({"input": {"builtin": "example"}, **operators})
    except ValidationError as error:
        problems += [
            {"path": ".".join(str(part) for part in item["loc"])[:200], "problem": str(item["msg"])[:300]}
            for item in error.errors(include_url=False, include_context=False, include_input=False)
        ]
    job = {key: value for key, value in given.items() if key not in OPERATOR_FIELDS}
    output = job.get("output")
    if isinstance(output, Mapping) and output.get("ref") is not None:
        problems.append({"path": "output.ref", "problem": "cannot be set over HTTP; results go to the service's store"})
    return job, operators


def _check_source(source: Mapping[str, Any], settings: Settings) -> None:
    if "path" in source or "pvc" in source:
        raise Recon3dError(
            Code.INPUT_NOT_ALLOWED,
            "An input over HTTP is an upload, a builtin, an allowed https host or an allowed S3 prefix.",
            {"input": next(iter(source))},
        )
    if "s3" in source and not below(str(source["s3"]), settings.input_s3):
        text = "The S3 address is not one that inputs may be read from."
        raise Recon3dError(Code.INPUT_NOT_ALLOWED, text, {"input": "s3"})
    if "url" in source:
        HttpsPolicy(hosts=settings.input_hosts).target(str(source["url"]))


def _invalid(problems: Problems) -> Recon3dError:
    shown = "; ".join(f"{p['path']}: {p['problem']}" if p["path"] else p["problem"] for p in problems[:5])
    more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
    return Recon3dError(Code.INVALID_REQUEST, shown + more, {"problems": problems[:50]})
