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
