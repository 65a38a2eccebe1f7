"""Corners of outlines: put in where straight sides meet, to a fraction of a pixel, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_objects import box, l_block
from drawn_scenes import photograph
from numpy.typing import NDArray
from recon3d_contract.conventions import VIEWS
from recon3d_runner.outline import outlines
from recon3d_runner.raster.cpu import project
from recon3d_runner.scene.corners import with_corners
from recon3d_runner.scene.coverage import coverage
from recon3d_runner.scene.images import read_view
from recon3d_runner.scene.masks import find_mask
from scipy.spatial import ConvexHull

F64 = NDArray[np.float64]


def turned_square(side: float, angle: float, rounding: float = 0.0) -> tuple[F64, NDArray[np.bool_]]:
    """The outline of a turned square with rounded corners, exact where it is straight, and the centres within."""
    y, x = np.mgrid[:96, :96] - 47.3
    c, s = np.cos(angle), np.sin(angle)
    apart = np.abs(np.stack([c * y + s * x, c * x - s * y])) - side / 2 + rounding
    outside = np.hypot(*np.maximum(apart, 0)) + np.minimum(apart.max(0), 0) - rounding
    (loop,) = outlines((0.5 - outside / 4).clip(0, 1).astype(np.float32))
    return np.pad(loop[:-1], ((0, 0), (0, 1)), constant_values=0.02), outside <= 0


@pytest.mark.parametrize("make", [box, l_block])
def test_corners_of_a_printed_box_are_whole(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Every corner of the hull, white print beside it or not; pixels alone cut them by a third of a pixel and more."""

    def printed(points: F64) -> F64:
        white = np.sin(9 * points[..., :1] + 7 * points[..., 1:2] + 11 * points[..., 2:]) > 0.8
        return np.where(white, 1.0, np.array((0.15, 0.4, 0.55)))

    thing = replace(make(), paint=printed)
    pictures = photograph(thing, size=512)
    folder, off = pictures.write(tmp_path), []
    for view, exact in zip(VIEWS, pictures.truth, strict=True):
        at = project(thing.vertices, exact.camera, 512)[:, :2]
        hull = ConvexHull(at)
        found = np.concatenate(find_mask(read_view(folder, view)).outline)[:, 1::-1] + 0.5
        for k in hull.vertices:
            # The corner's direction: as far out as the outline reaches there.
            out = hull.equations[(hull.simplices == k).any(1), :2].mean(0)
            off.append(((found - at[k]) @ (out / np.linalg.norm(out))).max())
    assert len(off) >= 24
    assert np.median(np.abs(off)) < 0.1
    assert np.quantile(np.abs(off), 0.9) < 0.4


@pytest.mark.parametrize("angle", [0.0, 0.1, 0.4, 0.7])
def test_a_square_has_four_corners(angle: float) -> None:
    loop, inside = turned_square(50, angle)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = 47.3 + 25 * np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]) @ turn.T
    cut, whole = (
        [np.linalg.norm(points[:, :2] - corner, axis=1).min() for corner in corners]
        for points in (loop, with_corners(loop, inside))
    )
    assert max(cut) > 0.3
    assert max(whole) < 0.05


@pytest.mark.parametrize("rounding", [6.0, 12.0])
def test_a_round_corner_stays_round(rounding: float) -> None:
    loop, inside = turned_square(60, 0.4, rounding)
    assert np.array_equal(with_corners(loop, inside)[:, :2], loop[:, :2])


def test_where_an_outline_turns_it_is_less_sure() -> None:
    loop, inside = turned_square(60, 0.4, 6.0)
    sigma = with_corners(loop, inside)[:, 2]
    assert sigma.min() == 0.02
    assert sigma.max() > 0.04


def test_coverage_is_half_on_the_outline() -> None:
    """Within a few hundredths of a pixel, however the outline lies to the pixels."""
    for angle in (0.0, 0.2, 0.7):
        for shift in (0.1, 0.25, 0.4):
            turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            square = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) * 20.0 @ turn + 40 + shift
            (back,) = outlines(coverage([square], 80))
            off = np.abs((back - 40 - shift) @ turn.T).max(1) - 20
            clear = np.abs(np.abs((back - 40 - shift) @ turn.T).min(1)) < 15
            assert np.abs(off[clear]).max() < 0.04
