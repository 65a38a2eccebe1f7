"""The comparison sheet: input, render and difference of every view side by side, labelled."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from recon3d_runner.quality.jit import kernel
from recon3d_runner.types import F32, U8

TILE: Final = 400
GAP: Final = 8
LEFT: Final = 150
TOP: Final = 64
BOTTOM: Final = 76
FULL_SCALE: Final = 0.25
"""Mean absolute difference of the channels that gets the darkest colour."""
RAMP: Final = np.array(
    [[255, 255, 255], [254, 217, 142], [254, 153, 41], [204, 76, 2], [102, 18, 37], [30, 0, 20]], np.float32
)
INK: Final = (28, 35, 48)
MUTED: Final = (96, 106, 122)
PAPER: Final = (255, 255, 255)
FRAME: Final = (222, 227, 234)


def heat(difference: F32) -> U8:
    """(H, W) differences in [0, 1] as colours: white for none, dark from FULL_SCALE on."""
    at = np.sqrt(np.clip(difference / FULL_SCALE, 0, 1)) * (len(RAMP) - 1)  # root: small errors must show
    low = np.minimum(at.astype(np.int64), len(RAMP) - 2)
    part = (at - low)[..., None]
    return np.asarray(np.round(RAMP[low] * (1 - part) + RAMP[low + 1] * part), np.uint8)


def shrink(image: F32, size: int) -> F32:
    """(H, H, C) or (H, H) to `size` by area averaging, linear in the stored values."""
    planes = image[..., None] if image.ndim == 2 else image
    out = np.empty((size, size, planes.shape[2]), np.float32)
    _shrink(planes, out)
    return out.reshape((size, size) + image.shape[2:])


@kernel
def _shrink(image: F32, out: F32) -> None:
    """Means of the pixels whose centres lie in each of `out`'s; where there is none, the pixel that covers it."""
    size, channels = out.shape[0], out.shape[2]
    scale = image.shape[0] / size
    ends = np.empty(size + 1, np.int64)
    for i in range(size + 1):
        ends[i] = int(i * scale + 0.5)
    for j in range(size):
        top = min(ends[j], image.shape[0] - 1)
        bottom = max(ends[j + 1], top + 1)
        for i in range(size):
            left = min(ends[i], image.shape[1] - 1)
            right = max(ends[i + 1], left + 1)
            share = np.float32(1.0 / ((bottom - top) * (right - left)))
            for k in range(channels):
                total = np.float32(0)
                for y in range(top, bottom):
                    for x in range(left, right):
                        total += image[y, x, k]
                out[j, i, k] = total * share


def white_border(images: Sequence[F32], margin: float = 0.04) -> float:
    """Share of the (H, H, 3) images' width that is white on every side of every one, less a margin."""
    size = int(images[0].shape[0])
    half: float = 0.1 * size
    for image in images:
        half = max(half, _reach(image))
    return max(0.0, 0.5 - half * (1 + 2 * margin) / size)


@kernel
def _reach(image: F32) -> float:
    """How far from the middle, in pixels along an axis, an (H, H, 3) image is not white."""
    size = image.shape[0]
    white = np.float32(0.998)
    reach = 0.0
    for j in range(size):
        for i in range(size):
            if image[j, i, 0] < white or image[j, i, 1] < white or image[j, i, 2] < white:
                reach = max(reach, abs(i + 0.5 - size / 2), abs(j + 0.5 - size / 2))
    return reach


def comparison_sheet(columns: Sequence[tuple[str, str, F32, F32]]) -> U8:
    """The sheet, (height, width, 3), of (name, score, input, render) columns; images (H, H, 3) over white.

    Every tile shows the same square around the image's middle, large enough for what every image shows.
    """
    step = TILE + GAP
    width, height = LEFT + len(columns) * step, TOP + 3 * step + BOTTOM
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    title, small = ImageFont.load_default(24), ImageFont.load_default(17)
    for row, (name, note) in enumerate((("Input", "given"), ("Render", "of mesh.glb"), ("Difference", "of the two"))):
        y = TOP + row * step + TILE // 2
        draw.text((18, y - 16), name, INK, title, anchor="lm")
        draw.text((18, y + 14), note, MUTED, small, anchor="lm")
    with ThreadPoolExecutor() as pool:
        border = min(pool.map(lambda column: white_border(column[2:]), columns))
        tiled = list(pool.map(lambda column: _tiles(column[2], column[3], border), columns))
    for column, ((name, score, _, _), tiles) in enumerate(zip(columns, tiled, strict=True)):
        x = LEFT + column * step
        draw.text((x + 2, TOP - 14), name, INK, title, anchor="ls")
        draw.text((x + TILE - 2, TOP - 14), score, MUTED, small, anchor="rs")
        for row, tile in enumerate(tiles):
            y = TOP + row * step
            sheet.paste(Image.fromarray(tile), (x, y))
            draw.rectangle((x, y, x + TILE - 1, y + TILE - 1), outline=FRAME)
    _legend(sheet, draw, small, height - BOTTOM + 18)
    return np.asarray(sheet)


def _tiles(reference: F32, image: F32, border: float) -> tuple[U8, U8, U8]:
    """Input, render and difference of one view, without the border."""
    low = int(border * reference.shape[0])
    square = slice(low, reference.shape[0] - low)
    reference, image = reference[square, square], image[square, square]
    return (
        np.round(shrink(reference, TILE) * 255).astype(np.uint8),
        np.round(shrink(image, TILE) * 255).astype(np.uint8),
        heat(shrink(_apart(reference, image), TILE)),
    )


@kernel
def _apart(reference: F32, image: F32) -> F32:
    """(H, H) mean absolute difference of the channels."""
    out = np.empty((reference.shape[0], reference.shape[1]), np.float32)
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            total = np.float32(0)
            for k in range(3):
                total += abs(reference[j, i, k] - image[j, i, k])
            out[j, i] = total / np.float32(3)
    return out


def _legend(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, y: int
) -> None:
    """The scale of the difference's colours."""
    width = 3 * TILE // 2
    share = np.linspace(0, FULL_SCALE, width, dtype=np.float32)
    sheet.paste(Image.fromarray(np.repeat(heat(share)[None], 18, axis=0)), (LEFT, y))
    draw.rectangle((LEFT, y, LEFT + width - 1, y + 17), outline=FRAME)
    for value in (0.0, 0.02, 0.05, 0.10, 0.25):
        x = LEFT + round((width - 1) * value / FULL_SCALE)
        draw.line((x, y + 18, x, y + 23), MUTED)
        draw.text((x, y + 26), f"{value * 100:g} %", MUTED, font, anchor="ma")
    draw.text((LEFT + width + 46, y + 9), "mean absolute difference of red, green and blue", MUTED, font, anchor="lm")
