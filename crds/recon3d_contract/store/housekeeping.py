"""What a sweep needs of a store: what is there, how old it is, how it goes. What of it goes is not decided here."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from recon3d_contract.storage_errors import storing
from recon3d_contract.store.port import check_names
from recon3d_contract.store.uploads import check_id

_TRASH: Final = ".trash"
_PARTIAL: Final = ".partial"


@dataclass(frozen=True)
class Kept:
    """A job's folder or an upload."""

    name: str
    """The job's uid or the upload's id."""
    age_s: float
    """Since it last changed."""


class Housekeeping(Protocol):
    """All raise STORAGE_UNAVAILABLE. What is gone already is no error."""

    def jobs(self) -> list[Kept]:
        """Return the jobs that have files."""

    def uploads(self) -> list[Kept]:
        """Return the uploads."""

    def remove_job(self, job_uid: str) -> None:
        """Remove all files of a job."""

    def remove_attempt(self, job_uid: str, attempt: int) -> None:
        """Remove an attempt."""

    def remove_upload(self, upload: str, older_than_s: float) -> bool:
        """Remove an upload if it is still that old; return whether it went."""

    def remove_unfinished(self, older_than_s: float, job_uid: str | None = None) -> int:
        """Remove what uploads, attempts and removals left half done that long ago; return how many.

        With `job_uid`, only that job's attempts.
        """


class FolderHousekeeping:
    """Implements Housekeeping beneath one folder. What goes is renamed first, so that nobody sees a part of it."""

    def __init__(self, root: Path) -> None:
        """Use `root`, the store's folder."""
        self._jobs, self._inputs = root / "jobs", root / "inputs"

    def jobs(self) -> list[Kept]:
        """See Housekeeping.jobs."""
        return [Kept(path.name, _age(self._last_change(path))) for path in _folders(self._jobs, hidden=False)]

    def uploads(self) -> list[Kept]:
        """See Housekeeping.uploads."""
        return [Kept(path.name, _age(_changed(path))) for path in _folders(self._inputs, hidden=False)]

    def remove_job(self, job_uid: str) -> None:
        """See Housekeeping.remove_job."""
        check_names(job_uid)
        self._remove(self._jobs / job_uid)

    def remove_attempt(self, job_uid: str, attempt: int) -> None:
        """See Housekeeping.remove_attempt."""
        check_names(job_uid, attempt)
        self._remove(self._jobs / job_uid / "attempts" / str(attempt))

    def remove_upload(self, upload: str, older_than_s: float) -> bool:
        """See Housekeeping.remove_upload."""
        check_id(upload)
        path = self._inputs / upload
        try:
            if _age(path.stat().st_mtime) < older_than_s:
                return False
        except FileNotFoundError:
            return False
        self._remove(path)
        return True

    def remove_unfinished(self, older_than_s: float, job_uid: str | None = None) -> int:
        """See Housekeeping.remove_unfinished."""
        places = [] if job_uid else [self._inputs, self._jobs]
        for job in [self._jobs / job_uid] if job_uid else _folders(self._jobs, hidden=False):
            places += [job, job / "attempts"]
        removed = 0
        for place in places:
            for path in _folders(place, hidden=True):
                old = path.name.endswith(_TRASH) or _age(self._last_change(path)) >= older_than_s
                if old and path.name.endswith((_TRASH, _PARTIAL)):
                    shutil.rmtree(path, ignore_errors=True)
                    removed += not path.exists()
        return removed

    def _remove(self, path: Path) -> None:
        trash = path.with_name(f".{path.name}-{secrets.token_hex(4)}{_TRASH}")
        with storing():
            try:
                path.rename(trash)
            except FileNotFoundError:
                return
        shutil.rmtree(trash, ignore_errors=True)

    def _last_change(self, folder: Path) -> float:
        """The newest change of the folder and of the folders in it."""
        times = [_changed(folder)]
        for path in _folders(folder, hidden=None):
            times.append(_changed(path))
            times += [_changed(inner) for inner in _folders(path, hidden=None)]
        return max(times)


def _folders(place: Path, *, hidden: bool | None) -> Iterator[Path]:
    with storing(), suppress(FileNotFoundError, NotADirectoryError), os.scandir(place) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and hidden in (None, entry.name.startswith(".")):
                yield place / entry.name


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()  # it has just gone, or been renamed


def _age(changed: float) -> float:
    return max(0.0, time.time() - changed)
