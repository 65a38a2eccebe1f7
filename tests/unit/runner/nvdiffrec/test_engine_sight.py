"""How far a pixel is trusted: the same as plain image filters say."""

from __future__ import annotations

import numpy as np
import pytest
from recon3d_runner.engines.nvdiffrec import sight
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
