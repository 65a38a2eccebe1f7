"""UV checks on layouts with known overlaps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from recon3d_runner.quality.uv_checks import check_uv
from recon3d_runner.types import TexturedMesh

MakeBlob = Callable[..., TexturedMesh]


def flat(uv: list[list[float]], uv_faces: list[list[int]], size: int = 100) -> TexturedMesh:
    """Separate faces in space, each a right triangle of area 1/2, with the given UV layout."""
    count = len(uv_faces)
    vertices = np.concatenate([np.array([[0, 0, k], [1, 0, k], [0, 1, k]], float) for k in range(count)])
    return TexturedMesh(
        vertices,
        np.arange(3 * count, dtype=np.int32).reshape(-1, 3),
        np.array(uv, float),
        np.array(uv_faces, np.int32),
        np.zeros((size, size, 3), np.uint8),
        np.zeros((size, size), np.bool_),
    )


SQUARE = [[0.0, 0.0], [0.5, 0.0], [0.5, 0.5], [0.0, 0.5]]


def test_neighbours_do_not_overlap() -> None:
    got = check_uv(flat(SQUARE, [[0, 1, 2], [0, 2, 3]]))
    assert (got.overlapping_pairs, got.overlap_share, got.flipped_faces) == (0, 0, 0)
    assert got.used_share == pytest.approx(0.25)
    assert got.complete


def test_a_fold_over_the_shared_edge_overlaps_and_is_flipped() -> None:
    got = check_uv(flat([*SQUARE, [0.5, 0.25]], [[0, 1, 2], [0, 2, 4], [0, 2, 3]]))
    assert got.overlapping_pairs == 1
    assert got.flipped_faces == 1
    # Areas 1/8, 1/16, 1/8 of the texture; the fold lies wholly within its neighbour.
    assert got.overlap_share == pytest.approx((1 / 16) / (5 / 16))


def test_known_share_of_two_crossing_triangles() -> None:
    uv = [[0.1, 0.1], [0.5, 0.1], [0.1, 0.5], [0.2, 0.2], [0.6, 0.2], [0.2, 0.6]]
    got = check_uv(flat(uv, [[0, 1, 2], [3, 4, 5]]))
    assert got.overlapping_pairs == 1
    assert got.overlap_share == pytest.approx((0.2**2 / 2) / (0.4**2))
    assert check_uv(flat(uv, [[0, 2, 1], [3, 4, 5]])).overlapping_pairs == 1


def test_identical_triangles_count_once_per_pair() -> None:
    got = check_uv(flat(SQUARE, [[0, 1, 2]] * 4))
    assert got.overlapping_pairs == 6


def test_an_overlap_below_the_tolerance_is_none() -> None:
    uv = [[0.0, 0.0], [0.4, 0.0], [0.0, 0.4], [0.2 - 1e-5, 0.2 - 1e-5], [0.6, 0.2], [0.6, 0.6]]
    assert check_uv(flat(uv, [[0, 1, 2], [3, 4, 5]])).overlapping_pairs == 0
    uv[3] = [0.19, 0.19]
    assert check_uv(flat(uv, [[0, 1, 2], [3, 4, 5]])).overlapping_pairs == 1


def test_range_and_degenerate_faces() -> None:
    got = check_uv(flat([[0, 0], [1.2, 0], [0, 1], [0.5, 0.5], [-0.1, 0.2], [7, 7]], [[0, 1, 2], [3, 3, 4]]))
    assert got.out_of_range == 2
    assert got.degenerate_faces == 1


def test_texel_density() -> None:
    # UV legs of half a texture of 100 texels along edges of length 1: 50 texels per unit.
    got = check_uv(flat(SQUARE, [[0, 1, 2], [0, 2, 3]]))
    assert got.texels_per_unit_median == pytest.approx(50)
    assert (got.texels_per_unit_p5, got.texels_per_unit_p95) == pytest.approx((50, 50))


def test_an_atlas_is_clean_and_a_shifted_chart_is_not(make_blob: MakeBlob) -> None:
    mesh = make_blob(4)
    assert check_uv(mesh).overlapping_pairs == 0
    uv = mesh.uv.copy()
    uv[uv[:, 0] < 1 / 3] += (1 / 3, 0)  # two columns of charts onto each other
    got = check_uv(replace(mesh, uv=uv))
    assert got.overlapping_pairs > len(mesh.faces) / 6
    assert 0.2 < got.overlap_share < 0.6
