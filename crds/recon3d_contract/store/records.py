"""What every store says alike: the record of the published attempt, and that an attempt is there already."""

from __future__ import annotations

import json

from recon3d_contract.errors import Code, Recon3dError


def current_record(attempt: int) -> bytes:
    """Return what `current` holds when `attempt` is the published one."""
    return json.dumps({"attempt": attempt}).encode()


def published_attempt(record: bytes) -> int:
    """Return the attempt that `current` names. Raises STORAGE_UNAVAILABLE where the record is damaged."""
    try:
        attempt = json.loads(record)["attempt"]
    except (ValueError, KeyError, TypeError):
        attempt = None
    if type(attempt) is not int:
        raise Recon3dError(Code.STORAGE_UNAVAILABLE, "The record of the published attempt is damaged.")
    return attempt


def stored_already(attempt: int) -> Recon3dError:
    """Return the error of an attempt that is committed a second time."""
    return Recon3dError(Code.OUTPUT_EXISTS, f"Attempt {attempt} is stored already.", {"attempt": attempt})
