"""Signs against rational arithmetic, on points where float64 rounding decides wrongly."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recon3d_runner.quality.predicates import orient2d, orient3d

coordinate = st.one_of(
    st.integers(-3, 3).map(float),
    st.floats(-1e3, 1e3, allow_subnormal=False).filter(lambda x: x == 0 or abs(x) > 1e-30),
)
points = st.lists(st.tuples(coordinate, coordinate, coordinate), min_size=4, max_size=4)


def rational_orient3d(rows: np.ndarray) -> int:
    a, b, c, d = ([Fraction(float(x)) for x in row] for row in rows)
    u, v, w = ([p[k] - d[k] for k in range(3)] for p in (a, b, c))
    value = u[0] * (v[1] * w[2] - v[2] * w[1]) - u[1] * (v[0] * w[2] - v[2] * w[0]) + u[2] * (v[0] * w[1] - v[1] * w[0])
    return (value > 0) - (value < 0)


def rational_orient2d(row: list[float]) -> int:
    ax, ay, bx, by, cx, cy = (Fraction(x) for x in row)
    value = (ax - cx) * (by - cy) - (ay - cy) * (bx - cx)
    return (value > 0) - (value < 0)


@given(points)
@settings(max_examples=300, deadline=None)
def test_orient3d_matches_rational_arithmetic(rows: list[tuple[float, float, float]]) -> None:
    p = np.array(rows)
    assert orient3d(*p) == rational_orient3d(p)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_orient3d_of_nearly_coplanar_points(seed: int, dtype: type) -> None:
    rng = np.random.default_rng(seed)
    naive_wrong = 0
    for _ in range(300):
        a, b, c = rng.normal(size=(3, 3)) + 10
        weights = rng.dirichlet(np.ones(3))
        p = np.array([a, b, c, weights @ [a, b, c]]).astype(dtype).astype(np.float64)
        p[3] = np.nextafter(p[3], rng.normal(size=3) * 100)
        expected = rational_orient3d(p)
        assert orient3d(*p) == expected
        naive_wrong += np.sign(np.linalg.det(p[:3] - p[3])) != expected
    if dtype is np.float64:
        assert naive_wrong  # the cases are hard enough to need exactness


@given(st.lists(coordinate, min_size=6, max_size=6))
@settings(max_examples=300, deadline=None)
def test_orient2d_matches_rational_arithmetic(row: list[float]) -> None:
    assert orient2d(*row) == rational_orient2d(row)


def test_orient2d_on_a_line_that_float64_cannot_see() -> None:
    for k in range(200):
        x = 0.5 + k * 2.0**-53
        row = [x, 0.5, 12.0, 12.0, 24.0, 24.0]
        assert orient2d(*row) == rational_orient2d(row)


def test_orientation_convention() -> None:
    corners = np.eye(3)
    assert orient3d(*corners, np.zeros(3)) == 1
    assert orient3d(*corners, np.ones(3)) == -1
    assert orient2d(0.0, 0.0, 1.0, 0.0, 0.0, 1.0) == 1
