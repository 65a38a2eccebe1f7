"""A result onto this machine: as a folder, or as the ZIP that it comes in. A broken download goes on where it broke."""

from __future__ import annotations

import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import httpx
from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.storage_errors import storing

from recon3d_api.client.http import ApiClient

_TRIES: Final = 6
_PIECE: Final = 1024 * 1024

Tell = Callable[[int, int], None]
"""(bytes so far, bytes in all)"""


def download(client: ApiClient, job: str, target: Path, *, as_zip: bool, tell: Tell) -> Path:
    """Fetch a job's result to `target`, which must not exist. Raises OUTPUT_EXISTS, JOB_NOT_READY, STORAGE_FULL ..."""
    if target.exists():
        raise Recon3dError(Code.OUTPUT_EXISTS, f"{target.name} is there already.", suggestion="Choose another --out.")
    part = target.with_name(f".{target.name}.part")
    with storing():
        target.parent.mkdir(parents=True, exist_ok=True)
    _fetch(client, f"/jobs/{job}/download", part, tell)
    with storing():
        if as_zip:
            part.rename(target)
            return target
        return _unpack(part, target)


def _fetch(client: ApiClient, path: str, part: Path, tell: Tell) -> None:
    etag, failures = "", 0
    part.unlink(missing_ok=True)
    while True:
        have = part.stat().st_size if part.exists() else 0
        headers = {"Range": f"bytes={have}-", "If-Range": etag} if have and etag else {}
        try:
            with client.stream(path, headers) as answer:
                going_on = answer.status_code == 206
                etag = answer.headers.get("etag", "")
                done = have if going_on else 0
                total = done + int(answer.headers["content-length"])
                with storing(), part.open("ab" if going_on else "wb") as file:
                    for data in answer.iter_bytes(_PIECE):
                        file.write(data)
                        done += len(data)
                        tell(done, total)
            if done == total:
                return
        except httpx.TransportError as error:
            failures += 1
            if failures >= _TRIES:
                text = f"The download broke off ({type(error).__name__})."
                raise Recon3dError(Code.CLUSTER_UNAVAILABLE, text) from None
            time.sleep(0.5 * failures)


def _unpack(archive: Path, target: Path) -> Path:
    """Unpack into a folder beside `target`, without the archive's own top folder, and rename it at the end."""
    folder = target.with_name(f".{target.name}.unpacked")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                parts = entry.filename.split("/")[1:]
                if not parts or any(part in ("", ".", "..") or "\\" in part for part in parts):
                    raise Recon3dError(Code.INVALID_ARCHIVE, "The service sent an archive that is not a result.")
                path = folder.joinpath(*parts)
                path.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(entry) as source, path.open("wb") as file:
                    shutil.copyfileobj(source, file, _PIECE)
        folder.rename(target)
    except zipfile.BadZipFile:
        raise Recon3dError(Code.INVALID_ARCHIVE, "The archive came damaged; try again.") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        archive.unlink(missing_ok=True)
    return target
