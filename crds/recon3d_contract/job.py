"""Untrusted data to a JobSpec, with every problem at once, and the `--set a.b=value` of the command line."""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.spec import JobSpec, camel

__all__ = ["MAX_JOB_BYTES", "JobSpec", "apply_settings", "parse_job", "read_json", "spec_hash"]

Problem = dict[str, Any]
MAX_JOB_BYTES: Final = 256 * 1024
_MAX_DEPTH: Final = 12
_KEY = re.compile(r"^[A-Za-z][A-Za-z0-9_]*$")


def _invalid(problems: list[Problem]) -> Recon3dError:
    shown = "; ".join(f"{p['path']}: {p['problem']}" if p["path"] else p["problem"] for p in problems[:5])
    more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
    return Recon3dError(Code.INVALID_REQUEST, shown + more, {"problems": problems[:50]})


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def read_json(text: str | bytes) -> Any:
    """Return the value of a strict JSON text: no key twice, no NaN, at most MAX_JOB_BYTES. Raises INVALID_REQUEST."""
    if len(text) > MAX_JOB_BYTES:
        raise _invalid([{"path": "", "problem": f"the job is longer than {MAX_JOB_BYTES} bytes"}])
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise _invalid([{"path": "", "problem": f"the job is not valid JSON{where}"}]) from None


def _to_camel(value: Any, path: str, problems: list[Problem], depth: int = 0) -> Any:
    """Spell every key in camelCase, so that both spellings of one field cannot be given."""
    if depth > _MAX_DEPTH:
        problems.append({"path": path, "problem": "is nested too deeply"})
        return None
    if isinstance(value, Mapping):
        result: dict[str, Any] = {}
        for key, item in value.items():
            name = camel(str(key))
            inner = f"{path}.{name}" if path else name
            if name in result:
                problems.append({"path": inner, "problem": "is given twice"})
            result[name] = _to_camel(item, inner, problems, depth + 1)
        return result
    if isinstance(value, (list, tuple)):
        return [_to_camel(item, f"{path}.{i}", problems, depth + 1) for i, item in enumerate(value)]
    return value


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """Names of the fields that a job may have at `location`."""
    model: Any = JobSpec
    for part in location:
        fields = {info.alias: info for info in model.model_fields.values()} if _is_model(model) else {}
        if part not in fields:
            return []
        candidates = [fields[part].annotation, *getattr(fields[part].annotation, "__args__", ())]
        model = next((c for c in candidates if _is_model(c)), None)
    return [info.alias or "" for info in model.model_fields.values()] if _is_model(model) else []


def _is_model(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def _problem(error: Mapping[str, Any]) -> Problem:
    location = tuple(part for part in error["loc"] if part != "[key]")
    text = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(location[-1]), _fields_at(location[:-1]), n=1)
        text = "is not a field of a job" + (f"; did you mean {near[0]}?" if near else "")
    elif error["type"] in ("model_type", "dict_type"):
        text = "must be an object with named fields"
    elif text != error["msg"] and str(error["msg"]).startswith("Input"):
        text = f"must be {text}"
    value = error.get("input")
    if isinstance(value, (str, int, float, bool)) and error["type"] != "extra_forbidden":
        shown = json.dumps(value, ensure_ascii=False)
        text += f" (is {shown if len(shown) <= 60 else shown[:57] + '...'})"
    return {"path": ".".join(str(part) for part in location)[:200], "problem": text}


def parse_job(data: Mapping[str, Any] | str | bytes, *, require_input: bool = False) -> JobSpec:
    """Return the job in `data`, a mapping or its JSON.

    Raises Recon3dError INVALID_REQUEST whose details.problems lists {path, problem} for everything wrong.
    """
    problems: list[Problem] = []
    raw = read_json(data) if isinstance(data, (str, bytes)) else data
    if not isinstance(raw, Mapping):
        raise _invalid([{"path": "", "problem": "the job must be a JSON object"}])
    spelled = _to_camel(raw, "", problems)
    spec: JobSpec | None = None
    try:
        spec = JobSpec.model_validate(spelled)
    except ValidationError as error:
        found = [_problem(item) for item in error.errors(include_url=False, include_context=False)]
        problems += [problem for problem in found if problem not in problems]
    if require_input and spelled.get("input") is None:
        problems.append({"path": "input", "problem": "is required"})
    if problems or spec is None:
        raise _invalid(problems)
    return spec


def apply_settings(data: Mapping[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """Return a copy of `data` with each `a.b.c=value` of `settings` set; a later one wins.

    A value is JSON where it parses as JSON (40, true, ["glb"]), else a string. parse_job checks the names.
    Raises Recon3dError INVALID_REQUEST that lists every setting that is not of this form.
    """
    result: dict[str, Any] = _to_camel(copy.deepcopy(dict(data)), "", [])
    problems: list[Problem] = []
    for setting in settings:
        path, equals, text = setting.partition("=")
        keys = [camel(key) for key in path.strip().split(".")]
        if not equals or not all(_KEY.match(key) for key in keys) or len(keys) > _MAX_DEPTH:
            problems.append({"path": path[:200], "problem": "a setting has the form name.name=value"})
            continue
        node = result
        for key in keys[:-1]:
            inner = node.setdefault(key, {})
            if not isinstance(inner, dict):
                problems.append({"path": path[:200], "problem": f"{key} holds a value and has no fields"})
                break
            node = inner
        else:
            node[keys[-1]] = _value(text.strip())
    if problems:
        raise _invalid(problems)
    return result


def _value(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return text


def spec_hash(spec: JobSpec) -> str:
    """Return the SHA-256 of the job with all its defaults: 64 hexadecimal digits, the same for equal jobs."""
    data = spec.model_dump(mode="json", by_alias=True)
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
