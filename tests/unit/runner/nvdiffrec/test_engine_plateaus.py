"""Walls at one depth level: found within it by the other views' outlines; everything else is left alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from recon3d_runner.engines.nvdiffrec import fusion, plateaus
from recon3d_runner.types import View
from scipy import ndimage

STEP = 0.014
"""Depth of a level: some three pixels."""


def rounded(view: View, phase: float) -> View:
    assert view.depth is not None
    depth = STEP * (np.floor(view.depth / STEP + phase) + 0.5 - phase)
    return replace(view, depth=depth.astype(np.float32), depth_step=STEP)


def settled(views: list[View]) -> list[View]:
    found, prepared = plateaus.settle(views, fusion.prepare_all(views))
    for view, p in zip(found, prepared, strict=True):
        np.testing.assert_array_equal(view.depth, p.depth)
    return found


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.6])
def test_a_box_s_walls_are_found(taken: Any, phase: float) -> None:
    _, pictures = taken("box", size=512)
    views = [rounded(view, phase) for view in pictures.truth]
    before, after = [], []
    for exact, coarse, found in zip(pictures.truth, views, settled(views), strict=True):
        before.append(abs(float(np.nanmedian(coarse.depth - exact.depth))))
        after.append(abs(float(np.nanmedian(found.depth - exact.depth))))
    assert max(before) > 0.25 * STEP
    assert max(after) < 0.12 * STEP


def test_a_wall_is_flat_to_its_sharp_edge(taken: Any) -> None:
    """Smoothing has bent its level's depth there; a wall whose edge is round keeps what it has."""

    def bent(view: View) -> View:
        inside = ndimage.distance_transform_edt(np.isfinite(view.depth))
        bend = 0.4 * STEP * np.clip(1 - inside / 8, 0, 1)
        return replace(view, depth=(view.depth + bend).astype(np.float32))

    _, pictures = taken("box", size=512)
    views = [bent(rounded(view, 0.3)) for view in pictures.truth]
    for exact, found in zip(pictures.truth, settled(views), strict=True):
        off = np.abs(found.depth - exact.depth)[np.isfinite(exact.depth)]
        assert np.percentile(off, 98) < 0.15 * STEP


def test_walls_with_round_edges_are_found_and_round(taken: Any) -> None:
    """Neither the flat part's rim nor the level's touches an outline: the width of the next levels says what does."""
    _, pictures = taken("soft_box", size=1024)
    before, after = [], []
    for phase in (0.15, 0.4, 0.8):
        views = [rounded(view, phase) for view in pictures.truth]
        for exact, coarse, found in zip(pictures.truth, views, settled(views), strict=True):
            wall = np.abs(coarse.depth - np.nanmin(coarse.depth)) < 0.5 * STEP
            assert np.percentile(np.abs(found.depth - exact.depth)[wall], 98) < 0.35 * STEP
            for view, errors in ((coarse, before), (found, after)):
                errors.append(float(np.abs(view.depth - exact.depth)[wall].mean()))
    assert np.mean(after) < 0.6 * np.mean(before)


def test_a_wall_stays_within_its_level(taken: Any) -> None:
    _, pictures = taken("box", size=256)
    # Outlines that are all wrong by far, as with a wrong angle of view.
    views = [rounded(replace(view, depth=view.depth + 3 * STEP), 0.0) for view in pictures.truth]
    for coarse, found in zip(views, settled(views), strict=True):
        assert np.nanmax(np.abs(found.depth - coarse.depth)) <= 0.5 * STEP + 1e-6


def test_fine_depth_and_curved_surfaces_are_left_alone(taken: Any) -> None:
    for name, change in (("box", lambda v: v), ("sphere", lambda v: replace(v, depth_step=STEP))):
        _, pictures = taken(name)
        views = [change(view) for view in pictures.truth]
        for given, found in zip(views, settled(views), strict=True):
            np.testing.assert_array_equal(given.depth, found.depth)


def test_the_flattest_part_of_a_curved_surface_is_no_wall(taken: Any) -> None:
    def capped(view: View) -> View:
        nearest = float(np.nanmin(view.depth))
        depth = np.where(view.depth < nearest + 0.8 * STEP, nearest + np.float32(0.4 * STEP), view.depth)
        return replace(view, depth=depth.astype(np.float32), depth_step=STEP)

    _, pictures = taken("sphere")
    views = [capped(view) for view in pictures.truth]
    assert plateaus._level(views[0].depth, 0.02 * STEP).sum() > 300
    for given, found in zip(views, settled(views), strict=True):
        np.testing.assert_array_equal(given.depth, found.depth)


def test_without_depth_there_is_nothing_to_settle(taken: Any) -> None:
    _, pictures = taken("box", depth=False)
    views, prepared = plateaus.settle(pictures.truth, fusion.prepare_all(pictures.truth))
    assert all(view.depth is None for view in views)
    assert len(prepared) == 6
