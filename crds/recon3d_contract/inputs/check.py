"""check_source and extract: a folder or ZIP, read once, every image checked as it streams past."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from recon3d_contract.conventions import ViewName
from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.inputs import archive
from recon3d_contract.inputs.folder import Folder
from recon3d_contract.inputs.manifest import (
    FOLDERS,
    STANDARD_SIZE,
    InputFile,
    InputManifest,
    InputWarning,
    canonical,
    in_order,
)
from recon3d_contract.inputs.names import Assignment, Parts, assign
from recon3d_contract.inputs.png import FILE_LIMIT, Kind, PngChecker, PngInfo
from recon3d_contract.inputs.problems import Problem, error_of
from recon3d_contract.storage_errors import reason, storage_error

_NAMED: Final = 5


class _Source(Protocol):
    """A folder or an archive."""

    def paths(self) -> list[Parts]: ...

    def size(self, parts: Parts) -> int: ...

    def stream(self, parts: Parts) -> Iterator[bytes]: ...


class _Archive:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._entries = {entry.parts: entry for entry in archive.read_directory(file)}

    def paths(self) -> list[Parts]:
        return list(self._entries)

    def size(self, parts: Parts) -> int:
        return self._entries[parts].size

    def stream(self, parts: Parts) -> Iterator[bytes]:
        return archive.stream(self._file, self._entries[parts])


def check_source(path: str | os.PathLike[str]) -> InputManifest:
    """Check a folder or ZIP without writing anything.

    Raises Recon3dError that lists everything wrong: MISSING_VIEW, INVALID_IMAGE, WRONG_RESOLUTION,
    FILE_TOO_LARGE, UPLOAD_TOO_LARGE, INVALID_ARCHIVE, INVALID_INPUT or INPUT_NOT_FOUND.
    """
    return _read(Path(path), None)


def extract(source: str | os.PathLike[str], dest: str | os.PathLike[str]) -> InputManifest:
    """Check `source` and write dest/multi_views/<view>.png, dest/depth_renders/<view>.png, and nothing else.

    `dest` is made if it does not exist. Copies hold the pixels only, no metadata. On an error whatever was
    written is removed. Raises as check_source, and STORAGE_FULL or STORAGE_UNAVAILABLE.
    """
    writer = _Writer(Path(dest))
    try:
        return _read(Path(source), writer)
    except BaseException:
        writer.undo()
        raise


class _Writer:
    """Writes canonical files beneath one folder, never over an existing one."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._made: list[Path] = []

    def open(self, name: str) -> FileIO:
        path = self._root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
            file = os.fdopen(os.open(path, flags, 0o644), "wb", buffering=0)
        except OSError as error:
            raise storage_error(error) from None
        self._made.append(path)
        return file

    def undo(self) -> None:
        for path in self._made:
            with suppress(OSError):
                path.unlink()
        for folder in FOLDERS.values():
            with suppress(OSError):
                (self._root / folder).rmdir()


def _read(path: Path, writer: _Writer | None) -> InputManifest:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            with Folder(path) as folder:
                return _check(folder, writer)
        if stat.S_ISREG(mode):
            with path.open("rb") as file:
                return _check(_Archive(file), writer)
    except (FileNotFoundError, NotADirectoryError):
        raise Recon3dError(Code.INPUT_NOT_FOUND, f"The input {path.name} does not exist.") from None
    except OSError as error:
        text = f"The input {path.name} cannot be read: {reason(error)}."
        raise Recon3dError(Code.INPUT_NOT_FOUND, text) from None
    raise Recon3dError(Code.INVALID_INPUT, f"The input {path.name} is neither a folder nor a file.")


def _check(source: _Source, writer: _Writer | None) -> InputManifest:
    found = assign(source.paths())
    problems = list(found.problems)
    total = sum(source.size(parts) for parts in found.chosen.values())
    if total > archive.TOTAL_LIMIT:
        text = f"the images are {total} bytes together, more than {archive.TOTAL_LIMIT}"
        raise error_of([*problems, Problem(None, None, Code.UPLOAD_TOO_LARGE, text)])
    files: list[InputFile] = []
    for (kind, view), parts in sorted(found.chosen.items()):
        try:
            files.append(_one(source, kind, view, parts, writer if not problems else None))
        except Recon3dError as error:
            if error.code in (Code.STORAGE_FULL, Code.STORAGE_UNAVAILABLE):
                raise
            name = "/".join(parts)
            text = error.message if error.code is Code.INVALID_ARCHIVE else f"{name} {error.message}"
            problems.append(Problem(name, view, error.code, text))
    problems += uneven(files)
    if problems:
        raise error_of(problems)
    return InputManifest(in_order(files), tuple(notices(found, files)))


def _one(source: _Source, kind: Kind, view: ViewName, parts: Parts, writer: _Writer | None) -> InputFile:
    """Check one image, and write its canonical copy where there is a writer."""
    if source.size(parts) > FILE_LIMIT:
        raise Recon3dError(
            Code.FILE_TOO_LARGE, f"is {source.size(parts)} bytes, more than {FILE_LIMIT}", {"limit": FILE_LIMIT}
        )
    if writer is None:
        return InputFile.of(kind, view, "/".join(parts), _fed(PngChecker(kind), source.stream(parts)))
    with writer.open(canonical(kind, view)) as file:
        info = _fed(PngChecker(kind, sink=writing_to(file)), source.stream(parts))
    return InputFile.of(kind, view, "/".join(parts), info)


def _fed(checker: PngChecker, pieces: Iterator[bytes]) -> PngInfo:
    for piece in pieces:
        checker.feed(piece)
    return checker.finish()


def writing_to(file: FileIO) -> Callable[[bytes], None]:
    """A sink that tells a failure to write from a failure to read. Unbuffered: closing cannot fail late."""

    def write(data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[file.write(left) :]
            except OSError as error:
                raise storage_error(error) from None

    return write


def uneven(files: list[InputFile]) -> Iterator[Problem]:
    """All images of one kind have one size; name those that differ from the most common one."""
    for kind in FOLDERS:
        sizes = Counter(file.width for file in files if file.kind == kind)
        usual = max(sizes, key=lambda size: (sizes[size], size), default=0)
        for file in files:
            if file.kind == kind and file.width != usual:
                text = f"{file.source} is {file.width}x{file.width}, others are {usual}x{usual}"
                yield Problem(file.source, file.view, Code.WRONG_RESOLUTION, text)


def notices(found: Assignment, files: list[InputFile]) -> Iterator[InputWarning]:
    """What is odd about accepted files and does no harm."""
    for kind, standard in STANDARD_SIZE.items():
        size = next((file.width for file in files if file.kind == kind), standard)
        if size != standard:
            what = "views" if kind == "view" else "depth renders"
            yield InputWarning("unusual_size", f"The {what} are {size}x{size}; the standard is {standard}x{standard}.")
    if not any(file.kind == "depth" for file in files):
        yield InputWarning("no_depth", "There are no depth renders: silhouettes alone carry the shape.")
    if found.ignored:
        names = ", ".join("/".join(parts) for parts in sorted(found.ignored)[:_NAMED])
        more = f" and {len(found.ignored) - _NAMED} more" if len(found.ignored) > _NAMED else ""
        yield InputWarning("ignored_files", f"Not used: {names}{more}.")
    renamed = [file for file in files if not f"/{file.source}".endswith(f"/{file.name}")]
    if renamed:
        names = ", ".join(f"{file.source} as {file.name}" for file in renamed[:_NAMED])
        more = f" and {len(renamed) - _NAMED} more" if len(renamed) > _NAMED else ""
        yield InputWarning("renamed_files", f"Read {names}{more}.")
