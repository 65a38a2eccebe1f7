"""SHA-256 of files and of source trees, so that what runs is what was pinned. Standard library only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_PIECE = 1 << 22


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def files_sha256(paths: Sequence[Path]) -> list[str]:
    """Return the SHA-256 of several files; hashing lets go of the interpreter lock, so that all cores take part."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(file_sha256, paths))


def tree_sha256(root: Path, folders: Iterable[str]) -> str:
    """Return one SHA-256 over the names and contents of `folders` of `root`: single files, and Python files below."""
    total = hashlib.sha256()
    for folder in folders:
        found = [root / folder] if (root / folder).is_file() else (root / folder).rglob("*.py")
        for path in sorted(found, key=lambda p: p.relative_to(root).as_posix()):
            total.update(f"{file_sha256(path)}  {path.relative_to(root).as_posix()}\n".encode())
    return total.hexdigest()
