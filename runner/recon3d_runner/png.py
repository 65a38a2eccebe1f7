"""PNG files written and read by all cores: rows are filtered and compressed in bands, which one stream joins.

A large texture takes Pillow most of a second on one core. A band's compressor starts with the end of the band before
as its dictionary (as in pigz), so that the file is as small; the bands are always the same, and so are the bytes. No
band's first row is filtered by the row above, so that a reader may begin there.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

import numpy as np
from numba import njit

from recon3d_runner.bands import PARTS, in_bands
from recon3d_runner.types import U8

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
GREY: Final = 0
RGB: Final = 2
STREAM: Final = b"\x78\x5e"
"""zlib's header: a window of 32 KiB, no dictionary."""
WINDOW: Final = 1 << 15
LEAST_ROWS: Final = 64
"""Of a band."""


@njit(cache=True, nogil=True)
def _filter(pixels: U8, first: int, last: int, step: int, out: U8) -> None:
    """Write rows [first, last) of `pixels` (H, W * step) to `out` (H, 1 + W * step), each under its best filter.

    Best is the one whose bytes, read as signed, are smallest: the specification's own advice. One plain loop a
    filter, which the compiler turns into vector instructions.
    """
    width = pixels.shape[1]
    # A row and the one above it, with nothing to the left of them.
    row, above = np.zeros(width + step, np.int16), np.zeros(width + step, np.int16)
    left = np.empty((5, width), np.uint8)
    for j in range(first, last):
        row[step:] = pixels[j]
        if j > 0:
            above[step:] = pixels[j - 1]
        best, least = 0, np.int64(1) << 60
        for kind in range(2 if j == first else 5):
            if kind == 0:
                for i in range(width):
                    left[0, i] = row[i + step]
            elif kind == 1:
                for i in range(width):
                    left[1, i] = row[i + step] - row[i]
            elif kind == 2:
                for i in range(width):
                    left[2, i] = row[i + step] - above[i + step]
            elif kind == 3:
                for i in range(width):
                    left[3, i] = row[i + step] - ((row[i] + above[i + step]) >> 1)
            else:
                for i in range(width):
                    a, b, c = row[i], above[i + step], above[i]
                    pa, pb, pc = abs(b - c), abs(a - c), abs(a + b - c - c)
                    left[4, i] = row[i + step] - (a if pa <= pb and pa <= pc else (b if pb <= pc else c))
            total = np.int64(0)
            for i in range(width):
                total += abs(np.int64(np.int8(left[kind, i])))
            if total < least:
                best, least = kind, total
        out[j, 0] = best
        out[j, 1:] = left[best]


def encode(pixels: U8, level: int) -> bytes:
    """A picture, (H, W, 3) sRGB or (H, W) grey, as a PNG file, compressed at zlib's `level`."""
    height, width = pixels.shape[:2]
    channels = 3 if pixels.ndim == 3 else 1
    rows = np.ascontiguousarray(pixels).reshape(height, width * channels)
    filtered = np.empty((height, 1 + width * channels), np.uint8)
    parts = max(1, min(PARTS, height // LEAST_ROWS))
    in_bands(lambda first, last: _filter(rows, first, last, channels, filtered), height, parts)
    data = filtered.data.cast("B")
    length = filtered.shape[1]

    def deflate(first: int, last: int) -> bytes:
        before = data[max(0, first * length - WINDOW) : first * length]
        packer = zlib.compressobj(level, zlib.DEFLATED, -15, 8, zlib.Z_FILTERED, bytes(before))
        body = packer.compress(data[first * length : last * length])
        return body + packer.flush(zlib.Z_FINISH if last == height else zlib.Z_SYNC_FLUSH)

    packed = b"".join([STREAM, *in_bands(deflate, height, parts), struct.pack(">I", zlib.adler32(data))])
    header = struct.pack(">IIBBBBB", width, height, 8, RGB if channels == 3 else GREY, 0, 0, 0)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def decode(data: bytes | memoryview) -> U8:
    """The picture (H, W, 3) in a PNG file of eight bits a channel. Raises ValueError for any other."""
    if bytes(data[:8]) != SIGNATURE:
        raise ValueError("not a PNG file")
    at, packed = 8, []
    header: tuple[int, ...] = ()
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            packed.append(body)
        at += length + 12
    if header[2:] != (8, RGB, 0, 0, 0):
        raise ValueError("not a plain PNG file of three channels with eight bits")
    width, height = header[:2]
    try:
        filtered = np.frombuffer(zlib.decompress(b"".join(packed)), np.uint8).reshape(height, 1 + 3 * width)
    except zlib.error as error:
        raise ValueError("a damaged PNG file") from error
    out = np.empty((height, width, 3), np.uint8)
    rows = out.reshape(height, 3 * width)
    # Where a row is not filtered by the one above, work may begin.
    free = np.concatenate([np.flatnonzero(filtered[1:, 0] <= 1) + 1, [height]])

    def band(first: int, last: int) -> None:
        begin, end = (0 if j == 0 else int(free[np.searchsorted(free, j)]) for j in (first, last))
        _unfilter(filtered[begin:end], 3, rows[begin:end])

    in_bands(band, height, max(1, min(PARTS, height // LEAST_ROWS)))
    return out


@njit(cache=True, nogil=True)
def _unfilter(filtered: U8, step: int, out: U8) -> None:
    """Rows (H, W * step) from filtered ones (H, 1 + W * step); above the first there is nothing."""
    width = out.shape[1]
    above = np.zeros(width, np.uint8)
    for j in range(out.shape[0]):
        kind, line, row = filtered[j, 0], filtered[j, 1:], out[j]
        if kind == 0:
            for i in range(width):
                row[i] = line[i]
        elif kind == 1:
            for i in range(min(step, width)):
                row[i] = line[i]
            for i in range(step, width):
                row[i] = line[i] + row[i - step]
        elif kind == 2:
            for i in range(width):
                row[i] = line[i] + above[i]
        else:
            for i in range(width):
                a, b = np.int64(row[i - step]) if i >= step else 0, np.int64(above[i])
                if kind == 3:
                    row[i] = line[i] + ((a + b) >> 1)
                    continue
                c = np.int64(above[i - step]) if i >= step else 0
                pa, pb, pc = abs(b - c), abs(a - c), abs(a + b - c - c)
                row[i] = line[i] + (a if pa <= pb and pa <= pc else (b if pb <= pc else c))
        above = row


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
