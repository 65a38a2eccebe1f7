"""PNG files written by all cores: rows are filtered and compressed in bands, which one stream joins.

A large texture takes Pillow most of a second on one core. A band's compressor starts with the end of the band before
as its dictionary (as in pigz), so that the file is as small; the bands are always the same, and so are the bytes.
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
        for kind in range(5):
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
    """An sRGB picture (H, W, 3) as a PNG file, compressed at zlib's `level`."""
    height, width, channels = pixels.shape
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
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
