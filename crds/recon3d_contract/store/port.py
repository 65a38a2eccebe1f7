"""The store as its users see it: attempts of jobs, one of which is published, once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from recon3d_contract.errors import Code, Recon3dError

_UID: Final = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_]{0,63}")


@dataclass(frozen=True)
class Staging:
    """A local folder in which an attempt's files are written before they become visible."""

    job_uid: str
    attempt: int
    path: Path


@dataclass(frozen=True)
class StoredFile:
    """A file of an attempt."""

    path: str
    """Relative to the attempt, with /."""
    bytes: int


class Store(Protocol):
    """jobs/<job-uid>/attempts/<n>/ and jobs/<job-uid>/current.

    All raise Recon3dError: STORAGE_FULL, STORAGE_UNAVAILABLE, INVALID_REQUEST for impossible names, and what
    each method names. Implementations are tested by one contract test.
    """

    def begin(self, job_uid: str, attempt: int) -> Staging:
        """Return an empty staging folder for attempt `attempt` >= 1. OUTPUT_EXISTS if it is stored already.

        STORAGE_FULL at once where the store can tell that a result would find no room.
        """

    def commit(self, staging: Staging) -> None:
        """Store the attempt, wholly or not at all, durably. OUTPUT_EXISTS if it is stored already."""

    def discard(self, staging: Staging) -> None:
        """Remove a staging folder; no error if it is gone."""

    def publish(self, job_uid: str, attempt: int) -> int:
        """Make a stored attempt the job's result unless there is one; return the one that is published.

        However many call it at once, all get the same answer. JOB_NOT_READY if `attempt` is not stored.
        """

    def published(self, job_uid: str) -> int | None:
        """Return the published attempt."""

    def attempts(self, job_uid: str) -> list[int]:
        """Return the stored attempts, in order."""

    def files(self, job_uid: str, attempt: int) -> list[StoredFile]:
        """Return an attempt's files in the ZIP's order. JOB_NOT_FOUND if it is not stored."""

    def open(self, job_uid: str, attempt: int, path: str) -> BinaryIO:
        """Open a file of an attempt for reading. JOB_NOT_FOUND if it does not exist."""

    def signed_url(self, job_uid: str, attempt: int, path: str, seconds: int) -> str | None:
        """Return an address at which anybody can read the file for `seconds`; None where the store has none."""


def check_names(job_uid: str, attempt: int = 1) -> None:
    """Raise INVALID_REQUEST unless both can be parts of a path or key."""
    if not _UID.fullmatch(job_uid):
        raise Recon3dError(Code.INVALID_REQUEST, "The job's uid is not valid.")
    if not 1 <= attempt <= 1_000_000:
        raise Recon3dError(Code.INVALID_REQUEST, "The attempt's number is not valid.")
