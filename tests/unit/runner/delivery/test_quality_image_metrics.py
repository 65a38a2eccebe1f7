"""Image metrics against scikit-image and against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from recon3d_runner.quality.image_metrics import PSNR_CAP, compare, depth_error, over_white, psnr, ssim_map
from recon3d_runner.types import F32
from skimage.metrics import peak_signal_noise_ratio, structural_similarity


def noisy_pair(seed: int, shape: tuple[int, int] = (90, 131)) -> tuple[F32, F32]:
    rng = np.random.default_rng(seed)
    first = rng.random((*shape, 3)).astype(np.float32)
    return first, np.clip(first + rng.normal(0, 0.1, first.shape), 0, 1).astype(np.float32)


def skimage_map(first: F32, second: F32) -> np.ndarray:
    return structural_similarity(
        first.astype(np.float64),
        second.astype(np.float64),
        channel_axis=2,
        data_range=1,
        full=True,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )[1].mean(axis=-1)


@pytest.mark.parametrize("shape", [(90, 131), (6, 40), (11, 11)])
@pytest.mark.parametrize("seed", [0, 1])
def test_ssim_map_matches_scikit_image(seed: int, shape: tuple[int, int]) -> None:
    first, second = noisy_pair(seed, shape)
    if min(shape) >= 11:  # scikit-image wants the whole window inside
        assert np.abs(ssim_map(first, second) - skimage_map(first, second)).max() < 5e-6
    assert ssim_map(first, first) == pytest.approx(1, abs=1e-6)


def test_ssim_in_flat_regions_keeps_its_precision() -> None:
    first = np.full((40, 40, 3), 0.9, np.float32)
    second = first + np.float32(0.01)
    assert np.abs(ssim_map(first, second) - skimage_map(first, second)).max() < 1e-3
    with pytest.raises(ValueError, match="more than 5 pixels"):
        ssim_map(first[:5], second[:5])


def test_psnr_by_hand() -> None:
    zeros = np.zeros((4, 4, 3), np.float32)
    image = zeros.copy()
    image[0, 0] = 0.1
    mask = np.zeros((4, 4), np.bool_)
    mask[0] = True
    assert psnr(zeros, image, mask) == pytest.approx(-10 * np.log10(0.01 / 4), abs=1e-4)
    assert psnr(zeros, image) == pytest.approx(peak_signal_noise_ratio(zeros, image, data_range=1), abs=1e-4)
    assert psnr(zeros, zeros) == PSNR_CAP
    assert np.isnan(psnr(zeros, zeros, np.zeros((4, 4), np.bool_)))


def disc(size: int, radius: float, shift: int = 0) -> F32:
    y, x = np.mgrid[:size, :size] + 0.5
    return (np.hypot(x - size / 2 - shift, y - size / 2) < radius).astype(np.float32)


def test_compare_equals_the_plain_definition_on_the_whole_frame() -> None:
    first, second = noisy_pair(3, (128, 128))
    alpha, other = disc(128, 30), disc(128, 30, 4)
    reference, image = over_white(first, alpha, None), over_white(second, other, None)
    got = compare(reference, alpha, image, other)
    foreground = (alpha > 0.5) | (other > 0.5)
    similarity = skimage_map(reference, image)
    assert got.psnr == pytest.approx(psnr(reference, image, foreground), abs=1e-4)
    assert got.psnr_full == pytest.approx(psnr(reference, image), abs=1e-4)
    assert got.ssim == pytest.approx(similarity[foreground].mean(), abs=1e-5)
    assert got.ssim_full == pytest.approx(similarity.mean(), abs=1e-5)
    assert got.iou == pytest.approx(((alpha > 0.5) & (other > 0.5)).sum() / foreground.sum())
    assert got.iou < 0.95
    assert got.psnr < got.psnr_full


def test_equal_images_score_best_and_empty_ones_nothing() -> None:
    alpha = disc(64, 20)
    image = over_white(noisy_pair(0, (64, 64))[0], alpha, None)
    same = compare(image, alpha, image, alpha)
    assert (same.psnr, same.iou) == (PSNR_CAP, 1)
    assert same.ssim == pytest.approx(1, abs=1e-6)
    white, nothing = np.ones((64, 64, 3), np.float32), np.zeros((64, 64), np.float32)
    empty = compare(white, nothing, white, nothing)
    assert np.isnan(empty.psnr)
    assert np.isnan(empty.iou)
    assert compare(image, alpha, white, nothing).iou == 0


def test_over_white() -> None:
    half = np.array([[0.5]], np.float32)
    mixed_with_black = np.array([[[0.2, 0.2, 0.2]]], np.float32)  # colour .4 at half coverage over black
    assert over_white(mixed_with_black, half, np.zeros(3, np.float32)) == pytest.approx(0.7)
    assert over_white(mixed_with_black * 2, half, None) == pytest.approx(0.7)
    mixed_with_white = np.array([[[0.7, 0.7, 0.7]]], np.float32)
    assert over_white(mixed_with_white, half, np.ones(3, np.float32)) == pytest.approx(0.7)


def test_depth_error_over_common_pixels() -> None:
    first = np.array([[1.0, 2.0, np.nan], [3.0, np.nan, 5.0]], np.float32)
    second = np.array([[1.1, 2.0, 7.0], [3.2, np.nan, np.nan]], np.float32)
    got = depth_error(first, second, diagonal=2.0)
    assert got.pixels == 3
    assert got.median_pct == pytest.approx(5, rel=1e-5)
    assert got.mean_pct == pytest.approx(5, rel=1e-5)
    assert depth_error(first, np.full_like(first, np.nan), 1.0).pixels == 0
