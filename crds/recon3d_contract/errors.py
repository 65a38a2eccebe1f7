"""The exception that carries one of the codes of codes.py, and the form in which users see it.

    Recon3dError(code, message, details, suggestion)    raised anywhere
      .info() -> ErrorInfo                              in result.json, status, termination message, REST

Nothing internal leaks: texts and details lose absolute paths (the last component stays) and tracebacks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from numbers import Integral, Real
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from recon3d_contract.codes import TABLE, Category, Code, Row

__all__ = ["EXIT_OK", "TABLE", "Category", "Code", "ErrorInfo", "Recon3dError", "Row", "exit_code", "scrub"]

EXIT_OK: Final = 0

_PATH = re.compile(r"(?<![\w:/.])(?:[A-Za-z]:\\|/)(?:[^\s/\\'\"<>|:]+[/\\])+([^\s/\\'\"<>|:]*)")
_TRACEBACK = re.compile(r"\s*Traceback \(most recent call last\).*", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]+")
_MAX_TEXT: Final = 2000


def scrub(text: str) -> str:
    """Return `text` without tracebacks, control characters and all but the last part of absolute paths."""
    text = _CONTROL.sub(" ", _TRACEBACK.sub("", text))
    return _PATH.sub(lambda match: match.group(1) or "a folder", text)[:_MAX_TEXT]


def _flat(value: Any, depth: int = 0) -> Any:
    """Make `value` a flat JSON value: scalars, a list of scalars, a dict of scalars, a list of such dicts."""
    if isinstance(value, Enum):
        return _flat(value.value, depth)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Integral):  # NumPy's scalars are registered as numbers too
        return int(value)
    if isinstance(value, Real):
        number = float(value)
        return number if abs(number) < float("inf") else str(number)
    if depth < 2 and isinstance(value, Mapping):
        return {scrub(str(key)): _flat(item, 2) for key, item in value.items()}
    if depth < 1 and isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
        return [_flat(item, 1) for item in items]
    return scrub(str(value))


class ErrorInfo(BaseModel):
    """An error as users see it, in files, in a job's status and over HTTP."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    code: Code
    category: Category
    message: str
    details: dict[str, Any] = Field(default_factory=dict)
    """Which file, which view, which number: flat JSON values."""
    suggestion: str
    retryable: bool


class Recon3dError(Exception):
    """Any failure that has a code. `str(error)` is the message for people."""

    def __init__(
        self,
        code: Code | str,
        message: str | None = None,
        details: Mapping[str, object] | None = None,
        suggestion: str | None = None,
    ) -> None:
        """Take message and suggestion from the table where they are not given; scrub all texts."""
        self.code = Code(code)
        row = TABLE[self.code]
        self.message = scrub(message) if message else row.message
        self.suggestion = scrub(suggestion) if suggestion else row.suggestion
        self.details: dict[str, Any] = {scrub(str(k)): _flat(v) for k, v in (details or {}).items()}
        super().__init__(self.message)

    def __reduce__(self) -> tuple[type[Recon3dError], tuple[str, str, dict[str, Any], str]]:
        """Survive pickling between processes."""
        return type(self), (self.code.value, self.message, self.details, self.suggestion)

    @property
    def row(self) -> Row:
        """The table's row of this error."""
        return TABLE[self.code]

    @property
    def exit_code(self) -> int:
        """The process exit code."""
        return self.row.exit_code

    def info(self) -> ErrorInfo:
        """Return the error in the form that is stored and sent."""
        return ErrorInfo(
            code=self.code,
            category=self.row.category,
            message=self.message,
            details=self.details,
            suggestion=self.suggestion,
            retryable=self.row.retryable,
        )


def exit_code(code: Code | str) -> int:
    """Return the process exit code of `code`."""
    return TABLE[Code(code)].exit_code
