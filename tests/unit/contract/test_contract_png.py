"""PngChecker: any way of cutting a file up gives the same answer, and every kind of damage is told."""

import hashlib
import struct
import zlib

import pytest
from contract_pngs import CHANNELS, SIGNATURE, VIEW, chunk, header, png, scanlines
from hypothesis import given, settings
from hypothesis import strategies as st
from recon3d_contract.errors import Recon3dError
from recon3d_contract.inputs import PngChecker, PngInfo


def check(data: bytes, kind: str = "view", step: int = 1 << 16, **options) -> PngInfo:
    checker = PngChecker(kind, **options)
    for at in range(0, len(data), step):
        checker.feed(data[at : at + step])
    return checker.finish()


ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def interlaced(width: int, colour: int, bits: int) -> bytes:
    raw = b""
    for x, y, dx, dy in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        columns, rows = -(-(width - x) // dx), -(-(width - y) // dy)
        raw += scanlines(columns, rows, bits, colour)
    data = header(width, width, bits, colour, 1) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return SIGNATURE + data


@pytest.mark.parametrize(
    ("kind", "colour", "bits"), [("view", 2, 8), ("view", 6, 8), ("depth", 0, 8), ("depth", 0, 16)]
)
@pytest.mark.parametrize("size", [256, 257, 2048, 4096])
def test_accepts_every_allowed_form(kind: str, colour: int, bits: int, size: int) -> None:
    data = png(size, colour=colour, bits=bits)
    info = check(data, kind)
    assert (info.width, info.height, info.bit_depth, info.colour_type) == (size, size, bits, colour)
    assert info.bytes == len(data)
    assert info.sha256 == hashlib.sha256(data).hexdigest()
    assert not info.interlaced


@pytest.mark.parametrize("size", [256, 261])
@pytest.mark.parametrize(("kind", "colour", "bits"), [("view", 2, 8), ("depth", 0, 16)])
def test_accepts_interlaced(size: int, kind: str, colour: int, bits: int) -> None:
    assert check(interlaced(size, colour, bits), kind).interlaced


def test_pillow_agrees_with_the_interlaced_writer() -> None:
    image = pytest.importorskip("PIL.Image")
    import io

    with image.open(io.BytesIO(interlaced(261, 2, 8))) as opened:
        assert opened.convert("RGB").getextrema() == ((200, 200),) * 3


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=20))
@settings(max_examples=40, deadline=None)
def test_pieces_do_not_matter(cuts: list[int]) -> None:
    data = png(300, pieces=7, before=chunk(b"tEXt", b"a\0b"))
    copy = bytearray()
    checker = PngChecker("view", sink=copy.extend)
    at = 0
    while at < len(data):
        for cut in cuts:
            checker.feed(data[at : at + cut])
            at += cut
    assert checker.finish() == check(data)
    assert bytes(copy) == png(300, pieces=7)


@given(st.integers(0, len(VIEW) - 1))
@settings(max_examples=120, deadline=None)
def test_every_truncation_is_refused(length: int) -> None:
    with pytest.raises(Recon3dError) as error:
        check(VIEW[:length])
    assert error.value.code == "INVALID_IMAGE"


@given(st.integers(0, len(VIEW) - 1), st.integers(1, 255))
@settings(max_examples=200, deadline=None)
def test_every_flipped_byte_is_refused(at: int, bits: int) -> None:
    damaged = bytearray(VIEW)
    damaged[at] ^= bits
    with pytest.raises(Recon3dError) as error:
        check(bytes(damaged), step=997)
    assert error.value.code in ("INVALID_IMAGE", "WRONG_RESOLUTION")


@given(st.binary(max_size=4000), st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_bytes_end_in_an_error_with_a_code(data: bytes, signed: bool) -> None:
    with pytest.raises(Recon3dError):
        check((SIGNATURE + header(256, 256) if signed else b"") + data)


IDAT = chunk(b"IDAT", zlib.compress(scanlines(256, 256, 8, 2)))
END = chunk(b"IEND", b"")
START = SIGNATURE + header(256, 256)
BROKEN = {
    "empty": (b"", "INVALID_IMAGE", "empty"),
    "jpeg": (b"\xff\xd8\xff\xe0" + b"x" * 99, "INVALID_IMAGE", "is a JPEG"),
    "short jpeg": (b"\xff\xd8\xff", "INVALID_IMAGE", "is a JPEG"),
    "webp": (b"RIFF1234WEBP", "INVALID_IMAGE", "is a WebP"),
    "zip": (b"PK\x03\x04" + b"x" * 99, "INVALID_IMAGE", "is a ZIP archive"),
    "text": (b"hello, this is text", "INVALID_IMAGE", "not a PNG"),
    "signature only": (SIGNATURE, "INVALID_IMAGE", "cut off"),
    "no IHDR": (SIGNATURE + IDAT + END, "INVALID_IMAGE", "IHDR"),
    "two IHDR": (START + header(256, 256) + IDAT + END, "INVALID_IMAGE", "IHDR twice"),
    "no pixels": (START + END, "INVALID_IMAGE", "cut off"),
    "no IEND": (START + IDAT, "INVALID_IMAGE", "cut off"),
    "trailing junk": (START + IDAT + END + b"<?php", "INVALID_IMAGE", "after its end"),
    "wrong crc": (START + IDAT[:-1] + bytes([IDAT[-1] ^ 1]) + END, "INVALID_IMAGE", "checksum of its IDAT"),
    "crc of a text chunk": (START + chunk(b"tEXt", b"a")[:-1] + b"!" + IDAT + END, "INVALID_IMAGE", "tEXt"),
    "split pixels": (START + IDAT + chunk(b"tEXt", b"") + IDAT + END, "INVALID_IMAGE", "one piece"),
    "palette": (png(colour=3), "INVALID_IMAGE", "8-bit palette"),
    "gray view": (png(colour=0), "INVALID_IMAGE", "8-bit gray"),
    "16-bit rgb": (png(bits=16), "INVALID_IMAGE", "16-bit RGB"),
    "colour key": (START + chunk(b"tRNS", b"\0" * 6) + IDAT + END, "INVALID_IMAGE", "alpha channel"),
    "unknown critical": (START + chunk(b"EVIL", b"") + IDAT + END, "INVALID_IMAGE", "EVIL"),
    "bad depth": (SIGNATURE + header(256, 256, 3), "INVALID_IMAGE", "IHDR"),
    "bad interlace": (SIGNATURE + header(256, 256, 8, 2, 2), "INVALID_IMAGE", "IHDR"),
    "zero width": (SIGNATURE + header(0, 256), "INVALID_IMAGE", "IHDR"),
    "100 megapixels": (SIGNATURE + header(10_000, 10_000), "WRONG_RESOLUTION", "10000x10000"),
    "not square": (png(300, 299), "WRONG_RESOLUTION", "300x299"),
    "too small": (png(255), "WRONG_RESOLUTION", "255x255"),
    "too large": (SIGNATURE + header(4097, 4097), "WRONG_RESOLUTION", "4097x4097"),
    "idat bomb": (png(raw=b"\0" * 50_000_000), "INVALID_IMAGE", "more pixel data"),
    "too few pixels": (png(raw=b"\0" * 769 * 255), "INVALID_IMAGE", "cut off"),
    "one byte too many": (png(raw=b"\0" * (769 * 256 + 1)), "INVALID_IMAGE", "more pixel data"),
    "not deflate": (START + chunk(b"IDAT", b"junk" * 20) + END, "INVALID_IMAGE", "damaged pixel data"),
    "row filter": (png(raw=b"\0" * 769 * 9 + b"\x05" + b"\0" * (769 * 247 - 1)), "INVALID_IMAGE", "row filter"),
    "after the pixels": (
        START + chunk(b"IDAT", zlib.compress(scanlines(256, 256, 8, 2)) + b"more") + END,
        "INVALID_IMAGE",
        "after the end of its pixels",
    ),
    "huge chunk": (START + struct.pack(">I", 2**31) + b"IDAT", "INVALID_IMAGE", "not a chunk"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("step", [1 << 16, 5])
def test_broken_views(name: str, step: int) -> None:
    data, code, text = BROKEN[name]
    with pytest.raises(Recon3dError, match=text) as error:
        check(data, step=step if len(data) < 10_000 else 1 << 16)
    assert error.value.code == code


@pytest.mark.parametrize("colour", [2, 3, 4, 6])
def test_depth_must_be_gray(colour: int) -> None:
    with pytest.raises(Recon3dError, match="8- or 16-bit gray") as error:
        check(png(colour=colour), "depth")
    assert error.value.code == "INVALID_IMAGE"


def test_byte_cap() -> None:
    with pytest.raises(Recon3dError, match="larger than 1000 bytes") as error:
        check(png(before=chunk(b"tEXt", b"x" * 2000)), limit=1000)
    assert error.value.code == "FILE_TOO_LARGE"
    assert error.value.details == {"limit_bytes": 1000}


def test_canonical_copy_has_no_metadata() -> None:
    bomb = chunk(b"iCCP", b"name\0\0" + zlib.compress(b"\0" * 10_000_000))
    copy = bytearray()
    check(png(before=bomb + chunk(b"acTL", b"\0" * 8)), sink=copy.extend)
    assert bytes(copy) == png()


def test_memory_stays_constant() -> None:
    tracemalloc = pytest.importorskip("tracemalloc")
    data = png(4096, colour=6)
    assert len(data) * 100 < 4096 * 4096 * CHANNELS[6]
    tracemalloc.start()
    check(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_500_000
