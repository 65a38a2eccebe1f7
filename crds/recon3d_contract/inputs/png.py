"""A streaming check of one PNG, before any image library sees a byte of it.

Fed in pieces of any size, in constant memory: signature, IHDR, the chain of chunks with their CRCs, and the
compressed pixels, inflated and counted but not kept, which must be exactly as many as IHDR says. Whoever writes
the file on gets a canonical copy (`sink`): IHDR, IDAT and IEND only, so that no metadata reaches a decoder.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from recon3d_contract.conventions import MAX_SIZE, MIN_SIZE
from recon3d_contract.errors import Code, Recon3dError

Kind = Literal["view", "depth"]

FILE_LIMIT: Final = 20 * 1024 * 1024
"""Bytes of one file."""

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS: Final = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_COLOUR_NAMES: Final = {0: "gray", 2: "RGB", 3: "palette", 4: "gray with alpha", 6: "RGBA"}
# Adam7: first column, first row, column step, row step of each pass.
_PASSES: Final = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PIECE: Final = 64 * 1024
_OTHER_FORMATS: Final = (
    (b"\xff\xd8\xff", "a JPEG"),
    (b"GIF8", "a GIF"),
    (b"RIFF", "a WebP"),
    (b"BM", "a BMP"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
    (b"\x76\x2f\x31\x01", "an OpenEXR image"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"%PDF", "a PDF"),
    (b"<svg", "an SVG"),
)


@dataclass(frozen=True)
class PngInfo:
    """What a whole, accepted file is."""

    width: int
    height: int
    bit_depth: int
    colour_type: int
    """0 gray, 2 RGB, 6 RGBA."""
    interlaced: bool
    bytes: int
    sha256: str
    """Of the file as it was given."""


def _invalid(text: str) -> Recon3dError:
    return Recon3dError(Code.INVALID_IMAGE, text)


def _rows(width: int, height: int, bits: int, interlaced: bool) -> list[tuple[int, int]]:
    """(rows, bytes of a row with its filter byte) of each pass."""
    if not interlaced:
        return [(height, 1 + (width * bits + 7) // 8)]
    passes = []
    for x, y, dx, dy in _PASSES:
        columns, rows = (width - x + dx - 1) // dx, (height - y + dy - 1) // dy
        if columns > 0 and rows > 0:
            passes.append((rows, 1 + (columns * bits + 7) // 8))
    return passes


class _Pixels:
    """Inflates the image data piece by piece; checks its length and each row's filter byte."""

    def __init__(self, passes: list[tuple[int, int]]) -> None:
        self._inflate = zlib.decompressobj()
        self._passes = passes
        self.expected = sum(rows * stride for rows, stride in passes)
        self.produced = 0
        self._to_row = 0  # bytes until the next filter byte
        self._pass = 0
        self._row = 0

    def feed(self, data: bytes) -> None:
        out = b""
        # A full piece may leave more in the inflater even when all input is taken.
        while data or len(out) == _PIECE:
            if self._inflate.eof:
                if data:
                    raise _invalid("has data after the end of its pixels")
                return
            try:
                out = self._inflate.decompress(data, _PIECE)
            except zlib.error:
                raise _invalid("has damaged pixel data") from None
            data = self._inflate.unconsumed_tail or self._inflate.unused_data
            self._count(out)

    def _count(self, out: bytes) -> None:
        self.produced += len(out)
        if self.produced > self.expected:
            raise _invalid(f"holds more pixel data than its size needs ({self.expected} bytes)")
        at = self._to_row
        while at < len(out):
            rows, stride = self._passes[self._pass]
            count = min(rows - self._row, (len(out) - at + stride - 1) // stride)
            if max(out[at : at + (count - 1) * stride + 1 : stride]) > 4:
                raise _invalid("has damaged pixel data (unknown row filter)")
            at += count * stride
            self._row += count
            if self._row == rows:
                self._pass, self._row = self._pass + 1, 0
                if self._pass == len(self._passes):
                    break
        self._to_row = at - len(out)

    def finish(self) -> None:
        if self.produced < self.expected or not self._inflate.eof:
            raise _invalid(f"is cut off: {self.produced} of {self.expected} bytes of pixels")


class PngChecker:
    """Feed a file's bytes in order, then call finish. Each raises Recon3dError at the first thing wrong.

    Codes: INVALID_IMAGE, WRONG_RESOLUTION, FILE_TOO_LARGE. The messages complete "<name> ...".
    """

    def __init__(self, kind: Kind, *, limit: int = FILE_LIMIT, sink: Callable[[bytes], object] | None = None) -> None:
        """Check for `kind`; `sink` is given the canonical file's bytes as they are accepted."""
        self._kind = kind
        self._limit = limit
        self._sink = sink
        self._hash = hashlib.sha256()
        self._size = 0
        self._pending = b""  # a signature, chunk header, IHDR or CRC that is not whole yet
        self._state: Literal["signature", "header", "body", "crc", "end"] = "signature"
        self._type = b""
        self._left = 0
        self._crc = 0
        self._ihdr: tuple[int, int, int, int, int] | None = None
        self._pixels: _Pixels | None = None
        self._pixels_seen = False

    @property
    def dimensions(self) -> tuple[int, int] | None:
        """(width, height) as soon as IHDR was read."""
        return None if self._ihdr is None else self._ihdr[:2]

    def feed(self, data: bytes) -> None:
        """Take the file's next bytes."""
        self._size += len(data)
        if self._size > self._limit:
            raise Recon3dError(Code.FILE_TOO_LARGE, f"is larger than {self._limit} bytes", {"limit_bytes": self._limit})
        self._hash.update(data)
        view = memoryview(data)
        while view:
            view = self._step(view)

    def finish(self) -> PngInfo:
        """Return what the file is, once it was fed whole."""
        if self._size == 0:
            raise _invalid("is empty")
        if self._state == "signature":
            self._wrong_signature()
        if self._state != "end" or self._ihdr is None or self._pixels is None:
            raise _invalid("is cut off")
        width, height, bits, colour, interlace = self._ihdr
        return PngInfo(width, height, bits, colour, bool(interlace), self._size, self._hash.hexdigest())

    def _take(self, view: memoryview, size: int) -> tuple[bytes | None, memoryview]:
        """Collect `size` bytes over several feeds; None until they are there."""
        need = size - len(self._pending)
        self._pending += bytes(view[:need])
        if len(self._pending) < size:
            return None, view[len(view) :]
        whole, self._pending = self._pending, b""
        return whole, view[need:]

    def _step(self, view: memoryview) -> memoryview:
        if self._state == "end":
            raise _invalid("has data after its end")
        if self._state == "signature":
            if not SIGNATURE.startswith(self._pending + bytes(view[: 8 - len(self._pending)])):
                self._pending += bytes(view[:8])
                self._wrong_signature()
            whole, view = self._take(view, 8)
            if whole is not None:
                self._emit(whole)
                self._state = "header"
        elif self._state == "header":
            whole, view = self._take(view, 8)
            if whole is not None:
                self._begin_chunk(whole)
        elif self._state == "body":
            view = self._body(view)
        else:
            whole, view = self._take(view, 4)
            if whole is not None:
                self._end_chunk(whole)
        return view

    def _wrong_signature(self) -> None:
        start = self._pending.lstrip()
        name = next((name for magic, name in _OTHER_FORMATS if start.startswith(magic)), None)
        if name is None and SIGNATURE.startswith(self._pending):
            raise _invalid("is cut off")
        raise _invalid(f"is {name}, not a PNG" if name else "is not a PNG")

    def _emit(self, data: bytes | memoryview) -> None:
        if self._sink is not None:
            self._sink(bytes(data))

    def _begin_chunk(self, header: bytes) -> None:
        length, kind = struct.unpack(">I4s", header)
        if not kind.isalpha() or length > 0x7FFFFFFF:
            raise _invalid("is damaged (not a chunk)")
        if self._ihdr is None and (kind != b"IHDR" or length != 13):
            raise _invalid("is damaged (does not begin with IHDR)")
        if self._ihdr is not None:
            self._in_order(kind, length)
        self._type, self._left, self._crc = kind, length, zlib.crc32(kind)
        self._state = "body" if length else "crc"
        if self._kept():
            self._emit(header)

    def _in_order(self, kind: bytes, length: int) -> None:
        if kind == b"IHDR":
            raise _invalid("is damaged (IHDR twice)")
        if kind == b"IDAT" and self._pixels_seen and self._type != b"IDAT":
            raise _invalid("is damaged (its pixel data is not in one piece)")
        if kind == b"IEND" and length:
            raise _invalid("is damaged (IEND)")
        self._pixels_seen |= kind == b"IDAT"
        if kind == b"tRNS":
            raise _invalid("has a transparent key colour (tRNS); save transparency as an alpha channel")
        if kind[0:1].isupper() and kind not in (b"IDAT", b"IEND", b"PLTE"):
            raise _invalid(f"has an unknown critical chunk ({kind.decode()})")

    def _kept(self) -> bool:
        return self._type in (b"IHDR", b"IDAT", b"IEND")

    def _body(self, view: memoryview) -> memoryview:
        piece = view[: self._left]
        self._crc = zlib.crc32(piece, self._crc)
        self._left -= len(piece)
        if self._kept():
            self._emit(piece)
        if self._type == b"IHDR":
            self._pending += bytes(piece)
        elif self._type == b"IDAT" and self._pixels is not None:
            self._pixels.feed(bytes(piece))
        if self._left == 0:
            self._state = "crc"
            if self._type == b"IHDR":
                header, self._pending = self._pending, b""
                self._read_header(header)
        return view[len(piece) :]

    def _end_chunk(self, crc: bytes) -> None:
        if struct.unpack(">I", crc)[0] != self._crc:
            raise _invalid(f"is damaged (wrong checksum of its {self._type.decode('ascii')} chunk)")
        if self._kept():
            self._emit(crc)
        self._state = "header"
        if self._type == b"IEND" and self._pixels is not None:
            self._pixels.finish()
            self._state = "end"

    def _read_header(self, header: bytes) -> None:
        width, height, bits, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", header)
        if not (1 <= width < 2**31 and 1 <= height < 2**31) or bits not in _DEPTHS.get(colour, ()):
            raise _invalid("is damaged (IHDR)")
        if compression or filtering or interlace > 1:
            raise _invalid("is damaged (IHDR)")
        check_header(self._kind, width, height, bits, colour)
        self._ihdr = (width, height, bits, colour, interlace)
        self._pixels = _Pixels(_rows(width, height, bits * _CHANNELS[colour], bool(interlace)))


def check_header(kind: Kind, width: int, height: int, bits: int, colour: int) -> None:
    """Raise unless an image of this header is accepted as a view or a depth render."""
    found = f"{bits}-bit {_COLOUR_NAMES[colour]}"
    if width != height or not MIN_SIZE <= width <= MAX_SIZE:
        raise Recon3dError(
            Code.WRONG_RESOLUTION,
            f"is {width}x{height}; it must be square, {MIN_SIZE} to {MAX_SIZE} pixels",
            {"width": width, "height": height},
        )
    if kind == "view" and not (colour in (2, 6) and bits == 8):
        raise _invalid(f"is {found}; a view must be 8-bit RGB or RGBA")
    if kind == "depth" and not (colour == 0 and bits in (8, 16)):
        hint = ", even if all its pixels are gray" if colour in (2, 6) else ""
        raise _invalid(f"is {found}; a depth render must be 8- or 16-bit gray{hint}")
