"""The ZIP whose every byte is known by its place."""

from __future__ import annotations

import io
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recon3d_api.results.zipped import Archive, Checksums, Member
from recon3d_contract.errors import Recon3dError

FILES = {"result.json": b"{}", "nvdiffrec/mesh.glb": bytes(range(256)) * 40, "empty": b"", "ü.txt": b"text"}


def archive(files: dict[str, bytes] = FILES) -> Archive:
    return Archive([Member(name, len(data), zlib.crc32(data)) for name, data in files.items()], "job")


def read(start: int, stop: int) -> bytes:
    return b"".join(archive().read(start, stop, lambda path: io.BytesIO(FILES[path])))


WHOLE = read(0, 10**9)


def test_it_is_a_zip_with_exactly_the_files():
    assert len(WHOLE) == archive().bytes
    with zipfile.ZipFile(io.BytesIO(WHOLE)) as opened:
        assert opened.testzip() is None
        assert {name.removeprefix("job/"): opened.read(name) for name in opened.namelist()} == FILES


@settings(deadline=None)
@given(st.integers(0, len(WHOLE)), st.integers(0, len(WHOLE)))
def test_every_range_is_that_part_of_the_whole(a, b):
    start, stop = min(a, b), max(a, b)
    assert read(start, stop) == WHOLE[start:stop]


def test_the_etag_changes_with_the_files():
    assert archive().etag == archive().etag
    assert archive({**FILES, "empty": b"x"}).etag != archive().etag


def test_a_file_that_has_become_shorter_is_told():
    with pytest.raises(Recon3dError, match="shorter"):
        list(archive().read(0, 10**9, lambda _: io.BytesIO(b"")))


def test_a_checksum_is_read_once():
    opened = []

    def open_file(path: str) -> io.BytesIO:
        opened.append(path)
        return io.BytesIO(b"text")

    sums = Checksums()
    assert sums.of("u", 1, "a", open_file) == sums.of("u", 1, "a", open_file) == zlib.crc32(b"text")
    assert opened == ["a"]


LARGE = 5 * 2**30
SPARSE = {"a.bin": LARGE, "result.json": 2, "b.bin": 2**32 - 1}
"""A file beyond 4 GiB, a small one that begins beyond it, and one whose size is the mark itself."""


class Sparse(io.RawIOBase):
    """A file of zeros that nobody has to store, ending in a known word."""

    def __init__(self, size: int) -> None:
        self.size, self.at = size, 0

    def seek(self, at: int, whence: int = 0) -> int:
        self.at = at if whence == 0 else (self.at + at if whence == 1 else self.size + at)
        return self.at

    def tell(self) -> int:
        return self.at

    def read(self, count: int = -1) -> bytes:
        count = self.size - self.at if count < 0 else min(count, self.size - self.at)
        data = bytearray(count)
        for index, byte in enumerate(b"{}"):
            place = self.size - 2 + index - self.at
            if 0 <= place < count:
                data[place] = byte
        self.at += count
        return bytes(data)


class Ranged(io.RawIOBase):
    """The archive as a client sees it that asks for ranges: nothing else is ever read."""

    def __init__(self, archive: Archive) -> None:
        self.archive, self.at = archive, 0

    def seekable(self) -> bool:
        return True

    def seek(self, at: int, whence: int = 0) -> int:
        self.at = at if whence == 0 else (self.at + at if whence == 1 else self.archive.bytes + at)
        return self.at

    def tell(self) -> int:
        return self.at

    def read(self, count: int = -1) -> bytes:
        stop = self.archive.bytes if count < 0 else min(self.at + count, self.archive.bytes)
        data = b"".join(self.archive.read(self.at, stop, lambda path: Sparse(SPARSE[path])))
        self.at += len(data)
        return data


def test_beyond_four_gibibytes_it_is_a_zip64():
    made = Archive([Member(name, size, zlib.crc32(b"{}") if size == 2 else 0) for name, size in SPARSE.items()], "job")
    assert made.bytes > LARGE + 2**32
    with zipfile.ZipFile(Ranged(made)) as opened:
        assert {info.filename: info.file_size for info in opened.infolist()} == {
            f"job/{name}": size for name, size in SPARSE.items()
        }
        assert opened.getinfo("job/result.json").header_offset > LARGE
        assert opened.read("job/result.json") == b"{}", "its place, header and checksum hold"
        with opened.open("job/b.bin") as file:
            assert file.read(3) == b"\0\0\0"


def test_more_files_than_the_first_format_counts():
    members = [Member(f"{index:05}", 0, 0) for index in range(65_535)]
    whole = Archive(members, "job")
    text = b"".join(whole.read(0, whole.bytes, lambda _: io.BytesIO()))
    with zipfile.ZipFile(io.BytesIO(text)) as opened:
        assert len(opened.namelist()) == 65_535


def test_a_small_archive_needs_no_zip64():
    assert b"PK\x06\x06" not in WHOLE
