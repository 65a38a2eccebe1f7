"""The CustomResourceDefinition, made from resource.py: `python -m recon3d_contract.crd > crds/reconstructionjobs.yaml`.

Types become a structural schema. Only plain top-level fields get a default in the schema: a default deeper down would
make "what the user gave" and "what holds without it" the same, and a profile decides by that difference. What one
field's type cannot say stands in crd_rules.py, as CEL whose messages are advice.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel

from recon3d_contract.crd_rules import ROOT_RULES, RULES
from recon3d_contract.resource import GROUP, KIND, PLURAL, VERSION, ResourceSpec, ResourceStatus

_OPERATOR_MODELS: Final = ("Deadlines", "Retry")
_DEFAULTED: Final = ("engine", "profile", "seed", "deterministic", "priority", "suspend")
_COLUMNS: Final[tuple[tuple[str, str, str, int], ...]] = (
    ("Phase", "string", ".status.phase", 0),
    ("Engine", "string", ".spec.engine", 0),
    ("Queue", "integer", ".status.queuePosition", 0),
    ("Progress", "integer", ".status.progress.percent", 0),
    ("PSNR", "number", ".status.summary.psnr", 0),
    ("SSIM", "number", ".status.summary.ssim", 0),
    ("Verdict", "string", ".status.summary.verdict", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Stage", "string", ".status.progress.stage", 1),
    ("ETA", "integer", ".status.progress.etaSeconds", 1),
    ("Waiting for", "string", ".status.waitingFor", 1),
    ("Error", "string", ".status.error.code", 1),
    ("Artifacts", "string", ".status.artifacts.path", 1),
)


def crd() -> dict[str, Any]:
    """Return the CustomResourceDefinition."""
    spec, status = _model(ResourceSpec), _model(ResourceStatus)
    del spec["properties"]["input"]["properties"]["path"]  # a path of the machine that runs the command line
    spec["properties"]["limits"]["default"] = {"softSeconds": 7200}
    spec["properties"]["limits"]["properties"]["softSeconds"]["default"] = 7200
    for path, rules in RULES.items():
        node = spec
        for part in path.split(".") if path else ():
            node = node["properties"][part]
        node["x-kubernetes-validations"] = [rule.to_dict() for rule in rules]
    schema = {
        "type": "object",
        "description": "Six axis views of an object in, a validated, textured 3D mesh out.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
        "x-kubernetes-validations": [rule.to_dict() for rule in ROOT_RULES],
    }
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
        "selectableFields": [{"jsonPath": ".spec.engine"}, {"jsonPath": ".status.phase"}],
        "additionalPrinterColumns": [
            {"name": name, "type": kind, "jsonPath": path, **({"priority": priority} if priority else {})}
            for name, kind, path, priority in _COLUMNS
        ],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["rj"],
                "categories": ["all"],
            },
            "versions": [version],
        },
    }


def _model(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(by_alias=True, mode="validation")
    definitions = schema.pop("$defs", {})
    for name, definition in definitions.items():
        definition["x-name"] = name
    schema["x-name"] = model.__name__
    docs = _field_docs()
    result = _structural(schema, definitions, docs, top=True)
    return dict(result)


def _field_docs() -> dict[str, dict[str, str]]:
    """Return, by class and field, the text that follows a field's definition."""
    found: dict[str, dict[str, str]] = {}
    for module in {sys.modules[cls.__module__] for root in (ResourceSpec, ResourceStatus) for cls in _classes(root)}:
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ClassDef):
                texts = found.setdefault(node.name, {})
                for before, after in zip(node.body, node.body[1:], strict=False):
                    if (
                        isinstance(before, ast.AnnAssign)
                        and isinstance(before.target, ast.Name)
                        and isinstance(after, ast.Expr)
                        and isinstance(after.value, ast.Constant)
                        and isinstance(after.value.value, str)
                    ):
                        texts[before.target.id] = " ".join(textwrap.dedent(after.value.value).split())
    found["ResourceSpec"] = {**found.get("JobSpec", {}), **found["ResourceSpec"]}
    return found


def _classes(root: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for cls in root.__mro__:
        if issubclass(cls, BaseModel) and cls is not BaseModel:
            yield cls


def _structural(
    schema: Mapping[str, Any],
    definitions: Mapping[str, Any],
    docs: Mapping[str, Mapping[str, str]],
    *,
    top: bool = False,
) -> dict[str, Any]:
    node = _resolve(schema, definitions)
    name = str(node.get("x-name", ""))
    result: dict[str, Any] = {}
    if text := node.get("description"):
        result["description"] = " ".join(str(text).split())
    values = [node["const"]] if "const" in node else node.get("enum")
    kinds = {type(value) for value in values or ()}
    if kinds == {int, str}:
        return {**result, "x-kubernetes-int-or-string": True, "enum": values}
    result["type"] = node.get("type", "object")
    if values is not None:
        result["enum"] = values
    for key in ("pattern", "format", "minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum"):
        if key in node:
            result[key] = node[key]
    for key, plain in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if key in node:
            result |= {plain: node[key], key: True}
    result |= {key: value for key, value in node.items() if key.startswith("x-kubernetes-")}
    if result["type"] == "integer":
        result.setdefault("format", "int64")
    if "items" in node:
        result["items"] = _structural(node["items"], definitions, docs)
    if "properties" in node:
        result["properties"] = _fields(name, node, definitions, docs, top)
        if node.get("required"):
            result["required"] = node["required"]
    elif isinstance(node.get("additionalProperties"), Mapping):
        inner = _structural(node["additionalProperties"], definitions, docs)
        keys = _resolve(node.get("propertyNames", {}), definitions).get("enum")
        result |= {"properties": dict.fromkeys(keys, inner)} if keys else {"additionalProperties": inner}
        if "maxProperties" in node:
            result["maxProperties"] = node["maxProperties"]
    return result


def _fields(
    name: str, node: Mapping[str, Any], definitions: Mapping[str, Any], docs: Mapping[str, Mapping[str, str]], top: bool
) -> dict[str, Any]:
    fields = {}
    for alias, raw in node["properties"].items():
        field = _structural(raw, definitions, docs)
        snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in alias)
        default = raw.get("default")
        text = docs.get(name, {}).get(snake) or field.get("description")
        text = re.sub(r"\bNone is ", "unset: ", text.replace("None decides", "unset decides")) if text else None
        if default is not None and (alias in _DEFAULTED if top else name in _OPERATOR_MODELS):
            field["default"] = default
        elif isinstance(default, (str, int, float)) and not name.endswith("Status"):
            text = f"{text or ''} Default: {json.dumps(default)}.".strip()
        if name == "ResourceSpec" and alias in ("deadlines", "retry"):
            field["default"] = {}
        fields[alias] = {
            **({"description": text} if text else {}),
            **{k: v for k, v in field.items() if k != "description"},
        }
    return fields


def _resolve(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Return `schema` with its reference followed and its `or null` taken away."""
    node = dict(schema)
    if "anyOf" in node:
        choices = [choice for choice in node.pop("anyOf") if choice.get("type") != "null"]
        if len(choices) != 1:
            raise ValueError(f"a structural schema has no choice of types: {choices}")
        node = {**choices[0], **node}
    if "$ref" in node:
        target = definitions[node.pop("$ref").rsplit("/", 1)[1]]
        node = {**_resolve(target, definitions), **node}
    return node


def to_yaml(value: Any, indent: int = 0) -> str:
    """Return `value` (dicts, lists, scalars) as block-style YAML; strings are quoted as in JSON."""
    pad = "  " * indent
    if isinstance(value, Mapping) and value:
        return "".join(f"{pad}{_key(key)}:{_inner(item, indent + 1)}" for key, item in value.items())
    if isinstance(value, list) and value:
        return "".join(f"{pad}-{_item(item, indent + 1)}" for item in value)
    raise ValueError("only a filled mapping or list is written as a block")


def _key(key: str) -> str:
    return key if key.replace("-", "").isalnum() and not key.isdigit() else json.dumps(key)


def _inner(value: Any, indent: int) -> str:
    if isinstance(value, (Mapping, list)) and value:
        return "\n" + to_yaml(value, indent)
    return f" {json.dumps(value, ensure_ascii=False)}\n"


def _item(value: Any, indent: int) -> str:
    if isinstance(value, Mapping) and value:
        return " " + to_yaml(value, indent).lstrip(" ")
    return _inner(value, indent)


if __name__ == "__main__":
    sys.stdout.write("# Made by `make crds` from crds/recon3d_contract/resource.py; do not edit.\n" + to_yaml(crd()))
