"""Read the verified PNGs into arrays."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from recon3d_contract.conventions import VIEWS

from recon3d_runner.types import F32, U8


@dataclass(frozen=True)
class RawView:
    """One view as its files hold it."""

    name: str
    rgb: U8
    """(H, H, 3)."""
    alpha: F32 | None
    """(H, H) in [0, 1]; None where the file has no useful alpha channel."""
    gray: NDArray[np.uint16] | None
    """(h, h) depth codes; None for jobs without depth."""
    gray_max: int
    """255 or 65535."""


def unit(rgb: U8) -> F32:
    """Bytes to [0, 1]."""
    out: F32 = rgb.astype(np.float32)
    out /= np.float32(255)
    return out


def read_view(folder: Path, name: str) -> RawView:
    """Read `multi_views/<name>.png` and, if there, `depth_renders/<name>.png` of a checked input folder."""
    with Image.open(folder / "multi_views" / f"{name}.png", formats=("PNG",)) as image:
        pixels = np.asarray(image)
    alpha = None
    if pixels.shape[2] == 4:
        channel = pixels[..., 3]
        if channel.min() < 128 and channel.max() == 255:
            alpha = channel.astype(np.float32) / np.float32(255)
        pixels = pixels[..., :3]
    gray, gray_max = None, 255
    path = folder / "depth_renders" / f"{name}.png"
    if path.is_file():
        with Image.open(path, formats=("PNG",)) as image:
            gray_max = 255 if image.mode in ("L", "1") else 65535
            gray = np.asarray(image).astype(np.uint16)
    return RawView(name, np.ascontiguousarray(pixels), alpha, gray, gray_max)


def read_views(folder: Path) -> list[RawView]:
    """All six views, decoded in parallel, in the order of `conventions.VIEWS`."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda name: read_view(folder, name), VIEWS))
