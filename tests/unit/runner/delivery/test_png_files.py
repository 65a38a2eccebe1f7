"""PNGs written in bands: any reader sees the pixels, no larger than Pillow's, and the same bytes on any machine."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest
from PIL import Image
from recon3d_runner import png


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3)).astype(np.uint8)


def waves(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    planes = [np.sin(x / 9) + np.cos(y / 7), np.sin((x + y) / 30), (x // 16 + y // 16) % 2]
    return np.stack([np.round(60 * plane + 124) for plane in planes], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("make", [noise, waves])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 7), (127, 3), (128, 60), (1111, 130)])
def test_a_reader_sees_the_pixels(make, height: int, width: int) -> None:
    pixels = make(height, width)
    with Image.open(io.BytesIO(png.encode(pixels, 4))) as image:
        image.verify()
    with Image.open(io.BytesIO(png.encode(pixels, 4))) as image:
        assert (image.mode, image.format) == ("RGB", "PNG")
        assert np.array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize("make", [noise, waves])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 7), (127, 3), (128, 60), (1111, 130)])
def test_what_is_written_by_us_or_others_is_read(make, height: int, width: int) -> None:
    pixels = make(height, width)
    assert np.array_equal(png.decode(png.encode(pixels, 4)), pixels)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    assert np.array_equal(png.decode(data.getvalue()), pixels)


def test_every_filter_is_read() -> None:
    """Each kind of row, in the order of the specification, for pixels that were filtered by hand."""
    rows = np.array([[10, 20, 30, 40, 50, 60], [11, 19, 33, 47, 52, 66], [9, 9, 9, 200, 100, 5]], np.uint8)
    for kind in range(5):
        filtered = np.zeros((3, 7), np.uint8)
        filtered[:, 0] = kind
        for j in range(3):
            for i in range(6):
                a = int(rows[j, i - 3]) if i >= 3 else 0
                b = int(rows[j - 1, i]) if j else 0
                c = int(rows[j - 1, i - 3]) if i >= 3 and j else 0
                p = a + b - c
                paeth = min((a, b, c), key=lambda x, p=p: abs(p - x))
                filtered[j, 1 + i] = (int(rows[j, i]) - (0, a, b, (a + b) // 2, paeth)[kind]) % 256
        out = np.empty_like(rows)
        png._unfilter(filtered, 3, out)
        np.testing.assert_array_equal(out, rows)


def test_grey_is_written_as_grey() -> None:
    grey = waves(130, 70)[..., 0]
    with Image.open(io.BytesIO(png.encode(grey, 9))) as image:
        assert image.mode == "L"
        assert np.array_equal(np.asarray(image), grey)
    with pytest.raises(ValueError, match="three channels"):
        png.decode(png.encode(grey, 9))


def test_no_picture_is_told() -> None:
    with pytest.raises(ValueError, match="not a PNG"):
        png.decode(b"GIF89a..")
    damaged = bytearray(png.encode(waves(40, 40), 4))
    damaged[60] ^= 255
    with pytest.raises(ValueError, match="damaged"):
        png.decode(bytes(damaged))


def test_bands_cost_next_to_nothing() -> None:
    pixels = waves(1500, 800)
    plain = io.BytesIO()
    Image.fromarray(pixels).save(plain, "PNG", compress_level=6)
    assert len(png.encode(pixels, 6)) < 1.02 * len(plain.getvalue())


def test_the_bytes_do_not_depend_on_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = waves(700, 90)
    many = png.encode(pixels, 4)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert png.encode(pixels, 4) == many
