"""A folder as untrusted input: opened beneath itself without following any link."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final

from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.inputs.names import Parts, is_litter
from recon3d_contract.inputs.problems import Problem, error_of

MAX_ENTRIES: Final = 1000
MAX_LEVELS: Final = 3
"""One wrapping folder, the kind's folder, the file."""
_PIECE: Final = 64 * 1024


class Folder:
    """The plain files of a folder, at most MAX_LEVELS deep. Raises INVALID_INPUT for links and special files."""

    def __init__(self, root: Path) -> None:
        """Open `root`, which may itself be a link: it is the caller's own word."""
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        self._sizes: dict[Parts, int] = {}
        self._count = 0
        problems: list[Problem] = []
        try:
            self._scan(self._root, (), problems)
            if problems:
                raise error_of(problems)
        except BaseException:
            os.close(self._root)
            raise

    def __enter__(self) -> Folder:
        """Return the folder; it is closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        os.close(self._root)

    def paths(self) -> list[Parts]:
        """All plain files."""
        return list(self._sizes)

    def size(self, parts: Parts) -> int:
        """Bytes of a file when it was listed."""
        return self._sizes[parts]

    def stream(self, parts: Parts) -> Iterator[bytes]:
        """Yield a file's bytes; no part of its path is followed if it has become a link meanwhile."""
        with ExitStack() as stack:
            at = self._root
            for part in parts[:-1]:
                at = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
                stack.callback(os.close, at)
            file = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
            stack.callback(os.close, file)
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise Recon3dError(Code.INVALID_INPUT, "is not a plain file")
            while data := os.read(file, _PIECE):
                yield data

    def _scan(self, at: int, parts: Parts, problems: list[Problem]) -> None:
        with os.scandir(at) as entries:
            for entry in entries:
                self._count += 1
                if self._count > MAX_ENTRIES:
                    text = f"the folder holds more than {MAX_ENTRIES} files"
                    raise error_of([Problem(None, None, Code.INVALID_INPUT, text)])
                inner = (*parts, entry.name)
                if is_litter(inner):
                    continue
                self._note(entry, at, inner, problems)

    def _note(self, entry: os.DirEntry[str], at: int, inner: Parts, problems: list[Problem]) -> None:
        name = "/".join(inner)
        found = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            problems.append(Problem(name, None, Code.INVALID_INPUT, f"{name} is a symbolic link"))
        elif stat.S_ISREG(found.st_mode):
            self._sizes[inner] = found.st_size
        elif not stat.S_ISDIR(found.st_mode):
            problems.append(Problem(name, None, Code.INVALID_INPUT, f"{name} is not a plain file"))
        elif len(inner) < MAX_LEVELS:
            child = os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            try:
                self._scan(child, inner, problems)
            finally:
                os.close(child)
