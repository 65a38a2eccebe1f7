"""How far a pixel is trusted: the same as plain image filters say."""

from __future__ import annotations

import numpy as np
import pytest
from recon3d_runner.engines.nvdiffrec import sight
from recon3d_runner.types import Camera, View
from scipy import ndimage


@pytest.mark.parametrize("seed", range(3))
def test_trust_is_that_of_plain_filters(seed: int) -> None:
    rng = np.random.default_rng(seed)
    depth = ndimage.gaussian_filter(rng.standard_normal((64, 64)), 3).astype(np.float32)
    depth[rng.random((64, 64)) < 0.02] = np.nan
    depth[:, 40:] += 0.4
    alpha = np.clip(0.6 + ndimage.gaussian_filter(rng.standard_normal((64, 64)), 6) * 9, 0, 1).astype(np.float32)
    filled = np.where(np.isfinite(depth), depth, np.float32(1e6))
    edge = ndimage.maximum_filter(filled, 3) - ndimage.minimum_filter(filled, 3) > np.float32(0.2)
    wary = ndimage.binary_dilation(edge, iterations=2)
    want = np.where(edge, sight.SHY, np.where(wary, sight.WARY, 1.0))
    solid = ndimage.minimum_filter(alpha, 3) > sight.SOLID
    want = np.where(solid, want, np.where(alpha > sight.SOLID, sight.SHY**2, 0.0)).astype(np.float32)
    found, trust = np.empty(edge.shape, np.bool_), np.empty(edge.shape, np.float32)
    sight._edges(depth, np.float32(0.2), found)
    sight._trust(found, alpha, trust)
    assert np.array_equal(found, edge)
    assert np.array_equal(trust, want)
    assert len(np.unique(trust)) == 5


@pytest.mark.parametrize(("low", "high"), [(20, 50), (0, 64), (0, 31), (33, 64)])
def test_trust_is_the_same_where_only_the_object_is_looked_at(low: int, high: int) -> None:
    rng = np.random.default_rng(low)
    depth = (3 + ndimage.gaussian_filter(rng.standard_normal((64, 64)), 3)).astype(np.float32)
    depth[rng.random((64, 64)) < 0.02] = np.nan
    alpha = np.zeros((64, 64), np.float32)
    alpha[low:high, low + 2 : high] = 1
    camera = Camera(np.eye(3), np.array([0, 0, 3.0]), 40.0)
    seen = sight.sight_of(View("front", camera, np.zeros((1, 1, 3), np.float32), alpha, None), depth)
    edge, trust = np.empty(depth.shape, np.bool_), np.empty(depth.shape, np.float32)
    sight._edges(depth, np.float32(12 * 3 / camera.focal(64)), edge)
    sight._trust(edge, alpha, trust)
    np.testing.assert_array_equal(seen.trust, trust)
    assert len(np.unique(trust)) == 5
