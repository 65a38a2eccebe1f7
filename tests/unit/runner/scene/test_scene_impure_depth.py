"""Depth renders as other programs hand them on: averaged to another size, anti-aliased, with noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_objects import blob, fins, torus
from drawn_scenes import Pictures, Recorder, photograph
from numpy.typing import NDArray
from recon3d_contract.errors import Recon3dError
from recon3d_runner.scene.assemble import Scene
from recon3d_runner.scene.blended import sharp_edges
from recon3d_runner.scene.images import read_views
from scipy import ndimage

Calibrated = Callable[..., tuple[Scene, Recorder]]
CLOSE = 0.5
"""Degrees."""


def changed(pictures: Pictures, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Pictures:
    """The same files with every depth render changed; whole codes of the same kind."""
    depths = {f"depth_{name}": np.round(change(gray)).astype(gray.dtype) for name, gray in pictures.depths.items()}
    return pictures.with_files(**depths)


def averaged(gray: NDArray[Any]) -> NDArray[Any]:
    """Half the size, every pixel the mean of four."""
    n = len(gray) // 2
    return np.asarray(gray.reshape(n, 2, n, 2).mean((1, 3)))


def smeared(gray: NDArray[Any]) -> NDArray[Any]:
    """As an anti-aliasing filter one pixel and a half wide leaves it."""
    fine = np.kron(gray.astype(np.float64), np.ones((2, 2)))
    return np.asarray(ndimage.uniform_filter(fine, 3)[::2, ::2])


def depth_error(scene: Scene, pictures: Pictures) -> float:
    """The largest difference from the true depth but for one pixel in thirty, in % of the distance."""
    off = []
    for view, truth in zip(scene.views, pictures.truth, strict=True):
        assert view.depth is not None
        assert truth.depth is not None
        exact = truth.depth[:: len(truth.depth) // len(view.depth), :: len(truth.depth) // len(view.depth)]
        both = np.isfinite(view.depth) & np.isfinite(exact)
        off.append(np.abs(view.depth / scene.calibration.distance - exact / pictures.setup.distance)[both])
    return 100 * float(np.percentile(np.concatenate(off), 97))


@pytest.mark.parametrize("encoding", ["white-near", "metric"])
@pytest.mark.parametrize(("change", "depth_size"), [(averaged, 512), (smeared, 256)])
def test_blended_edges_belong_to_one_side(
    calibrated: Calibrated, encoding: str, change: Callable[[NDArray[Any]], NDArray[Any]], depth_size: int
) -> None:
    bits = 8 if encoding == "white-near" else 16
    pictures = photograph(fins(), size=256, depth_size=depth_size, encoding=encoding, bits=bits)
    scene, _ = calibrated(changed(pictures, change))
    assert abs(scene.calibration.fov_deg - pictures.setup.fov) < CLOSE
    assert depth_error(scene, pictures) < 1.5


def test_noise_of_depth_is_smoothed(calibrated: Calibrated) -> None:
    """Four pixels of depth deep: as it is, such a set looks like views of different objects."""
    pictures = photograph(torus(), size=256, depth_size=256, encoding="metric", bits=16, fov=50)
    rng = np.random.default_rng(5)
    deep = 4 * 2 * np.tan(np.radians(25)) / 256 * 20000
    noisy = changed(pictures, lambda gray: np.where(gray > 0, gray + deep * rng.standard_normal(gray.shape), 0))
    scene, _ = calibrated(noisy)
    assert abs(scene.calibration.fov_deg - pictures.setup.fov) < CLOSE
    assert depth_error(scene, pictures) < 1.5


def normalised(gray: NDArray[Any]) -> NDArray[Any]:
    """Stretched to all codes, as programs do that show depth."""
    there = gray > 0
    low, high = gray[there].min(), gray[there].max()
    return np.where(there, 1 + 254 * (gray.astype(np.float64) - low) / (high - low), 0)


def test_depth_that_every_view_has_a_range_of_its_own_for_is_named_as_that(calibrated: Calibrated) -> None:
    with pytest.raises(Recon3dError, match=r"outlines of the six views agree.*one range for all six") as caught:
        calibrated(changed(photograph(blob(), size=512, depth_size=256), normalised))
    assert caught.value.details["outlines_agree"] is True


def test_a_view_of_something_else_is_no_matter_of_depth(calibrated: Calibrated) -> None:
    pictures, other = (photograph(thing, size=512, depth_size=256) for thing in (fins(), torus(0.7)))
    foreign = pictures.with_files(left=other.colours["left"], depth_left=other.depths["left"])
    with pytest.raises(Recon3dError, match="not show one object") as caught:
        calibrated(foreign)
    assert caught.value.details["outlines_agree"] is False


@pytest.mark.parametrize("encoding", ["white-near", "black-near", "metric"])
def test_sharp_edges_stay_as_they_are(tmp_path: Path, encoding: str) -> None:
    bits = 16 if encoding == "metric" else 8
    raw = read_views(photograph(torus(), size=256, depth_size=256, encoding=encoding, bits=bits).write(tmp_path))
    for before, after in zip(raw, sharp_edges(raw), strict=True):
        assert after is before


def test_a_background_of_many_colours_is_named_as_that(calibrated: Calibrated) -> None:
    pictures = photograph(fins(), size=256, depth_size=256)
    front = pictures.colours["front"].copy()
    dusk = np.broadcast_to(np.linspace(140, 250, 256)[:, None, None].astype(np.uint8), front.shape)
    empty = pictures.depths["front"] == 0
    front[empty] = dusk[empty]
    with pytest.raises(Recon3dError, match="background of the view 'front' is not one colour"):
        calibrated(pictures.with_files(front=front))
