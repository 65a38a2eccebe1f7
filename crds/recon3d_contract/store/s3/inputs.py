"""Uploads in a bucket, a sweep's housekeeping there, and inputs that a job names by their address."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from pathlib import Path

from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.inputs import ARCHIVE_LIMIT
from recon3d_contract.store.housekeeping import Kept
from recon3d_contract.store.port import check_names
from recon3d_contract.store.reference import Reference
from recon3d_contract.store.s3.bucket import Bucket, Found
from recon3d_contract.store.s3.store import COMPLETE, new_folder
from recon3d_contract.store.uploads import check_id


class S3Uploads:
    """Implements Uploads: files first, then `.complete`, which is written anew to renew the age."""

    def __init__(self, bucket: Bucket, scratch: Path | None = None) -> None:
        self._bucket, self._scratch = bucket, scratch

    def begin(self) -> Path:
        """See Uploads.begin."""
        return new_folder(self._scratch)

    def commit(self, folder: Path, upload: str) -> None:
        """See Uploads.commit."""
        check_id(upload)
        if not self.renew(upload):
            names = sorted(path for path in folder.rglob("*.png") if path.is_file())
            for path in names:
                self._bucket.put_file(f"inputs/{upload}/{path.relative_to(folder).as_posix()}", path)
            self._bucket.put(f"inputs/{upload}/{COMPLETE}", json.dumps(len(names)).encode())
        self.discard(folder)

    def discard(self, folder: Path) -> None:
        """See Uploads.discard."""
        shutil.rmtree(folder, ignore_errors=True)

    def renew(self, upload: str) -> bool:
        """See Uploads.renew."""
        check_id(upload)
        mark = self._bucket.get(f"inputs/{upload}/{COMPLETE}")
        if mark is None:
            return False
        self._bucket.put(f"inputs/{upload}/{COMPLETE}", mark)
        return True


class S3Housekeeping:
    """Implements Housekeeping in a bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def jobs(self) -> list[Kept]:
        """See Housekeeping.jobs."""
        return self._kept("jobs")

    def uploads(self) -> list[Kept]:
        """See Housekeeping.uploads."""
        return self._kept("inputs")

    def remove_job(self, job_uid: str) -> None:
        """See Housekeeping.remove_job."""
        check_names(job_uid)
        self._bucket.remove(f"jobs/{job_uid}")

    def remove_attempt(self, job_uid: str, attempt: int) -> None:
        """See Housekeeping.remove_attempt."""
        check_names(job_uid, attempt)
        self._bucket.remove(f"jobs/{job_uid}/attempts/{attempt}")

    def remove_upload(self, upload: str, older_than_s: float) -> bool:
        """See Housekeeping.remove_upload."""
        check_id(upload)
        found = list(self._bucket.below(f"inputs/{upload}"))
        if not found or _age(found) < older_than_s:
            return False
        # The mark goes first: from then on nobody takes the upload for whole.
        self._bucket.remove(f"inputs/{upload}/{COMPLETE}")
        self._bucket.remove(f"inputs/{upload}")
        return True

    def remove_unfinished(self, older_than_s: float, job_uid: str | None = None) -> int:
        """See Housekeeping.remove_unfinished: attempts that never became whole; uploads are named by their id."""
        removed = 0
        for uid in [job_uid] if job_uid else self._bucket.folders("jobs"):
            for attempt in self._bucket.folders(f"jobs/{uid}/attempts"):
                at = f"jobs/{uid}/attempts/{attempt}"
                found = list(self._bucket.below(at))
                if all(each.key != COMPLETE for each in found) and found and _age(found) >= older_than_s:
                    self._bucket.remove(at)
                    removed += 1
        return removed

    def _kept(self, place: str) -> list[Kept]:
        by_name: dict[str, list[Found]] = {}
        for found in self._bucket.below(place):
            by_name.setdefault(found.key.partition("/")[0], []).append(found)
        return [Kept(name, _age(found)) for name, found in by_name.items()]


def fetch_input(reference: Reference, scratch: Path) -> Path:
    """Bring an input to `scratch`: a ZIP, or all PNG files below a prefix. Raises INPUT_NOT_FOUND, UPLOAD_TOO_LARGE."""
    bucket_name, _, key = reference.value.partition("/")
    parent, _, name = key.rstrip("/").rpartition("/")
    bucket = Bucket(Reference("s3", f"{bucket_name}/{parent}" if parent else f"{bucket_name}/"))
    found = [each for each in bucket.below(name) if each.key.lower().endswith(".png")]
    if sum(each.bytes for each in found) > ARCHIVE_LIMIT:
        raise Recon3dError(Code.UPLOAD_TOO_LARGE)
    if found:
        for each in found:
            parts = each.key.split("/")
            if len(parts) > 3 or any(part in ("", ".", "..") for part in parts):
                continue
            target = scratch.joinpath("input", *parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            bucket.fetch(f"{name}/{each.key}", target)
        return scratch / "input"
    source = bucket.open(name)
    if source is None:
        raise Recon3dError(Code.INPUT_NOT_FOUND, "The S3 input does not exist.")
    target, size = scratch / "input.zip", 0
    with source, target.open("xb") as file:
        while data := source.read(1024 * 1024):
            size += len(data)
            if size > ARCHIVE_LIMIT:
                raise Recon3dError(Code.UPLOAD_TOO_LARGE)
            file.write(data)
    return target


def _age(found: list[Found]) -> float:
    newest = max(each.changed for each in found)
    return max(0.0, (dt.datetime.now(dt.timezone.utc) - newest).total_seconds())
