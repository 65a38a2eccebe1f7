"""Collecting everything that is wrong with an input into one error."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from recon3d_contract.conventions import ViewName
from recon3d_contract.errors import Code, Recon3dError

# The error's own code is the first of these that occurs: what stops everything else comes first.
_PRECEDENCE: Final = (
    Code.STORAGE_FULL,
    Code.STORAGE_UNAVAILABLE,
    Code.INVALID_ARCHIVE,
    Code.UPLOAD_TOO_LARGE,
    Code.FILE_TOO_LARGE,
    Code.INVALID_INPUT,
    Code.INVALID_IMAGE,
    Code.WRONG_RESOLUTION,
    Code.MISSING_VIEW,
)
_SHOWN: Final = 6
_KEPT: Final = 40


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    file: str | None
    view: ViewName | None
    code: Code
    text: str
    """A whole sentence without its full stop."""


def error_of(problems: Iterable[Problem]) -> Recon3dError:
    """Return the one error that lists `problems`, at least one."""
    found = list(problems)
    code = min((problem.code for problem in found), key=_PRECEDENCE.index)
    ordered = sorted(found, key=lambda problem: _PRECEDENCE.index(problem.code))
    message = "; ".join(problem.text for problem in ordered[:_SHOWN])
    if len(found) > _SHOWN:
        message += f"; and {len(found) - _SHOWN} more"
    if len(found) > 1:
        message = f"{len(found)} problems: {message}"
    listed = [
        {"file": problem.file, "view": problem.view, "code": problem.code.value, "problem": problem.text}
        for problem in ordered[:_KEPT]
    ]
    details: dict[str, object] = {"problems": listed}
    if len(found) > _KEPT:
        details["more"] = len(found) - _KEPT
    return Recon3dError(code, message, details)
