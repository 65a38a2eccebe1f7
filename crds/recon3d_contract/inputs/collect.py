"""An input whose files arrive one by one, in pieces, as in an upload: checked and written while they come.

Constant memory. A file that is wrong is passed over, so that at the end everything wrong is told at once; only what
is too large altogether ends the collection at once.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Final

from recon3d_contract.conventions import ViewName
from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.inputs.archive import TOTAL_LIMIT
from recon3d_contract.inputs.check import notices, uneven, writing_to
from recon3d_contract.inputs.folder import MAX_ENTRIES
from recon3d_contract.inputs.manifest import InputFile, InputManifest, canonical, in_order
from recon3d_contract.inputs.names import Parts, assign, place
from recon3d_contract.inputs.png import Kind, PngChecker, PngInfo
from recon3d_contract.inputs.problems import Problem, error_of
from recon3d_contract.storage_errors import storing

_ENDS_ALL: Final = (Code.STORAGE_FULL, Code.STORAGE_UNAVAILABLE)


@dataclass
class _Taken:
    """One file that could be a view."""

    parts: Parts
    kind: Kind
    view: ViewName
    path: Path
    info: PngInfo | None = None
    problem: Problem | None = None


class Collector:
    """For each file `begin`, `feed`, `end`; then `finish`. Canonical copies come to lie in `dest`.

    Raises UPLOAD_TOO_LARGE, INVALID_INPUT, STORAGE_FULL or STORAGE_UNAVAILABLE at once, all else in `finish`.
    Whoever gives up in between calls `close` and removes `dest`.
    """

    def __init__(self, dest: Path, *, limit: int = TOTAL_LIMIT) -> None:
        """Write beneath `dest`, an empty folder."""
        self._dest, self._limit, self._total = dest, limit, 0
        self._paths: list[Parts] = []
        self._taken: list[_Taken] = []
        self._now: _Taken | None = None
        self._checker: PngChecker | None = None
        self._file: FileIO | None = None

    @property
    def count(self) -> int:
        """Files begun so far."""
        return len(self._paths)

    def begin(self, parts: Parts) -> None:
        """A new file, called so by whoever sends it; the name decides its view and nothing else."""
        self._paths.append(parts)
        if len(self._paths) > MAX_ENTRIES:
            raise error_of([Problem(None, None, Code.INVALID_INPUT, f"there are more than {MAX_ENTRIES} files")])
        found = place(parts)
        if found is None:
            return
        taken = _Taken(parts, *found, self._dest / f".{len(self._paths)}.part")
        self._taken.append(taken)
        with storing():
            self._file = FileIO(taken.path, "xb")
        self._now = taken
        self._checker = PngChecker(taken.kind, sink=writing_to(self._file))

    def feed(self, data: bytes) -> None:
        """The file's next bytes."""
        self._total += len(data)
        if self._total > self._limit:
            text = f"the files are more than {self._limit} bytes together"
            raise error_of([Problem(None, None, Code.UPLOAD_TOO_LARGE, text)])
        if self._checker is not None:
            try:
                self._checker.feed(data)
            except Recon3dError as error:
                self._wrong(error)

    def end(self) -> None:
        """The file is whole."""
        if self._checker is not None and self._now is not None:
            try:
                self._now.info = self._checker.finish()
            except Recon3dError as error:
                self._wrong(error)
        self.close()

    def finish(self) -> InputManifest:
        """Return what has arrived. Raises one error with everything wrong."""
        found = assign(self._paths)
        problems = list(found.problems)
        chosen: dict[tuple[Kind, ViewName], _Taken] = {}
        for key, parts in found.chosen.items():
            chosen[key] = next(taken for taken in self._taken if taken.parts == parts)
            problem = chosen[key].problem
            if problem is not None:
                problems.append(problem)
        files = [
            InputFile.of(kind, view, "/".join(taken.parts), taken.info)
            for (kind, view), taken in sorted(chosen.items())
            if taken.info is not None
        ]
        problems += uneven(files)
        if problems:
            raise error_of(problems)
        with storing():
            for (kind, view), taken in chosen.items():
                target = self._dest / canonical(kind, view)
                target.parent.mkdir(exist_ok=True)
                taken.path.rename(target)
            for taken in self._taken:
                taken.path.unlink(missing_ok=True)
        return InputManifest(in_order(files), tuple(notices(found, files)))

    def close(self) -> None:
        """Close the file in hand; no error if there is none."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        self._file = self._checker = self._now = None

    def _wrong(self, error: Recon3dError) -> None:
        """Note what is wrong with the file in hand, and pass over the rest of it."""
        if error.code in _ENDS_ALL or self._now is None:
            raise error
        name = "/".join(self._now.parts)
        self._now.problem = Problem(name, self._now.view, error.code, f"{name} {error.message}")
        path = self._now.path
        self.close()
        with suppress(OSError):
            path.unlink()
