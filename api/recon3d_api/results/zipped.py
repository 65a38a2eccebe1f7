"""A ZIP of stored (not compressed) files whose every byte is known by its place: so it has a length, and any range of
it can be sent without making it first.

Pictures and GLB do not get smaller by compression. The checksums that the archive needs come from reading each file
once; they are kept, since an attempt's files never change. What has no room in the fields of the first format (a file
or a place beyond 4 GiB, more than 65,534 files) stands in those of ZIP64; a smaller archive has none of them.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from recon3d_contract.errors import Code, Recon3dError

PIECE: Final = 1024 * 1024
_LONG, _SHORT = 0xFFFFFFFF, 0xFFFF
"""In a field: the value stands in the ZIP64 part."""
_LOCAL: Final = struct.Struct("<4s5H3I2H")
_ENTRY: Final = struct.Struct("<4s6H3I5H2I")
_END: Final = struct.Struct("<4s4H2IH")
_END64: Final = struct.Struct("<4sQ2H2I4Q")
_LOCATOR: Final = struct.Struct("<4sIQI")
_VERSION: Final = 20
_VERSION64: Final = 45
_UTF8: Final = 0x800
# 1980-01-01 00:00, so that the same files make the same archive.
_DATE: Final = 0x21
_MODE: Final = 0o100644 << 16
_UNIX: Final = 3 << 8

Open = Callable[[str], BinaryIO]


@dataclass(frozen=True)
class Member:
    """A file of the archive."""

    path: str
    bytes: int
    crc: int


@dataclass(frozen=True)
class _Part:
    """A stretch of the archive: bytes, or a whole file."""

    size: int
    data: bytes | None = None
    path: str | None = None


class Archive:
    """The archive of `members`, never all in memory."""

    def __init__(self, members: Sequence[Member], folder: str) -> None:
        """`folder` is the one that everything unpacks into."""
        self._parts: list[_Part] = []
        directory: list[bytes] = []
        at = 0
        for member in members:
            name = f"{folder}/{member.path}".encode()
            local = _local(member, name)
            directory.append(_entry(member, name, at))
            self._parts += [_Part(len(local), data=local), _Part(member.bytes, path=member.path)]
            at += len(local) + member.bytes
        listing = b"".join(directory)
        tail = listing + _end(len(members), len(listing), at)
        self._parts.append(_Part(len(tail), data=tail))
        self.bytes = at + len(tail)
        facts_of_all = "".join(f"{m.crc:08x} {m.bytes} {m.path}\n" for m in members)
        self.etag = f'"{hashlib.sha256((folder + facts_of_all).encode()).hexdigest()[:24]}"'

    def read(self, start: int, stop: int, open_file: Open) -> Iterator[bytes]:
        """Yield the archive's bytes from `start` to before `stop`."""
        at = 0
        for part in self._parts:
            first, last = max(start - at, 0), min(stop - at, part.size)
            if first < last:
                if part.data is not None:
                    yield part.data[first:last]
                elif part.path is not None:
                    with open_file(part.path) as file:
                        yield from pieces(file, first, last)
            at += part.size
            if at >= stop:
                return


def _local(member: Member, name: bytes) -> bytes:
    """Return what stands before a file; of a large one, both sizes stand in the extra field."""
    large = member.bytes >= _LONG
    version, size = (_VERSION64, _LONG) if large else (_VERSION, member.bytes)
    extra = _extra(member.bytes, member.bytes) if large else b""
    facts = (member.crc, size, size, len(name), len(extra))
    return _LOCAL.pack(b"PK\x03\x04", version, _UTF8, 0, 0, _DATE, *facts) + name + extra


def _entry(member: Member, name: bytes, at: int) -> bytes:
    """Return a file's entry in the listing; `at` is where its local part begins."""
    sizes = [member.bytes] * 2
    extra = _extra(*(value for value in (*sizes, at) if value >= _LONG))
    version = _VERSION64 if extra else _VERSION
    facts = (member.crc, *(min(size, _LONG) for size in sizes), len(name), len(extra), 0, 0, 0, _MODE, min(at, _LONG))
    return _ENTRY.pack(b"PK\x01\x02", _UNIX | version, version, _UTF8, 0, 0, _DATE, *facts) + name + extra


def _extra(*values: int) -> bytes:
    return struct.pack(f"<2H{len(values)}Q", 1, 8 * len(values), *values) if values else b""


def _end(count: int, length: int, at: int) -> bytes:
    """Return the end of the archive; the listing of `count` files has `length` bytes and begins `at`."""
    large = b""
    if count >= _SHORT or length >= _LONG or at >= _LONG:
        size = _END64.size - 12  # of what follows this field
        facts = (size, _UNIX | _VERSION64, _VERSION64, 0, 0, count, count, length, at)
        large = _END64.pack(b"PK\x06\x06", *facts) + _LOCATOR.pack(b"PK\x06\x07", 0, at + length, 1)
    number = min(count, _SHORT)
    return large + _END.pack(b"PK\x05\x06", 0, 0, number, number, min(length, _LONG), min(at, _LONG), 0)


def pieces(file: BinaryIO, start: int, stop: int) -> Iterator[bytes]:
    """Yield a file's bytes from `start` to before `stop`. Raises STORAGE_UNAVAILABLE if it is shorter."""
    file.seek(start)
    left = stop - start
    while left:
        data = file.read(min(left, PIECE))
        if not data:
            raise Recon3dError(Code.STORAGE_UNAVAILABLE, "A file of the result is shorter than it was.")
        left -= len(data)
        yield data


class Checksums:
    """CRC-32 of files that never change, each read once; the least used are forgotten."""

    def __init__(self, most: int = 50_000) -> None:
        self._known: OrderedDict[tuple[str, int, str], int] = OrderedDict()
        self._most = most

    def of(self, uid: str, attempt: int, path: str, open_file: Open) -> int:
        """Return a file's checksum."""
        key = (uid, attempt, path)
        known = self._known.get(key)
        if known is None:
            known = 0
            with open_file(path) as file:
                while data := file.read(PIECE):
                    known = zlib.crc32(data, known)
            self._known[key] = known
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        return known
