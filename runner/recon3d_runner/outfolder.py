"""OUT appears whole or not at all.

A run works in a private sibling `.OUT.partial-xxxxxxxx` and renames its `result` folder to OUT at the end:

    .OUT.partial-xxxxxxxx/   locked (flock) by its owner for as long as it lives
        input/  tmp/         gone with the folder
        result/              becomes OUT; changes places with an earlier result in one step

A lock dies with its process, however it died and on whatever machine, so the next run can tell a folder that a
killed run left (and removes it) from one in use. Where OUT is itself a mount point, as with `-v dir:/out`, or its
parent may not be written, the private folder lies inside OUT, and result.json moves last: no result.json, no result.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import secrets
import shutil
import sys
from pathlib import Path
from typing import Final

from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.layout import RESULT, RUN_LOG
from recon3d_contract.spec import ENGINES

from recon3d_runner.storage import storage_error

_OURS: Final = frozenset({RESULT, RUN_LOG, *ENGINES})
_MARK: Final = ".partial-"
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2


def _is_partial(name: str) -> bool:
    return name.startswith(".") and _MARK in name


def _entries(folder: Path) -> list[str]:
    """Names in `folder` that count; a fresh file system's own folder and private ones do not."""
    return sorted(name for name in os.listdir(folder) if name != "lost+found" and not _is_partial(name))


def _is_earlier_result(folder: Path, names: list[str]) -> bool:
    try:
        data = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and {"status", "spec_sha256"} <= data.keys() and set(names) <= _OURS


def check_target(out: Path, *, force: bool, keep: tuple[Path, ...] = ()) -> None:
    """Raise unless OUT may be made: absent, empty, an earlier result, or any other folder with `force`.

    `keep` are paths that must survive, such as the input: a folder that holds one is never replaced. OUTPUT_EXISTS or
    INVALID_REQUEST.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise Recon3dError(Code.OUTPUT_EXISTS, "The output exists and is not a folder.", {"output": out.name})
    names = _entries(out)
    if not names:
        return
    for path in (*keep, Path.cwd(), Path.home()):
        if path == out or out in path.parents:
            raise Recon3dError(
                Code.INVALID_REQUEST,
                "The output folder holds the input, the working folder or the home folder; it is never replaced.",
                {"output": out.name},
            )
    if _is_earlier_result(out, names):
        return
    if not force or os.path.ismount(out):
        raise Recon3dError(
            Code.OUTPUT_EXISTS,
            "The output folder holds files that are not an earlier result.",
            {"output": out.name, "entries": names[:10]},
            "Choose another output, or give --force to replace the whole folder.",
        )


def _try_lock(folder: Path) -> int | None:
    """Return a descriptor that holds the lock of `folder`, or None where another holds it or none can be had."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


def sweep(parent: Path, name: str) -> list[str]:
    """Remove what killed runs for the output `name` left in `parent`; return the names removed."""
    removed: list[str] = []
    with contextlib.suppress(OSError):
        for entry in sorted(os.listdir(parent)):
            if not entry.startswith(f".{name}{_MARK}") or (parent / entry).is_symlink():
                continue
            fd = _try_lock(parent / entry)
            if fd is not None:
                shutil.rmtree(parent / entry, ignore_errors=True)
                os.close(fd)
                removed.append(entry)
    return removed


class OutFolder:
    """The private folder of one run; `commit` makes it OUT, `discard` leaves nothing."""

    def __init__(self, out: Path, root: Path, lock: int, inside: bool) -> None:
        """Use `claim`."""
        self.out = out
        self.root = root
        self._lock = lock
        self._inside = inside

    @classmethod
    def claim(cls, out: Path) -> OutFolder:
        """Make and lock a private folder for OUT (absolute, checked); remove those of killed runs.

        Raises STORAGE_FULL or STORAGE_UNAVAILABLE.
        """
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            inside = out.is_dir() and (os.path.ismount(out) or not os.access(out.parent, os.W_OK))
            parent = out if inside else out.parent
            sweep(parent, out.name)
            for _ in range(100):
                root = parent / f".{out.name}{_MARK}{secrets.token_hex(4)}"
                try:
                    root.mkdir(mode=0o700)
                except FileExistsError:
                    continue
                fd = _try_lock(root)
                # Between mkdir and lock another run may have taken it for a dead one and removed it.
                if fd is not None and root.exists() and os.path.samestat(os.fstat(fd), root.stat()):
                    for name in ("input", "tmp", "result"):
                        (root / name).mkdir()
                    return cls(out, root, fd, inside)
                if fd is not None:
                    os.close(fd)
                elif root.exists():  # a file system without locks: nobody else can take it for dead either
                    for name in ("input", "tmp", "result"):
                        (root / name).mkdir()
                    return cls(out, root, -1, inside)
        except OSError as error:
            raise storage_error(error, "the output") from error
        raise Recon3dError(Code.STORAGE_UNAVAILABLE, "Cannot make a private folder beside the output.")

    @property
    def input(self) -> Path:
        """For the checked copy of the input."""
        return self.root / "input"

    @property
    def tmp(self) -> Path:
        """For temporary files."""
        return self.root / "tmp"

    @property
    def result(self) -> Path:
        """What becomes OUT."""
        return self.root / "result"

    def commit(self) -> None:
        """Make `result` OUT. Raises STORAGE_FULL or STORAGE_UNAVAILABLE; OUT is then as it was."""
        try:
            os.chmod(self.result, 0o777 & ~_umask())
            if self._inside:
                self._move_inside()
            elif not self.out.exists() or not os.listdir(self.out):
                os.rename(self.result, self.out)
            elif not _exchange(self.result, self.out):
                # Without an exchange in one step, a kill between these two leaves no OUT, never half of one.
                os.rename(self.out, self.root / "old")
                os.rename(self.result, self.out)
        except OSError as error:
            raise storage_error(error, "the output") from error
        self.discard()

    def _move_inside(self) -> None:
        (self.out / RESULT).unlink(missing_ok=True)
        for name in _entries(self.out):
            path = self.out / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        for name in sorted(os.listdir(self.result), key=lambda name: (name == RESULT, name)):
            os.rename(self.result / name, self.out / name)

    def discard(self) -> None:
        """Remove the private folder; a thread or process that is just dying may still write into it."""
        for _ in range(5):
            shutil.rmtree(self.root, ignore_errors=True)
            if not self.root.exists():
                break
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current


def _exchange(first: Path, second: Path) -> bool:
    """Let two folders change places in one step; False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number))
