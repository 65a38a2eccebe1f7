"""Distances, outlines and crops of pictures: what scikit-image and SciPy say, only sooner."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recon3d_runner.crop import around
from recon3d_runner.nearest import nearest_marked
from recon3d_runner.outline import outlines
from scipy import ndimage
from skimage.measure import find_contours

SHAPES = st.tuples(st.integers(1, 24), st.integers(1, 24))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), SHAPES, st.sampled_from([0.02, 0.2, 0.9]))
def test_the_nearest_marked_pixel_is_as_near_as_any(seed: int, shape: tuple[int, int], share: float) -> None:
    marked = np.random.default_rng(seed).random(shape) < share
    distance, index = nearest_marked(marked)
    if not marked.any():
        assert (index == -1).all()
        assert np.isinf(distance).all()
        return
    np.testing.assert_allclose(distance, ndimage.distance_transform_edt(~marked), rtol=1e-6)
    j, i = np.divmod(index, shape[1])
    assert marked[j, i].all()
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    np.testing.assert_allclose(np.hypot(j - rows, i - columns), distance, rtol=1e-6)


def lines_of(found: list[np.ndarray]) -> list[tuple[int, ...]]:
    """Closed lines as they are wherever they begin: their points, the smallest first, in the line's own direction."""
    out = []
    for line in found:
        np.testing.assert_allclose(line[0], line[-1])
        ring = [tuple(point) for point in np.round(line[:-1], 9).tolist()]
        first = ring.index(min(ring))
        out.append(tuple(ring[first:] + ring[:first]))
    return sorted(out)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), SHAPES)
def test_outlines_are_the_marching_squares(seed: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    alpha = ndimage.gaussian_filter(rng.random(shape), 1).astype(np.float32)
    alpha = np.clip((alpha - alpha.mean()) * 4 + 0.5, 0, 1)
    expected = [line - 1 for line in find_contours(np.pad(alpha, 1), 0.5)]
    assert lines_of(outlines(alpha)) == lines_of(expected)


def test_nothing_has_no_outline() -> None:
    assert outlines(np.zeros((8, 8), np.float32)) == []


@pytest.mark.parametrize(
    ("margin", "block", "rows", "columns"),
    [(0, 1, (3, 6), (9, 10)), (2, 1, (1, 8), (7, 12)), (4, 4, (0, 12), (4, 12)), (30, 1, (0, 12), (0, 12))],
)
def test_the_box_around_a_mask(margin: int, block: int, rows: tuple[int, int], columns: tuple[int, int]) -> None:
    mask = np.zeros((12, 12), bool)
    mask[3:6, 9] = True
    assert around(mask, margin, block) == (slice(*rows), slice(*columns))
    assert around(np.zeros((5, 5), bool), 0) == (slice(0, 0), slice(0, 0))
