"""Hostile and damaged ZIP archives: each is refused with its own message, and nothing is written."""

import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from contract_pngs import DEPTH, VIEW, image_set, refused, write_folder, write_zip
from hypothesis import given, settings
from hypothesis import strategies as st
from recon3d_contract.errors import Recon3dError
from recon3d_contract.inputs import archive


def link_entry(made: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("multi_views/link.png")
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    made.writestr(info, "/etc/passwd")


def device_entry(made: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("multi_views/device")
    info.external_attr = (stat.S_IFCHR | 0o666) << 16
    made.writestr(info, "")


def again(made: zipfile.ZipFile) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        made.writestr("multi_views/front.png", VIEW)


def bzip(made: zipfile.ZipFile) -> None:
    made.writestr("multi_views/extra.png", VIEW, zipfile.ZIP_BZIP2)


HOSTILE_ENTRIES: dict[str, tuple[Callable[[zipfile.ZipFile], object], str, str]] = {
    "traversal": (lambda z: z.writestr("../../evil.png", b"x"), "INVALID_ARCHIVE", "leads out of the archive"),
    "inner traversal": (lambda z: z.writestr("a/../../evil", b"x"), "INVALID_ARCHIVE", "leads out"),
    "absolute": (lambda z: z.writestr("/etc/cron.d/x", b"x"), "INVALID_ARCHIVE", "absolute path"),
    "drive": (lambda z: z.writestr("C:/x.png", b"x"), "INVALID_ARCHIVE", "absolute path"),
    "backslash": (lambda z: z.writestr("multi_views\\..\\x.png", b"x"), "INVALID_ARCHIVE", "backslash"),
    "control character": (lambda z: z.writestr("multi_views/a\nb.png", b"x"), "INVALID_ARCHIVE", "invalid name"),
    "empty part": (lambda z: z.writestr("multi_views//b.png", b"x"), "INVALID_ARCHIVE", "invalid name"),
    "symlink": (link_entry, "INVALID_ARCHIVE", "symbolic link"),
    "device": (device_entry, "INVALID_ARCHIVE", "not a plain file"),
    "duplicate": (again, "INVALID_ARCHIVE", "is there twice"),
    "duplicate in upper case": (
        lambda z: z.writestr("multi_views/Front.PNG", VIEW), "INVALID_ARCHIVE", "twice .also as multi_views/front.png"
    ),
    "nested archive": (lambda z: z.writestr("more.zip", b"PK"), "INVALID_ARCHIVE", "archive inside the archive"),
    "bzip2": (bzip, "INVALID_ARCHIVE", "method 12"),
    "zip bomb": (lambda z: z.writestr("big.bin", bytes(150_000_000)), "INVALID_ARCHIVE", "ZIP bomb"),
    "many entries": (
        lambda z: [z.writestr(f"x{i}", b"") for i in range(1000)], "INVALID_ARCHIVE", "lists 1012 files"
    ),
    "folder with data": (lambda z: z.writestr("folder/", b"data"), "INVALID_ARCHIVE", "holds data"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_ENTRIES)
def test_hostile_entries(name: str, tmp_path: Path) -> None:
    edit, code, text = HOSTILE_ENTRIES[name]
    error = refused(write_zip(tmp_path / "in.zip", image_set(), edit), tmp_path / "out")
    assert error.code == code
    assert re.search(text, error.message), error.message


def patched(offset: int, value: bytes, *, local: bool = False) -> Callable[[bytes], bytes]:
    """Overwrite bytes of the first entry's central (or local) header."""

    def patch(data: bytes) -> bytes:
        at = (data.index(b"PK\x03\x04") if local else data.index(b"PK\x01\x02")) + offset
        return data[:at] + value + data[at + len(value) :]

    return patch


def with_end(**fields: int) -> Callable[[bytes], bytes]:
    names = ("signature", "disk", "first_disk", "here", "count", "length", "start", "comment")

    def patch(data: bytes) -> bytes:
        values = dict(zip(names, struct.unpack("<4s4H2IH", data[-22:]), strict=True)) | fields
        return data[:-22] + struct.pack("<4s4H2IH", *values.values())

    return patch


def overlapping(data: bytes) -> bytes:
    """The second entry points at the first one's place."""
    first = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", first + 4)
    return data[: second + 42] + data[first + 42 : first + 46] + data[second + 46 :]


HOSTILE_BYTES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "not a zip": (lambda data: b"hello" * 100, "not a ZIP archive"),
    "a PNG": (lambda data: VIEW, "not a ZIP archive"),
    "empty": (lambda data: b"", "not a ZIP archive"),
    "cut off": (lambda data: data[: len(data) // 2], "cut off"),
    "data before": (lambda data: b"#!/bin/sh\n" + data, "something stands before"),
    "data after": (lambda data: data + b"junk", "not a ZIP archive"),
    "encrypted": (patched(8, b"\x01\x00"), "is encrypted"),
    "encrypted only inside": (patched(6, b"\x01\x00", local=True), "not where the archive's directory says"),
    "other name inside": (patched(30, b"evil", local=True), "not where the archive's directory says"),
    "less declared than there is": (patched(24, struct.pack("<I", 100)), "larger than the archive says"),
    "more declared than there is": (patched(24, struct.pack("<I", 5000)), "bytes, not 5000 as the archive says"),
    "wrong checksum": (patched(16, b"\0\0\0\0"), "damaged in the archive"),
    "zip64": (patched(24, b"\xff\xff\xff\xff"), "ZIP64 sizes"),
    "zip64 directory": (with_end(count=0xFFFF, here=0xFFFF), "ZIP64 format"),
    "split": (with_end(disk=1), "split into several"),
    "more entries promised": (with_end(count=13, here=13), "directory is damaged"),
    "fewer entries promised": (with_end(count=11, here=11), "directory is damaged"),
    "huge directory": (with_end(length=1 << 30), "at most 1000"),
    "overlap": (overlapping, "not where the archive's directory says"),
}


@pytest.mark.parametrize("name", HOSTILE_BYTES)
def test_hostile_bytes(name: str, tmp_path: Path) -> None:
    edit, text = HOSTILE_BYTES[name]
    source = write_zip(tmp_path / "in.zip", image_set())
    source.write_bytes(edit(source.read_bytes()))
    error = refused(source, tmp_path / "out")
    assert error.code == "INVALID_ARCHIVE"
    assert text in error.message


def test_quoted_overlap_is_refused(tmp_path: Path) -> None:
    """An entry whose stored data holds another whole local entry: both read well, together they are a bomb."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as made:
        made.writestr("b.bin", b"x" * 100)
    local = inner.getvalue()[: inner.getvalue().index(b"PK\x01\x02")]
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as made:
        made.writestr("a.bin", local)
        info = made.filelist[0]
        inside = zipfile.ZipInfo("b.bin")
        inside.CRC, inside.compress_size, inside.file_size = zlib.crc32(b"x" * 100), 100, 100
        inside.header_offset = info.header_offset + 30 + len("a.bin")
        made.filelist.append(inside)
        made.NameToInfo["b.bin"] = inside
    with zipfile.ZipFile(tmp_path / "in.zip") as read:
        assert read.namelist() == ["a.bin", "b.bin"]
    assert "overlaps another part" in refused(tmp_path / "in.zip", tmp_path / "out").message


def test_totals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "TOTAL_LIMIT", 5000)
    for source in (write_folder(tmp_path / "in", image_set()), write_zip(tmp_path / "in.zip", image_set())):
        error = refused(source, tmp_path / "out")
        assert error.code == "UPLOAD_TOO_LARGE"
        assert "more than 5000" in error.message
    monkeypatch.setattr(archive, "ARCHIVE_LIMIT", 50)
    assert "the archive is" in refused(tmp_path / "in.zip", tmp_path / "out").message


def test_too_large_archive_is_refused_by_its_size_alone(tmp_path: Path) -> None:
    with (tmp_path / "in.zip").open("wb") as file:
        file.truncate(archive.ARCHIVE_LIMIT + 1)
    assert refused(tmp_path / "in.zip", tmp_path / "out").code == "UPLOAD_TOO_LARGE"


@given(st.binary(max_size=300), st.integers(0, 3000))
@settings(max_examples=150, deadline=None)
def test_any_damage_to_an_archive_ends_in_an_error_or_the_same_images(data: bytes, at: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, image in image_set().items():
            made.writestr(name, image)
    whole = buffer.getvalue()
    damaged = whole[:at] + data + whole[at + len(data) :]
    try:
        entries = archive.read_directory(io.BytesIO(damaged))
        read = {entry.name: b"".join(archive.stream(io.BytesIO(damaged), entry)) for entry in entries}
    except Recon3dError:
        return
    assert {read[name] for name in read} <= {VIEW, DEPTH}
