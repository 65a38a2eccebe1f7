"""Uploads: inputs/<id>/ holds a checked input as its six or twelve canonical PNGs.

The id is made of what the files are, so that the same pictures are stored once, however often they are sent.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from pathlib import Path
from typing import Final, Protocol

from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.inputs import InputManifest
from recon3d_contract.storage_errors import storing
from recon3d_contract.store.durable import ALREADY, flush, flush_tree

_ID: Final = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_]{7,63}")
_TRIES: Final = 5


def upload_id(manifest: InputManifest) -> str:
    """Return the id of an input: 32 hexadecimal digits."""
    return manifest.sha256[:32]


def check_id(upload: str) -> None:
    """Raise INPUT_NOT_FOUND unless `upload` can be an id, and so be part of a path or key."""
    if not _ID.fullmatch(upload):
        raise Recon3dError(Code.INPUT_NOT_FOUND, "There is no such upload.")


class Uploads(Protocol):
    """The store's inputs/. All raise STORAGE_FULL or STORAGE_UNAVAILABLE."""

    def begin(self) -> Path:
        """Return an empty local folder to write an upload's files to."""

    def commit(self, folder: Path, upload: str) -> None:
        """Store the folder's files as `upload`, wholly or not at all; if it is stored already, renew its age."""

    def discard(self, folder: Path) -> None:
        """Remove a folder that was begun; no error if it is gone."""

    def renew(self, upload: str) -> bool:
        """Whether `upload` is stored; if it is, its age begins anew."""


class FolderUploads:
    """Implements Uploads beneath one folder; an upload becomes visible by one rename."""

    def __init__(self, root: Path) -> None:
        """Use `root`, the store's folder."""
        self._inputs = root / "inputs"

    def begin(self) -> Path:
        """See Uploads.begin; the folder has a name that is never taken for an upload."""
        path = self._inputs / f".{secrets.token_hex(8)}.partial"
        with storing():
            path.mkdir(parents=True)
        return path

    def commit(self, folder: Path, upload: str) -> None:
        """See Uploads.commit."""
        check_id(upload)
        target = self._inputs / upload
        with storing():
            flush_tree(folder)
            for _ in range(_TRIES):  # a sweep may take away what is there already, between our two steps
                try:
                    folder.rename(target)
                except OSError as error:
                    if error.errno not in ALREADY:
                        raise
                else:
                    flush(self._inputs)
                    return
                try:
                    os.utime(target)
                except FileNotFoundError:
                    continue
                self.discard(folder)
                return
        raise Recon3dError(Code.STORAGE_UNAVAILABLE, "The upload could not be stored.")

    def discard(self, folder: Path) -> None:
        """See Uploads.discard."""
        shutil.rmtree(folder, ignore_errors=True)

    def renew(self, upload: str) -> bool:
        """See Uploads.renew."""
        check_id(upload)
        with storing():
            try:
                os.utime(self._inputs / upload)
            except FileNotFoundError:
                return False
        return True
