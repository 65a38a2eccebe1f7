"""Files that are on the disk before they count."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

ALREADY: Final = (errno.EEXIST, errno.ENOTEMPTY)
"""What a rename onto a folder that is there says."""


def write_new(path: Path, content: bytes) -> None:
    """Create `path` with `content`. Raises FileExistsError."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.write(file, content)
        os.fsync(file)
    finally:
        os.close(file)


def flush(path: Path) -> None:
    """Flush a file or a folder's entries to the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def flush_tree(root: Path) -> None:
    """Flush a folder and all plain files beneath it."""
    for entry in root.iterdir():
        mode = entry.lstat().st_mode
        if stat.S_ISDIR(mode):
            flush_tree(entry)
        elif stat.S_ISREG(mode):
            flush(entry)
    flush(root)
