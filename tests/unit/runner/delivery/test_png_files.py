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
