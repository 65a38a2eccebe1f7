"""The store in a folder: a laptop's disk, or a volume that several Pods mount.

An attempt becomes visible by one rename, `current` by one hard link that fails if it exists. Both are flushed
to the disk before they count. Where the file system has no hard links, `current` is created exclusively and
then written, so a reader may find it empty for a moment.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.layout import RESULT, zip_order
from recon3d_contract.storage_errors import storing
from recon3d_contract.store.durable import ALREADY, flush, flush_tree, write_new
from recon3d_contract.store.port import Staging, StoredFile, check_names
from recon3d_contract.store.records import current_record, published_attempt, stored_already

ROOM: Final = 64 << 20
"""Bytes that must be free when an attempt begins: what a large result takes, so that nobody computes in vain."""
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class FolderStore:
    """Implements recon3d_contract.store.port.Store beneath one folder."""

    def __init__(self, root: Path) -> None:
        """Use `root`, which is made when it is first written to."""
        self._root = root

    def begin(self, job_uid: str, attempt: int) -> Staging:
        """See Store.begin; the folder lies beside the attempts, under a name that is never listed."""
        check_names(job_uid, attempt)
        attempts = self._attempts(job_uid)
        if (attempts / str(attempt)).exists():
            raise stored_already(attempt)
        path = attempts / f".{attempt}-{secrets.token_hex(8)}.partial"
        with storing():
            path.mkdir(parents=True)
            free = shutil.disk_usage(path).free
        staging = Staging(job_uid, attempt, path)
        if free < ROOM:
            self.discard(staging)
            raise Recon3dError(Code.STORAGE_FULL, details={"free_bytes": free, "needed_bytes": ROOM})
        return staging

    def commit(self, staging: Staging) -> None:
        """See Store.commit."""
        target = self._attempts(staging.job_uid) / str(staging.attempt)
        with storing():
            flush_tree(staging.path)
            try:
                staging.path.rename(target)
            except OSError as error:
                if error.errno in ALREADY:
                    raise stored_already(staging.attempt) from None
                raise
            flush(target.parent)

    def discard(self, staging: Staging) -> None:
        """See Store.discard."""
        shutil.rmtree(staging.path, ignore_errors=True)

    def publish(self, job_uid: str, attempt: int) -> int:
        """See Store.publish."""
        check_names(job_uid, attempt)
        current = self._job(job_uid) / "current"
        if not (self._attempts(job_uid) / str(attempt) / RESULT).is_file():
            raise Recon3dError(Code.JOB_NOT_READY, f"Attempt {attempt} is not complete.")
        with storing():
            self._create(current, current_record(attempt))
        published = self.published(job_uid)
        if published is None:
            raise Recon3dError(Code.STORAGE_UNAVAILABLE, "The published attempt cannot be read back.")
        return published

    @staticmethod
    def _create(current: Path, content: bytes) -> None:
        """Create `current` with `content`, unless it exists."""
        draft = current.with_name(f".current-{secrets.token_hex(8)}")
        try:
            write_new(draft, content)
            os.link(draft, current)
        except FileExistsError:
            return
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            with suppress(FileExistsError):
                write_new(current, content)
        finally:
            draft.unlink(missing_ok=True)
        flush(current.parent)

    def published(self, job_uid: str) -> int | None:
        """See Store.published."""
        check_names(job_uid)
        with storing():
            try:
                text = (self._job(job_uid) / "current").read_bytes()[:1000]
            except FileNotFoundError:
                return None
        return published_attempt(text)

    def attempts(self, job_uid: str) -> list[int]:
        """See Store.attempts."""
        check_names(job_uid)
        folder = self._attempts(job_uid)
        with storing():
            names = os.listdir(folder) if folder.is_dir() else []
        return sorted(int(name) for name in names if name.isascii() and name.isdigit())

    def files(self, job_uid: str, attempt: int) -> list[StoredFile]:
        """See Store.files; links are not listed."""
        check_names(job_uid, attempt)
        root = self._attempts(job_uid) / str(attempt)
        if not root.is_dir():
            raise Recon3dError(Code.JOB_NOT_FOUND, f"Attempt {attempt} does not exist.")
        with storing():
            sizes = dict(_walk(root, ""))
        return [StoredFile(path, sizes[path]) for path in zip_order(sizes)]

    def open(self, job_uid: str, attempt: int, path: str) -> BinaryIO:
        """See Store.open; nothing outside the attempt can be opened, and no link is followed."""
        if path not in {file.path for file in self.files(job_uid, attempt)}:
            raise Recon3dError(Code.JOB_NOT_FOUND, "The result has no such file.", {"file": path})
        with storing():
            full = self._attempts(job_uid) / str(attempt) / path
            return os.fdopen(os.open(full, os.O_RDONLY | os.O_NOFOLLOW), "rb")

    def signed_url(self, job_uid: str, attempt: int, path: str, seconds: int) -> str | None:  # noqa: ARG002
        """See Store.signed_url: a folder has no addresses."""
        return None

    def _job(self, job_uid: str) -> Path:
        return self._root / "jobs" / job_uid

    def _attempts(self, job_uid: str) -> Path:
        return self._job(job_uid) / "attempts"


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{prefix}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(folder / entry.name, f"{name}/")
            elif entry.is_file(follow_symlinks=False):
                yield name, entry.stat(follow_symlinks=False).st_size
