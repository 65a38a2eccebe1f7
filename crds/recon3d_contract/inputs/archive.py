"""A strict reader of untrusted ZIP archives: the central directory first, then single files as streams.

Stricter than zipfile on purpose, so that no two readers can see different contents: nothing before or after
the archive, no overlaps, no ZIP64 (nothing here is that large), only stored and deflated files, local headers
that agree with the directory, and every size checked both as declared and as streamed.
"""

from __future__ import annotations

import os
import stat
import struct
import unicodedata
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.inputs.names import Parts, is_litter
from recon3d_contract.inputs.problems import Problem, error_of

TOTAL_LIMIT: Final = 200 * 1024 * 1024
"""Bytes of all files of an input together, and of an archive."""
ARCHIVE_LIMIT: Final = TOTAL_LIMIT
MAX_ENTRIES: Final = 1000
MAX_RATIO: Final = 200
"""Of a file's size to its compressed size, from RATIO_FLOOR bytes on; a blank PNG stays far below."""
RATIO_FLOOR: Final = 1024 * 1024
_MAX_DIRECTORY: Final = 1024 * 1024
_MAX_NAME: Final = 512
_PIECE: Final = 64 * 1024
_NESTED: Final = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".jar", ".lz4", ".cab")
_END = struct.Struct("<4s4H2IH")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")


@dataclass(frozen=True)
class Entry:
    """A regular file of the archive."""

    parts: Parts
    raw_name: bytes
    method: int
    crc: int
    compressed: int
    size: int
    offset: int
    flags: int

    @property
    def name(self) -> str:
        """As it stands in the archive."""
        return "/".join(self.parts)


def _refuse(text: str) -> Recon3dError:
    return error_of([Problem(None, None, Code.INVALID_ARCHIVE, text)])


def read_directory(file: BinaryIO) -> list[Entry]:
    """Return the archive's regular files. Raises INVALID_ARCHIVE or UPLOAD_TOO_LARGE with all that is wrong."""
    size = file.seek(0, os.SEEK_END)
    if size > ARCHIVE_LIMIT:
        text = f"the archive is {size} bytes, more than {ARCHIVE_LIMIT}"
        raise error_of([Problem(None, None, Code.UPLOAD_TOO_LARGE, text)])
    start, end, count = _find_end(file, size)
    file.seek(start)
    directory = file.read(end - start)
    entries: list[Entry] = []
    problems: list[Problem] = []
    seen: dict[str, str] = {}
    at = 0
    for _ in range(count):
        if len(directory) - at < _ENTRY.size or directory[at : at + 4] != b"PK\x01\x02":
            raise _refuse("the archive's directory is damaged")
        at = _read_entry(directory, at, seen, entries, problems)
    if at != len(directory):
        raise _refuse("the archive's directory is damaged")
    total = sum(entry.size for entry in entries)
    if total > TOTAL_LIMIT:
        text = f"the archive's files are {total} bytes together, more than {TOTAL_LIMIT}"
        problems.append(Problem(None, None, Code.UPLOAD_TOO_LARGE, text))
    if not problems:
        _check_places(file, entries, start)
    if problems:
        raise error_of(problems)
    return entries


def _find_end(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """Return start and end of the central directory, and its number of entries."""
    tail_at = max(0, size - _END.size - 0xFFFF)
    file.seek(tail_at)
    tail = file.read(size - tail_at)
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0:
        if len(tail) - at >= _END.size:
            record = _END.unpack_from(tail, at)
            if at + _END.size + record[7] == len(tail):
                break
        at = tail.rfind(b"PK\x05\x06", 0, at)
    if at < 0:
        raise _refuse("this is not a ZIP archive, or it is cut off")
    _, disk, first_disk, here, count, length, start, _ = record
    if disk or first_disk or here != count:
        raise _refuse("the archive is split into several files")
    if count == 0xFFFF or 0xFFFFFFFF in (length, start):
        raise _refuse("the archive is in the ZIP64 format, for larger archives than are accepted")
    if count > MAX_ENTRIES or length > _MAX_DIRECTORY:
        raise _refuse(f"the archive lists {count} files; at most {MAX_ENTRIES} are accepted")
    if start + length != tail_at + at:
        raise _refuse("the archive is damaged, or something stands before or inside it")
    return start, start + length, count


def _read_entry(directory: bytes, at: int, seen: dict[str, str], entries: list[Entry], problems: list[Problem]) -> int:
    """Check the entry at `at`, append it or what is wrong with it, and return where the next one begins."""
    (_, _, _, flags, method, _, _, crc, compressed, size, n, m, k, _, _, attributes, offset) = _ENTRY.unpack_from(
        directory, at
    )
    raw = directory[at + _ENTRY.size : at + _ENTRY.size + n]
    after: int = at + _ENTRY.size + n + m + k
    if len(raw) != n or after > len(directory):
        raise _refuse("the archive's directory is damaged")
    try:
        name = raw.decode("utf-8" if flags & 0x800 else "cp437")
    except UnicodeDecodeError:
        raise _refuse("the archive holds a file name that is not UTF-8") from None
    folder = name.endswith("/")
    parts = tuple(name.rstrip("/").split("/"))
    mode = attributes >> 16
    wrong = _wrong_name(name, parts) or _wrong_kind(name, flags, method, mode, folder)
    if wrong is None and 0xFFFFFFFF in (size, compressed, offset):
        wrong = "has ZIP64 sizes"
    if wrong is None and folder and size:
        wrong = "is a folder that holds data"
    if wrong is None and size >= RATIO_FLOOR and size > MAX_RATIO * max(compressed, 1):
        wrong = f"unpacks to {size // max(compressed, 1)} times its size (a ZIP bomb?)"
    key = unicodedata.normalize("NFC", "/".join(parts)).casefold()
    if wrong is None and key in seen and not (folder and seen[key].endswith("/")):
        wrong = f"is there twice (also as {seen[key]})" if seen[key] != name else "is there twice"
    seen.setdefault(key, name)
    if wrong is not None:
        problems.append(Problem(name[:200], None, Code.INVALID_ARCHIVE, f"{_shown(name)} {wrong}"))
    elif not folder:
        entries.append(Entry(parts, raw, method, crc, compressed, size, offset, flags))
    return after


def _shown(name: str) -> str:
    return ascii(name[:120])[1:-1] if not name.isprintable() else name[:120]


def _wrong_name(name: str, parts: Parts) -> str | None:
    if name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        return "has an absolute path"
    if "\\" in name:
        return "has a backslash in its path"
    if ".." in parts:
        return "leads out of the archive (..)"
    if "" in parts or "." in parts or len(name) > _MAX_NAME or any(ord(char) < 32 for char in name):
        return "has an invalid name"
    return None


def _wrong_kind(name: str, flags: int, method: int, mode: int, folder: bool) -> str | None:
    kind = stat.S_IFMT(mode)
    if flags & 0x2041:
        return "is encrypted"
    if stat.S_ISLNK(mode):
        return "is a symbolic link"
    if kind not in (0, stat.S_IFDIR if folder else stat.S_IFREG):
        return "is not a plain file"
    if not folder and name.casefold().endswith(_NESTED) and not is_litter((name.rsplit("/", 1)[-1],)):
        return "is an archive inside the archive"
    if method not in (0, 8):
        return f"is compressed in a way that is not read (method {method})"
    return None


def _check_places(file: BinaryIO, entries: list[Entry], directory_at: int) -> None:
    """Compare each local header with the directory and refuse files that overlap."""
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.offset):
        data_at = _data_at(file, entry)
        if entry.offset < end or data_at + entry.compressed > directory_at:
            raise _refuse(f"{_shown(entry.name)} overlaps another part of the archive")
        end = data_at + entry.compressed


def _data_at(file: BinaryIO, entry: Entry) -> int:
    file.seek(entry.offset)
    header = file.read(_LOCAL.size)
    if len(header) == _LOCAL.size:
        magic, _, flags, method, _, _, _, _, _, n, m = _LOCAL.unpack(header)
        same = (flags ^ entry.flags) & 0x2041 == 0 and method == entry.method
        if magic == b"PK\x03\x04" and same and file.read(n) == entry.raw_name:
            return entry.offset + _LOCAL.size + int(n) + int(m)
    raise _refuse(f"{_shown(entry.name)} is not where the archive's directory says")


def stream(file: BinaryIO, entry: Entry) -> Iterator[bytes]:
    """Yield the file's bytes in pieces. Raises INVALID_ARCHIVE where they are not as declared."""
    at, left, produced, crc = _data_at(file, entry), entry.compressed, 0, 0
    inflate = zlib.decompressobj(-15) if entry.method == 8 else None
    damaged = _refuse(f"{_shown(entry.name)} is damaged in the archive")
    while left:
        file.seek(at)
        data = file.read(min(left, _PIECE))
        if not data:
            raise damaged
        at += len(data)
        left -= len(data)
        for piece in _inflated(inflate, data, damaged):
            produced += len(piece)
            if produced > entry.size:
                raise _refuse(f"{_shown(entry.name)} is larger than the archive says ({entry.size} bytes)")
            crc = zlib.crc32(piece, crc)
            yield piece
    if inflate is not None and not inflate.eof:
        raise damaged
    if produced != entry.size:
        raise _refuse(f"{_shown(entry.name)} is {produced} bytes, not {entry.size} as the archive says")
    if crc != entry.crc:
        raise damaged


def _inflated(inflate: zlib._Decompress | None, data: bytes, damaged: Recon3dError) -> Iterator[bytes]:
    if inflate is None:
        yield data
        return
    out = b""
    while data or len(out) == _PIECE:
        if inflate.eof:
            if data:
                raise damaged
            return
        try:
            out = inflate.decompress(data, _PIECE)
        except zlib.error:
            raise damaged from None
        data = inflate.unconsumed_tail or inflate.unused_data
        if out:
            yield out
