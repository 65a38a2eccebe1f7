"""A service's settings from RECON3D_* variables: a dataclass in, an instance or everything that is wrong out.

A value that is secret may be given as NAME_FILE instead of NAME: a file that holds it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, get_type_hints

_PREFIX: Final = "RECON3D_"


class SettingsError(ValueError):
    """One line for each variable that is wrong."""


class _Checked(Protocol):
    def problems(self) -> list[str]:
        """Return a line for each value that cannot be."""


T = TypeVar("T", bound=_Checked)


def read_settings(kind: type[T], environment: Mapping[str, str], required: Collection[str]) -> T:
    """Return the dataclass `kind` with each field NAME read from RECON3D_NAME, by its type; an empty one is as none.

    Raises SettingsError with a line for every variable that is wrong.
    """
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    problems: list[str] = []
    for each in fields(kind):  # type: ignore[arg-type] # a dataclass, which no type says
        name = _PREFIX + each.name.upper()
        shown = name
        try:
            text = _text(name, environment)
            if text:
                shown = f"{name}={text!r}" if each.repr else name
                values[each.name] = _value(text, hints[each.name])
            elif each.name in required:
                problems.append(f"{name} must be set")
        except ValueError as error:
            problems.append(f"{shown}: {error}")
    if not problems:
        settings = kind(**values)
        problems = settings.problems()
        if not problems:
            return settings
    raise SettingsError("\n".join(problems))


def _text(name: str, environment: Mapping[str, str]) -> str:
    text = environment.get(name, "").strip()
    path = environment.get(f"{name}_FILE", "").strip()
    if text or not path:
        return text
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise ValueError(f"{name}_FILE cannot be read: {error.strerror}") from None


def _value(text: str, kind: Any) -> Any:
    if kind in (int, float, str):
        return kind(text)
    if kind is bool:
        if text not in ("true", "false"):
            raise ValueError("must be true or false")
        return text == "true"
    if kind == Mapping[str, Any]:
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError("must be a JSON object")
        return value
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if kind == tuple[str, ...]:
        return parts
    if any("=" not in part for part in parts):
        raise ValueError("must have the form a=b,c=d")
    return dict(part.split("=", 1) for part in parts)
