"""One file over HTTPS into its place: resumed where an earlier try stopped, there only once its content is right."""

from __future__ import annotations

import hashlib
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from recon3d_runner.engines.reconviagen.digests import file_sha256

TIMEOUT_S = 60.0
TRIES = 5
_PIECE = 1 << 20


class FetchError(Exception):
    """What could not be fetched, and why, for the person who builds the image."""


def _open(url: str, start: int = 0) -> http.client.HTTPResponse:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost"):
        raise FetchError(f"{url}: only https is fetched")
    headers = {"User-Agent": "recon3d-weights", **({"Range": f"bytes={start}-"} if start else {})}
    answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)  # noqa: S310
    if not isinstance(answer, http.client.HTTPResponse):
        raise FetchError(f"{url}: no answer over HTTP")
    return answer


def read_json(url: str) -> Any:
    """Return the JSON at `url`. FetchError where there is none."""
    try:
        with _open(url) as answer:
            return json.load(answer)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise FetchError(f"{url}: {error}") from error


def git_sha1(path: Path) -> str:
    """Return git's name for the content of a file."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def fetch_file(url: str, path: Path, *, size: int | None, sha256: str | None, git: str | None = None) -> str:
    """Bring `url` to `path` unless the right content is there already; returns its SHA-256.

    What has come so far stays in `<path>.part` when a try fails. Raises FetchError after TRIES tries, or where the
    whole content is not the one with `sha256` (or git's name `git`).
    """
    if path.is_file() and _right(path, size, sha256, git):
        return file_sha256(path)
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    problem = ""
    for _ in range(TRIES):
        try:
            _continue(url, part, size)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code in (401, 403, 404):
                raise FetchError(f"{url}: {error}") from error
            problem = str(error)
            continue
        if _right(part, size, sha256, git):
            part.replace(path)
            return file_sha256(path)
        problem = f"its content has SHA-256 {file_sha256(part)}, not {sha256 or 'what git names ' + str(git)}"
        part.unlink()
    raise FetchError(f"{url}: {problem}")


def _continue(url: str, part: Path, size: int | None) -> None:
    start = part.stat().st_size if part.is_file() else 0
    if size is not None and start > size:
        part.unlink()
        start = 0
    if size is not None and start == size and size:
        return
    with _open(url, start) as answer:
        # A server that does not know ranges sends the whole again.
        mode = "ab" if start and answer.status == http.HTTPStatus.PARTIAL_CONTENT else "wb"
        file = part.open(mode)
        with file:
            while piece := answer.read(_PIECE):
                file.write(piece)
    if size is not None and part.stat().st_size < size:
        raise ConnectionError(f"ended after {part.stat().st_size} of {size} bytes")


def _right(path: Path, size: int | None, sha256: str | None, git: str | None) -> bool:
    if size is not None and path.stat().st_size != size:
        return False
    if sha256 is not None:
        return file_sha256(path) == sha256
    return git is None or git_sha1(path) == git
