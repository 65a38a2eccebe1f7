"""Depth's range by the colours that two views see of one place."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import drawn_objects
import numpy as np
import pytest
from drawn_scenes import Setup, look
from numpy.typing import NDArray
from recon3d_contract.conventions import VIEWS
from recon3d_runner.scene.prints import Range, depth_range
from recon3d_runner.types import View

SETUP = Setup(size=512, depth_size=512)
PIXEL = SETUP.distance / (0.5 * 512 / np.tan(np.radians(SETUP.fov) / 2))


def checks(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Print: dark and light fields with clear edges."""
    dark = np.sin(25 * points).prod(-1, keepdims=True) > 0
    return np.where(dark, (0.2, 0.1, 0.4), (0.8, 0.7, 0.3))


def plain(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.broadcast_to((0.5, 0.4, 0.3), points.shape)


@cache
def views(paint: object) -> tuple[View, ...]:
    thing = replace(drawn_objects.blob(), paint=paint)
    return tuple(look(thing, view, SETUP) for view in VIEWS)


def bent(seen: tuple[View, ...], change: Range, step: float = 4 * PIXEL) -> list[View]:
    return [change.view(replace(v, depth_step=step, depth_level=v.depth)) for v in seen]


def off(found: list[View], seen: tuple[View, ...]) -> float:
    """Pixels of depth at most."""
    return max(float(np.nanmax(np.abs(a.depth - b.depth))) for a, b in zip(found, seen, strict=True)) / PIXEL


@pytest.mark.parametrize(("shift", "stretch"), [(0.8, 0.0), (-0.6, 0.006), (0.3, -0.008)])
def test_print_puts_the_range_right(shift: float, stretch: float) -> None:
    wrong = bent(views(checks), Range(shift * PIXEL, stretch, SETUP.distance))
    change = depth_range(wrong)
    assert change is not None
    assert off(wrong, views(checks)) > 0.75
    assert off([change.view(view) for view in wrong], views(checks)) < 0.25


def test_a_view_that_is_darker_does_not_mislead() -> None:
    wrong = bent(views(checks), Range(0.8 * PIXEL, 0.004, SETUP.distance))
    wrong[0] = replace(wrong[0], rgb=0.95 * wrong[0].rgb)
    change = depth_range(wrong)
    assert change is not None
    assert off([change.view(view) for view in wrong], views(checks)) < 0.3


def test_nothing_is_changed_without_need_or_evidence() -> None:
    wrong = Range(0.8 * PIXEL, 0.004, SETUP.distance)
    assert depth_range(bent(views(checks), Range(0.0, 0.0, SETUP.distance))) is None  # it is right already
    assert depth_range(bent(views(plain), wrong)) is None  # there is no print
    assert depth_range(bent(views(checks), wrong, step=0.1 * PIXEL)) is None  # fine depth is known better
    assert depth_range([replace(view, depth=None) for view in views(checks)]) is None
