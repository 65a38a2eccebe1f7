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

from recon3d_runner.bands import in_bands
from recon3d_runner.crop import around
from recon3d_runner.quality.jit import kernel
from recon3d_runner.types import F32, Bool

RADIUS: Final = 5
_TAPS: Final = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / 1.5) ** 2)
WINDOW: Final[F32] = (_TAPS / _TAPS.sum()).astype(np.float32)
BANDS: Final = 4
"""More would filter too many rows twice."""
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
    square = square if mask is None else square[mask]
    return _decibels(float(square.sum(dtype=np.float64)), square.size)


def _decibels(total: float, count: int) -> float:
    """Of squared errors that add up to `total`."""
    if not count:
        return float("nan")
    return min(PSNR_CAP, -10 * float(np.log10(max(total / count, 1e-30))))


def compare(reference: F32, alpha: F32, image: F32, image_alpha: F32) -> ImageMetrics:
    """All image metrics of two (H, W, 3) images over white and their (H, W) coverages.

    Works on the part where anything is not white: elsewhere both agree, error 0 and SSIM 1.
    """
    frame = alpha.size
    shown, foreground = np.empty(alpha.shape, np.bool_), np.empty(alpha.shape, np.bool_)
    both, either = _cover(reference, alpha, image, image_alpha, shown, foreground)
    place = around(shown, RADIUS)
    if not either:
        return ImageMetrics(float("nan"), float("nan"), psnr(reference, image), 1.0, float("nan"))
    a, b = reference[place], image[place]
    square, similarity = _errors(a, b), ssim_map(a, b)
    inside, full, like, unlike = _sums(square, similarity, foreground[place])
    return ImageMetrics(
        psnr=_decibels(inside, either),
        ssim=like / either,
        psnr_full=_decibels(full, frame),
        ssim_full=1 - unlike / frame,
        iou=both / either,
    )


@kernel
def _cover(reference: F32, alpha: F32, image: F32, image_alpha: F32, shown: Bool, foreground: Bool) -> tuple[int, int]:
    """Mark what is not white or covered, and the foreground; returns how many pixels both, and either, cover."""
    both, either = 0, 0
    half = np.float32(0.5)
    for j in range(alpha.shape[0]):
        for i in range(alpha.shape[1]):
            one, two = alpha[j, i] > half, image_alpha[j, i] > half
            both += one and two
            either += one or two
            foreground[j, i] = one or two
            white = True
            for k in range(3):
                white = white and reference[j, i, k] == 1 and image[j, i, k] == 1
            shown[j, i] = one or two or not white
    return both, either


@kernel
def _errors(reference: F32, image: F32) -> F32:
    """(H, W) mean squared difference over three channels."""
    out = np.empty((reference.shape[0], reference.shape[1]), np.float32)
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            total = np.float32(0)
            for k in range(3):
                apart = reference[j, i, k] - image[j, i, k]
                total += apart * apart
            out[j, i] = total / np.float32(3)
    return out


@kernel
def _sums(square: F32, similarity: F32, mask: Bool) -> tuple[float, float, float, float]:
    """Errors within the mask and in all; similarity within the mask, and what it lacks of 1 in all."""
    inside, full, like, unlike = 0.0, 0.0, 0.0, 0.0
    for j in range(square.shape[0]):
        for i in range(square.shape[1]):
            full += square[j, i]
            unlike += np.float32(1) - similarity[j, i]
            if mask[j, i]:
                inside += square[j, i]
                like += similarity[j, i]
    return inside, full, like, unlike


def ssim_map(reference: F32, image: F32) -> F32:
    """(H, W) SSIM at each pixel of two (H, W, C) images, the mean over the channels; H, W >= 6."""
    if min(reference.shape[:2]) <= RADIUS:
        raise ValueError(f"SSIM needs images of more than {RADIUS} pixels a side, got {reference.shape[:2]}")
    reference, image = np.asarray(reference, np.float32), np.asarray(image, np.float32)
    out = np.zeros(reference.shape[:2], np.float32)

    def band(first: int, last: int) -> None:
        for channel in range(reference.shape[2]):
            _add_ssim(reference[..., channel], image[..., channel], WINDOW, first, last, out)

    in_bands(band, len(out), BANDS)
    out /= np.float32(reference.shape[2])
    return out


@kernel
def _add_ssim(a: F32, b: F32, window: F32, first: int, last: int, out: F32) -> None:
    """Add rows [first, last) of one channel's SSIM map to `out`.

    Rows are filtered along x once, kept in a ring, summed along y.
    """
    height, width = a.shape
    taps = len(window)
    radius = taps // 2
    ring = np.zeros((taps, 5, width), np.float32)
    padded = np.zeros((5, width + 2 * radius), np.float32)
    moment = np.zeros((5, width), np.float32)
    c1, c2 = np.float32(0.01**2), np.float32(0.03**2)
    two = np.float32(2)
    for step in range(first - radius, last + radius):
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
        if y < first:
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
