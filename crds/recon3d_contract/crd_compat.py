"""Whether a CustomResourceDefinition still takes every object that an earlier one took.

crds/frozen/ holds each version as it was first released; a test compares. Within a version nothing may go away or
grow stricter: no field removed, no type changed, no enum narrowed, no limit tightened, nothing newly required, no
printer column or selectable field removed. What the operator alone writes (status) may lose nothing either: clients
read it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

# (key, whether a smaller value is stricter)
_LIMITS: Final = (
    ("maxLength", True),
    ("maxItems", True),
    ("maxProperties", True),
    ("maximum", True),
    ("minLength", False),
    ("minItems", False),
    ("minimum", False),
)


def breaks(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return a line for everything that `new` no longer allows or tells."""
    found = []
    names = {version["name"]: version for version in new["spec"]["versions"] if version["served"]}
    for version in old["spec"]["versions"]:
        later = names.get(version["name"])
        if later is None:
            found.append(f"{version['name']}: is no longer served")
            continue
        found += _schema(version["schema"]["openAPIV3Schema"], later["schema"]["openAPIV3Schema"], "")
        for kind, key in (("additionalPrinterColumns", "name"), ("selectableFields", "jsonPath")):
            kept = {entry[key] for entry in later.get(kind) or ()}
            found += [f"{kind}: {e[key]} is gone" for e in version.get(kind) or () if e[key] not in kept]
    for key in ("group", "scope"):
        if old["spec"][key] != new["spec"][key]:
            found.append(f"spec.{key} has changed")
    return found


def _schema(old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Iterator[str]:
    place = path or "the object"
    if old.get("type") != new.get("type"):
        yield f"{place}: the type was {old.get('type')} and is {new.get('type')}"
        return
    if "enum" in new:
        gone = sorted(str(value) for value in old.get("enum") or ("free choice",) if value not in new["enum"])
        if gone:
            yield f"{place}: the enum has lost {', '.join(gone)}"
    if new.get("pattern") and new.get("pattern") != old.get("pattern"):
        yield f"{place}: the pattern has changed"
    for key, smaller_is_stricter in _LIMITS:
        if key in new and (key not in old or (new[key] < old[key] if smaller_is_stricter else new[key] > old[key])):
            yield f"{place}: {key} is stricter ({old.get(key, 'none')} -> {new[key]})"
    for name in sorted(set(new.get("required") or ()) - set(old.get("required") or ())):
        yield f"{place}: {name} is newly required"
    if "default" in old and old["default"] != new.get("default"):
        yield f"{place}: the default was {json.dumps(old['default'])} and is {json.dumps(new.get('default'))}"
    for name, child in (old.get("properties") or {}).items():
        if name not in (new.get("properties") or {}):
            yield f"{path}.{name}: is gone"
        else:
            yield from _schema(child, new["properties"][name], f"{path}.{name}")
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(old.get(key), Mapping) and isinstance(new.get(key), Mapping):
            yield from _schema(old[key], new[key], f"{path}{mark}")
