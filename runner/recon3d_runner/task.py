"""What a supervisor is given: the job, its circumstances, and the folders to work in."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from recon3d_contract.errors import Recon3dError
from recon3d_contract.spec import JobSpec

from recon3d_runner.parts import Share
from recon3d_runner.stop import StoppedError


class Folders(Protocol):
    """Where a run works; outfolder.OutFolder is one."""

    @property
    def input(self) -> Path:
        """For the checked copy of the input."""

    @property
    def tmp(self) -> Path:
        """For temporary files."""

    @property
    def result(self) -> Path:
        """For the files of the result."""


@dataclass(frozen=True)
class Task:
    """A job and its circumstances."""

    spec: JobSpec
    device: str
    """auto, cuda or cpu."""
    environment: Mapping[str, str]
    licences_accepted: Sequence[str] = ()
    job_uid: str = "local"
    attempt: int = 1
    share: Share = field(default_factory=Share)
    """Which of the job's engines are run here."""


def now() -> str:
    """Return the time as RFC 3339, UTC."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def error_of_stop(stopped: StoppedError) -> Recon3dError:
    """Return the contract's error for a run that had to end."""
    return Recon3dError(stopped.code, details=stopped.details)
