"""The store in a bucket. S3 has no rename: an attempt is whole once its last object, `.complete`, is there.

`current` is created with If-None-Match, so that of several attempts at once exactly one is published.
"""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO, Final

from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.layout import zip_order
from recon3d_contract.storage_errors import storing
from recon3d_contract.store.port import Staging, StoredFile, check_names
from recon3d_contract.store.records import current_record, published_attempt, stored_already
from recon3d_contract.store.s3.bucket import Bucket

COMPLETE: Final = ".complete"


class S3Store:
    """Implements recon3d_contract.store.port.Store in a bucket; attempts are staged in a local folder."""

    def __init__(self, bucket: Bucket, scratch: Path | None = None) -> None:
        """`scratch` is where attempts are staged; None is the system's temporary folder."""
        self._bucket, self._scratch = bucket, scratch

    def begin(self, job_uid: str, attempt: int) -> Staging:
        """See Store.begin."""
        check_names(job_uid, attempt)
        if self._is_complete(job_uid, attempt):
            raise stored_already(attempt)
        with storing():
            return Staging(job_uid, attempt, Path(tempfile.mkdtemp(prefix="recon3d-attempt-", dir=self._scratch)))

    def commit(self, staging: Staging) -> None:
        """See Store.commit."""
        at = _at(staging.job_uid, staging.attempt)
        if self._is_complete(staging.job_uid, staging.attempt):
            raise stored_already(staging.attempt)
        files = {}
        for path in sorted(staging.path.rglob("*")):
            if path.is_file() and not path.is_symlink():
                name = path.relative_to(staging.path).as_posix()
                self._bucket.put_file(f"{at}/{name}", path)
                files[name] = path.stat().st_size
        if not self._bucket.create(f"{at}/{COMPLETE}", json.dumps(files).encode()):
            raise stored_already(staging.attempt)
        self.discard(staging)

    def discard(self, staging: Staging) -> None:
        """See Store.discard."""
        shutil.rmtree(staging.path, ignore_errors=True)

    def publish(self, job_uid: str, attempt: int) -> int:
        """See Store.publish."""
        check_names(job_uid, attempt)
        if not self._is_complete(job_uid, attempt):
            raise Recon3dError(Code.JOB_NOT_READY, f"Attempt {attempt} is not complete.")
        self._bucket.create(f"jobs/{job_uid}/current", current_record(attempt))
        published = self.published(job_uid)
        if published is None:
            raise Recon3dError(Code.STORAGE_UNAVAILABLE, "The published attempt cannot be read back.")
        return published

    def published(self, job_uid: str) -> int | None:
        """See Store.published."""
        check_names(job_uid)
        text = self._bucket.get(f"jobs/{job_uid}/current")
        return None if text is None else published_attempt(text)

    def attempts(self, job_uid: str) -> list[int]:
        """See Store.attempts."""
        check_names(job_uid)
        names = self._bucket.folders(f"jobs/{job_uid}/attempts")
        numbers = sorted(int(name) for name in names if name.isascii() and name.isdigit())
        return [number for number in numbers if self._is_complete(job_uid, number)]

    def files(self, job_uid: str, attempt: int) -> list[StoredFile]:
        """See Store.files."""
        check_names(job_uid, attempt)
        listing = self._bucket.get(f"{_at(job_uid, attempt)}/{COMPLETE}")
        if listing is None:
            raise Recon3dError(Code.JOB_NOT_FOUND, f"Attempt {attempt} does not exist.")
        sizes: dict[str, int] = json.loads(listing)
        return [StoredFile(path, sizes[path]) for path in zip_order(sizes)]

    def open(self, job_uid: str, attempt: int, path: str) -> BinaryIO:
        """See Store.open."""
        found = None
        if path in {file.path for file in self.files(job_uid, attempt)}:
            found = self._bucket.open(f"{_at(job_uid, attempt)}/{path}")
        if found is None:
            raise Recon3dError(Code.JOB_NOT_FOUND, "The result has no such file.", {"file": path})
        return found

    def signed_url(self, job_uid: str, attempt: int, path: str, seconds: int) -> str | None:
        """See Store.signed_url."""
        check_names(job_uid, attempt)
        return self._bucket.sign(f"{_at(job_uid, attempt)}/{path}", seconds)

    def _is_complete(self, job_uid: str, attempt: int) -> bool:
        return self._bucket.get(f"{_at(job_uid, attempt)}/{COMPLETE}") is not None


def new_folder(scratch: Path | None) -> Path:
    """Return an empty local folder for what is on its way into the bucket."""
    with storing():
        path = Path(scratch or tempfile.gettempdir()) / f".recon3d-{secrets.token_hex(8)}.partial"
        path.mkdir(parents=True)
    return path


def _at(job_uid: str, attempt: int) -> str:
    return f"jobs/{job_uid}/attempts/{attempt}"
