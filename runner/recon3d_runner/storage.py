"""What goes wrong with a disk, as errors of the contract; and files written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path
from typing import Final

from recon3d_contract.errors import Code, Recon3dError

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_full(error: BaseException | None) -> bool:
    """Whether `error`, or an error that led to it, says that a disk or its quota is full."""
    for _ in range(16):
        if error is None:
            return False
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def storage_error(error: OSError, what: str) -> Recon3dError:
    """Return the contract's error for a failed write of `what`, a word for people such as `the output`."""
    if is_full(error):
        return Recon3dError(Code.STORAGE_FULL, f"There is no space left for {what}.", {"reason": error.strerror})
    reason = error.strerror or type(error).__name__
    return Recon3dError(Code.STORAGE_UNAVAILABLE, f"Cannot write {what}: {reason}.", {"reason": reason})


def empty(folder: Path) -> None:
    """Remove what is in `folder`, as far as that is possible."""
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write `text` to `path` through a temporary sibling; a kill or a full disk leaves the old file or none."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
