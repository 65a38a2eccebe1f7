"""A ZIP of stored (not compressed) files whose every byte is known by its place: so it has a length, and any range of
it can be sent without making it first.

Pictures and GLB do not get smaller by compression. The checksums that the archive needs come from reading each file
once; they are kept, since an attempt's files never change. No ZIP64: a result is far below 4 GiB.
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
_LIMIT: Final = 0xFFFFFFFF
_LOCAL: Final = struct.Struct("<4s5H3I2H")
_ENTRY: Final = struct.Struct("<4s6H3I5H2I")
_END: Final = struct.Struct("<4s4H2IH")
_VERSION: Final = 20
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
            facts = (member.crc, member.bytes, member.bytes)
            local = _LOCAL.pack(b"PK\x03\x04", _VERSION, _UTF8, 0, 0, _DATE, *facts, len(name), 0) + name
            directory.append(
                _ENTRY.pack(
                    b"PK\x01\x02", _UNIX | _VERSION, _VERSION, _UTF8, 0, 0, _DATE, *facts, len(name), 0, 0, 0, 0,
                    _MODE, min(at, _LIMIT),
                )
                + name
            )  # fmt: skip
            self._parts += [_Part(len(local), data=local), _Part(member.bytes, path=member.path)]
            at += len(local) + member.bytes
        listing = b"".join(directory)
        end = _END.pack(b"PK\x05\x06", 0, 0, len(members), len(members), len(listing), min(at, _LIMIT), 0)
        self._parts.append(_Part(len(listing) + len(end), data=listing + end))
        self.bytes = at + len(listing) + len(end)
        if self.bytes > _LIMIT:
            raise Recon3dError(Code.INTERNAL, "The result is too large for one archive; fetch its files singly.")
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
