"""PSNR, SSIM, silhouette IoU and depth error of a render against its input view.

Images are sRGB in [0, 1] over white at the input's resolution; the foreground is the union of both masks. SSIM
is that of Wang et al. 2004 (Gaussian, sigma 1.5, cut at radius 5, data range 1, K1 .01, K2 .03, population
covariance, reflected at the border), per channel, its map averaged over the mask: scikit-image's
structural_similarity(full=True, gaussian_weights=True, use_sample_covariance=False), to float32 rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from recon3d_runner.quality.jit import kernel
from recon3d_runner.types import F32, Bool

RADIUS: Final = 5
_TAPS: Final = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / 1.5) ** 2)
WINDOW: Final[F32] = (_TAPS / _TAPS.sum()).astype(np.float32)
PSNR_CAP: Final = 100.0
"""dB reported for images that do not differ, so that no infinity reaches JSON."""


@dataclass(frozen=True)
class ImageMetrics:
    """One render against one input view."""

    psnr: float
    """dB over the foreground."""
    ssim: float
    """Mean of the SSIM map over the foreground."""
    psnr_full: float
    """dB over the whole frame."""
    ssim_full: float
    """Mean of the SSIM map over the whole frame."""
    iou: float
    """Silhouette intersection over union, at half coverage."""


@dataclass(frozen=True)
class DepthError:
    """Depth of a render against the input's depth, over the pixels that both cover."""

    median_pct: float
    """Median |dz| in % of the mesh's diagonal."""
    mean_pct: float
    """Mean |dz| in % of the mesh's diagonal."""
    pixels: int
    """How many pixels both cover."""


def over_white(rgb: F32, alpha: F32, background: F32 | None) -> F32:
    """An input image (H, H, 3) composited over white.

    `background` (3,) is the colour already mixed into an opaque file's edge pixels; None means that the file has
    its own alpha channel and straight, unmixed colours.
    """
    if background is not None and np.all(np.asarray(background) == 1):
        return rgb
    empty = (1 - alpha)[..., None]
    if background is None:
        return np.asarray(rgb * alpha[..., None] + empty, np.float32)
    return np.asarray(np.clip(rgb + empty * (1 - np.asarray(background, np.float32)), 0, 1), np.float32)


def psnr(reference: F32, image: F32, mask: Bool | None = None) -> float:
    """PSNR in dB of (H, W, C) images over the pixels of `mask`, at most PSNR_CAP; NaN without any pixel."""
    square = np.square(reference - image, dtype=np.float32).mean(axis=-1)
    return _decibels(square, square.size) if mask is None else _decibels(square[mask], int(mask.sum()))


def _decibels(square: F32, count: int) -> float:
    if not count:
        return float("nan")
    error = float(square.sum(dtype=np.float64)) / count
    return min(PSNR_CAP, -10 * float(np.log10(max(error, 1e-30))))


def compare(reference: F32, alpha: F32, image: F32, image_alpha: F32) -> ImageMetrics:
    """All image metrics of two (H, W, 3) images over white and their (H, W) coverages.

    Works on the part where anything is not white: elsewhere both agree, error 0 and SSIM 1.
    """
    frame = alpha.size
    inside, drawn = alpha > 0.5, image_alpha > 0.5
    foreground = inside | drawn
    rows, columns = _bounds((reference != 1).any(axis=-1) | (image != 1).any(axis=-1) | foreground, RADIUS)
    a, b = reference[rows, columns], image[rows, columns]
    mask = foreground[rows, columns]
    if not mask.any():
        return ImageMetrics(float("nan"), float("nan"), psnr(reference, image), 1.0, float("nan"))
    square = np.square(a - b).mean(axis=-1)
    similarity = ssim_map(a, b)
    return ImageMetrics(
        psnr=_decibels(square[mask], int(mask.sum())),
        ssim=float(similarity[mask].mean(dtype=np.float64)),
        psnr_full=_decibels(square, frame),
        ssim_full=1 - float((1 - similarity).sum(dtype=np.float64)) / frame,
        iou=float((inside & drawn).sum() / foreground.sum()),
    )


def _bounds(mask: Bool, margin: int) -> tuple[slice, slice]:
    """Rows and columns of the box around `mask`, wider by `margin`, within the image."""
    found = []
    for axis in (1, 0):
        line = np.flatnonzero(mask.any(axis=axis))
        low, high = (int(line[0]), int(line[-1]) + 1) if len(line) else (0, 0)
        found.append(slice(max(low - margin, 0), min(high + margin, mask.shape[1 - axis])))
    return found[0], found[1]


def ssim_map(reference: F32, image: F32) -> F32:
    """(H, W) SSIM at each pixel of two (H, W, C) images, the mean over the channels; H, W >= 6."""
    if min(reference.shape[:2]) <= RADIUS:
        raise ValueError(f"SSIM needs images of more than {RADIUS} pixels a side, got {reference.shape[:2]}")
    out = np.zeros(reference.shape[:2], np.float32)
    for channel in range(reference.shape[2]):
        a = np.ascontiguousarray(reference[..., channel], np.float32)
        b = np.ascontiguousarray(image[..., channel], np.float32)
        _add_ssim(a, b, WINDOW, out)
    return np.asarray(out / np.float32(reference.shape[2]), np.float32)


@kernel
def _add_ssim(a: F32, b: F32, window: F32, out: F32) -> None:
    """Add one channel's SSIM map to `out`. Rows are filtered along x once, kept in a ring, summed along y."""
    height, width = a.shape
    taps = len(window)
    radius = taps // 2
    ring = np.zeros((taps, 5, width), np.float32)
    padded = np.zeros((5, width + 2 * radius), np.float32)
    moment = np.zeros((5, width), np.float32)
    c1, c2 = np.float32(0.01**2), np.float32(0.03**2)
    two = np.float32(2)
    for step in range(-radius, height + radius):
        row = step if step >= 0 else -step - 1  # mirrored, the edge pixel repeated
        row = row if row < height else 2 * height - 1 - row
        for x in range(-radius, width + radius):
            k = x if x >= 0 else -x - 1
            k = k if k < width else 2 * width - 1 - k
            p, q = a[row, k], b[row, k]
            padded[0, x + radius], padded[1, x + radius] = p, q
            padded[2, x + radius], padded[3, x + radius], padded[4, x + radius] = p * p, q * q, p * q
        slot = (step + radius) % taps
        for m in range(5):
            line, source = ring[slot, m], padded[m]
            for x in range(width):
                line[x] = window[radius] * source[x + radius]
            for t in range(radius):
                w = window[t]
                for x in range(width):
                    line[x] += w * (source[x + t] + source[x + taps - 1 - t])
        y = step - radius
        if y < 0:
            continue
        for m in range(5):
            moment[m] = np.float32(0)
        for t in range(taps):
            w, from_slot = window[t], (y + t) % taps
            for m in range(5):
                line, target = ring[from_slot, m], moment[m]
                for x in range(width):
                    target[x] += w * line[x]
        for x in range(width):
            ma, mb = moment[0, x], moment[1, x]
            va, vb, vab = moment[2, x] - ma * ma, moment[3, x] - mb * mb, moment[4, x] - ma * mb
            out[y, x] += ((two * ma * mb + c1) * (two * vab + c2)) / ((ma * ma + mb * mb + c1) * (va + vb + c2))


def depth_error(reference: F32, depth: F32, diagonal: float) -> DepthError:
    """Compare two (h, h) z-depths, NaN on the background, in % of `diagonal` (world units)."""
    error = np.abs(reference - depth)
    error = error[np.isfinite(error)]
    if not len(error):
        return DepthError(float("nan"), float("nan"), 0)
    scale = 100 / diagonal
    return DepthError(float(np.median(error)) * scale, float(error.mean(dtype=np.float64)) * scale, len(error))
