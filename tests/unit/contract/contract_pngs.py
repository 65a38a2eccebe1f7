"""PNGs, good and broken, and input sets, written with the standard library alone; and what refusing one is."""

import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from recon3d_contract.errors import Recon3dError
from recon3d_contract.inputs import check_source, extract

VIEWS = ("front", "back", "left", "right", "top", "bottom")
SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width: int, height: int, bits: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlace))


def scanlines(width: int, height: int, bits: int, colour: int, value: int = 200) -> bytes:
    row = b"\0" + bytes([value]) * ((width * CHANNELS[colour] * bits + 7) // 8)
    return row * height


def png(
    width: int = 256,
    height: int | None = None,
    *,
    bits: int = 8,
    colour: int = 2,
    value: int = 200,
    raw: bytes | None = None,
    before: bytes = b"",
    pieces: int = 1,
) -> bytes:
    height = width if height is None else height
    data = zlib.compress(scanlines(width, height, bits, colour, value) if raw is None else raw)
    step = -(-len(data) // pieces)
    idat = b"".join(chunk(b"IDAT", data[i : i + step]) for i in range(0, len(data), step))
    return SIGNATURE + header(width, height, bits, colour) + before + idat + chunk(b"IEND", b"")


VIEW = png()
VIEW_2048 = png(2048)
DEPTH = png(colour=0)


def image_set(depth: bool = True, *, view: bytes = VIEW, depth_image: bytes = DEPTH) -> dict[str, bytes]:
    """Names to bytes of a whole input, small so that tests are fast."""
    files = {f"multi_views/{name}.png": view for name in VIEWS}
    if depth:
        files |= {f"depth_renders/{name}.png": depth_image for name in VIEWS}
    return files


def write_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def write_zip(path: Path, files: dict[str, bytes], edit: Callable[[zipfile.ZipFile], object] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        if edit is not None:
            edit(archive)
    return path


def changed(**files: bytes | None) -> dict[str, bytes]:
    """The good set with views replaced (`front=data`, `depth_front=data`) or, with None, taken away."""
    result = image_set()
    for key, data in files.items():
        name = f"depth_renders/{key[6:]}.png" if key.startswith("depth_") else f"multi_views/{key}.png"
        result.pop(name)
        if data is not None:
            result[name] = data
    return result


def refused(source: Path, dest: Path) -> Recon3dError:
    """The one error that both entry points give; extract leaves nothing behind."""
    with pytest.raises(Recon3dError) as first:
        check_source(source)
    with pytest.raises(Recon3dError) as second:
        extract(source, dest)
    assert (first.value.code, first.value.details) == (second.value.code, second.value.details)
    assert not list(dest.rglob("*.png"))
    text = f"{first.value.message} {first.value.details}"
    assert str(source.parent) not in text
    assert "Traceback" not in text
    return first.value
