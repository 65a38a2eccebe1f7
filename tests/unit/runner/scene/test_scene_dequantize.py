"""Rounding undone: inside every pixel's interval, nearer to the truth, and never across an edge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recon3d_runner.scene.dequantize import dequantize

N = 64
Y, X = np.mgrid[:N, :N] + 0.5
RADIUS = np.hypot(X - N / 2, Y - N / 2)
EVERYWHERE = np.ones((N, N), bool)

SURFACES = {
    "slope": (20 + 0.13 * X + 0.07 * Y, EVERYWHERE),
    "gentle slope": (20 + 0.03 * X - 0.02 * Y, EVERYWHERE),
    "ball": (40 - 10 * (1 - np.sqrt(np.clip(1 - (RADIUS / 40) ** 2, 0, 1))), RADIUS < 28),
    "wave": (30 + 4 * np.sin(X / 9) * np.cos(Y / 11), EVERYWHERE),
}


@pytest.mark.parametrize("name", SURFACES)
def test_the_error_shrinks_and_stays_within_the_rounding(name: str) -> None:
    exact, inside = SURFACES[name]
    code = np.where(inside, np.round(exact), 0).astype(np.float32)
    found = dequantize(code, inside, 4.0)
    before = np.sqrt(np.square(code - exact)[inside].mean())
    after = np.sqrt(np.square(found - exact)[inside].mean())
    assert np.abs(found - code)[inside].max() <= 0.5 + 1e-5
    assert after < 0.4 * before
    # No terraces: neighbouring slopes differ far less than the steps' did.
    bend = np.abs(np.diff(found, 2, axis=1))[:, 2:-2][inside[:, 3:-3] & inside[:, 1:-5] & inside[:, 5:-1]]
    assert np.percentile(bend, 95) < 0.25


def test_what_is_outside_keeps_its_code() -> None:
    exact, inside = SURFACES["ball"]
    code = np.where(inside, np.round(exact), 3).astype(np.float32)
    np.testing.assert_array_equal(dequantize(code, inside, 4.0)[~inside], 3)


def test_a_step_between_two_surfaces_stays_a_step() -> None:
    exact = np.where(X < N / 2, 20 + 0.1 * Y, 45 - 0.1 * Y)
    found = dequantize(np.round(exact).astype(np.float32), EVERYWHERE, 4.0)
    assert np.sqrt(np.square(found - exact).mean()) < 0.15
    step = found[:, N // 2] - found[:, N // 2 - 1]
    np.testing.assert_allclose(step, (exact[:, N // 2] - exact[:, N // 2 - 1]), atol=0.7)


def test_the_background_does_not_pull_at_the_outline() -> None:
    """The same surface, with and without a background of another code around it."""
    exact, inside = SURFACES["ball"]
    black = dequantize(np.where(inside, np.round(exact), 0).astype(np.float32), inside, 4.0)
    white = dequantize(np.where(inside, np.round(exact), 255).astype(np.float32), inside, 4.0)
    np.testing.assert_allclose(black[inside], white[inside], atol=0.02)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([16, 22, 33]))
def test_any_codes_stay_in_their_boxes(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    code = rng.integers(0, 9, (size, size)).astype(np.float32)
    inside = rng.random((size, size)) < 0.8
    found = dequantize(code, inside, 4.0, iterations=20)
    assert np.isfinite(found).all()
    assert np.abs(found - code).max() <= 0.5 + 1e-5


def test_a_flat_code_stays_flat() -> None:
    np.testing.assert_allclose(dequantize(np.full((32, 32), 9, np.float32), np.ones((32, 32), bool), 4.0), 9, atol=1e-6)
