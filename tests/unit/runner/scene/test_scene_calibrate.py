"""Calibration from the files alone: angle of view, depth encoding, orientation, and how sure it may be.

At the smallest size that jobs may have, 256 pixels; errors shrink with the pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
from drawn_objects import Drawn, blob, box, egg, fins, l_block, sphere, torus, waves
from drawn_scenes import Pictures, Recorder, metric_unit
from drawn_scenes import photograph as any_photograph
from recon3d_contract.errors import Recon3dError
from recon3d_runner.scene.assemble import Scene
from recon3d_runner.scene.calibrate import PRIOR_FOV
from scipy import ndimage

Calibrated = Callable[..., tuple[Scene, Recorder]]
photograph = partial(any_photograph, size=256, depth_size=256)
CLOSE = 0.5
"""Degrees."""


@dataclass(frozen=True)
class Case:
    """One set of pictures, and what was measured where the bar is missed."""

    fov: float
    encoding: str = "white-near"
    bits: int = 8
    ray: bool = False
    thing: Callable[[], Drawn] = blob
    more: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        kind = f"{self.encoding}{self.bits}{'-ray' if self.ray else ''}"
        return "-".join([self.thing.__name__, f"{self.fov:g}", kind, *self.more])

    def pictures(self) -> Pictures:
        return photograph(self.thing(), fov=self.fov, encoding=self.encoding, bits=self.bits, ray=self.ray, **self.more)


FOUND = [
    Case(20),
    Case(30, "metric", 16),
    Case(40, "black-near", more={"lit": True, "alpha": True}),
    Case(47, "black-near", 16, ray=True),
    Case(70),
    Case(40, thing=torus),
    Case(60, "metric", 16, thing=torus),
    Case(40, thing=l_block),
    Case(30, bits=16, thing=l_block),
    Case(50, "black-near", thing=fins, more={"fill": 0.7}),
]


@pytest.mark.parametrize("case", FOUND, ids=str)
def test_camera_and_depth_are_found(case: Case, calibrated: Calibrated) -> None:
    pictures = case.pictures()
    scene, run = calibrated(pictures)
    found, setup = scene.calibration, pictures.setup
    assert abs(found.fov_deg - case.fov) < CLOSE
    assert found.prior is None
    assert found.depth_encoding == case.encoding
    assert found.depth_is_ray is case.ray
    assert {tuple(view.values())[:2] for view in found.views.values()} == {(0, False)}
    assert not {code for code, _ in run.warnings} & {"view_repaired", "views_swapped", "calibration_prior"}
    assert run.stages == ["load", "masks", "calibrate"]
    # Depth as used, in camera distances, against the exact one.
    for view, exact in zip(scene.views, pictures.truth, strict=True):
        assert view.depth is not None
        assert exact.depth is not None
        error = np.abs(view.depth * setup.distance / found.distance - exact.depth)
        assert np.nanmedian(error) < 0.01
        outline = ndimage.binary_dilation(exact.alpha > 0) ^ ndimage.binary_erosion(exact.alpha == 1)
        assert not ((view.alpha >= 0.5) ^ (exact.alpha >= 0.5))[~outline].any()


@pytest.mark.parametrize(
    "case",
    [Case(20, "metric", 16), Case(20, "black-near", 16, ray=True)],
    ids=str,
)
def test_who_is_wrong_is_not_sure(case: Case, calibrated: Calibrated) -> None:
    found = calibrated(case.pictures())[0].calibration
    assert 0 <= found.confidence <= 1
    assert abs(found.fov_deg - case.fov) < CLOSE or found.confidence < 0.9


FAULTS = {
    "top rolled": ({"rolls": {"top": 1}}, {"top": (270, False)}),
    "two mirrored": ({"mirrors": ("front", "right")}, {"front": (0, True), "right": (0, True)}),
    "top mirrored, bottom rolled": (
        {"mirrors": ("top",), "rolls": {"bottom": 3}},
        {"top": (0, True), "bottom": (90, False)},
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_turned_views_are_put_upright(name: str, calibrated: Calibrated) -> None:
    settings, turns = FAULTS[name]
    pictures = photograph(blob(), **settings)
    scene, run = calibrated(pictures)
    found = scene.calibration
    assert {k: (v["roll_deg"], v["mirror"]) for k, v in found.views.items() if v["roll_deg"] or v["mirror"]} == turns
    assert [code for code, _ in run.warnings].count("view_repaired") == len(turns)
    assert {message.split("'")[1] for code, message in run.warnings if code == "view_repaired"} == set(turns)
    assert abs(found.fov_deg - 40) < CLOSE
    for view, exact in zip(scene.views, pictures.truth, strict=True):
        assert np.abs(view.rgb - exact.rgb).max() < 0.01


def test_left_and_right_that_changed_places_are_put_back(calibrated: Calibrated) -> None:
    pictures = photograph(blob(), swapped=True)
    scene, run = calibrated(pictures)
    assert [code for code, _ in run.warnings].count("views_swapped") == 1
    for view, exact in zip(scene.views, pictures.truth, strict=True):
        assert np.abs(view.rgb - exact.rgb).max() < 0.01


def test_a_sphere_does_not_fix_the_angle_of_view(calibrated: Calibrated) -> None:
    scene, run = calibrated(photograph(sphere(4), fov=30))
    assert scene.calibration.confidence < 0.5
    assert scene.calibration.prior is not None
    assert "angle of view" in scene.calibration.prior
    assert "calibration_prior" in {code for code, _ in run.warnings}


@pytest.mark.parametrize(("thing", "fov", "off"), [(blob(), 30, 0.3), (sphere(4), PRIOR_FOV, 1e-9)])
def test_silhouettes_alone_give_an_angle_that_nothing_confirms_or_the_prior(
    calibrated: Calibrated, thing: Drawn, fov: float, off: float
) -> None:
    scene, run = calibrated(photograph(thing, fov=30, encoding=None))
    assert scene.calibration.fov_deg == pytest.approx(fov, abs=off)
    assert (scene.calibration.confidence < 0.5, scene.calibration.depth_encoding) == (True, None)
    assert scene.calibration.prior is not None
    assert {"no_depth", "calibration_prior"} <= {code for code, _ in run.warnings}


def test_what_the_job_gives_is_taken(calibrated: Calibrated) -> None:
    pictures = photograph(blob(), fov=33, encoding="metric", bits=16)
    setup = pictures.setup
    unit = metric_unit(setup)
    scene, _ = calibrated(
        pictures, cameras={"fovDeg": 33.0, "distance": setup.distance}, depth={"encoding": "metric", "unitM": unit}
    )
    assert scene.calibration.fov_deg == pytest.approx(33, abs=1e-9)
    assert scene.calibration.distance == setup.distance
    for view, exact in zip(scene.views, pictures.truth, strict=True):
        assert view.depth is not None
        np.testing.assert_allclose(view.depth, exact.depth, atol=1.5 * unit)


def test_given_range_and_orientation_are_taken(calibrated: Calibrated) -> None:
    pictures = photograph(blob(), fov=40, rolls={"top": 1})
    setup = pictures.setup
    scene, run = calibrated(
        pictures,
        cameras={"fovDeg": 40.0, "distance": setup.distance, "views": {"top": {"rollDeg": 90}}},
        depth={"encoding": "white-near", "near": setup.near, "far": setup.far},
    )
    assert not run.warnings
    for view, exact in zip(scene.views, pictures.truth, strict=True):
        assert view.depth is not None
        assert np.nanmax(np.abs(view.depth - exact.depth)) < (setup.far - setup.near) / 255


@pytest.mark.parametrize("bits", [8, 16])
def test_a_box_is_one_object(bits: int, calibrated: Calibrated) -> None:
    """No two of its views share a surface: there are only edges to go by."""
    found = calibrated(photograph(box(), bits=bits))[0].calibration
    assert abs(found.fov_deg - 40) < CLOSE
    assert found.prior is None


def test_a_cube_does_not_fix_the_angle_of_view(calibrated: Calibrated) -> None:
    """All its sides have one depth code, and any angle of view makes a cube of them."""
    found = calibrated(photograph(box((1, 1, 1)), fov=33))[0].calibration
    assert found.prior is not None
    assert found.confidence < 0.5


SYMMETRIC = {
    "mirrored": ({"mirrors": ("front",)}, {"front": (0, True)}),
    "mirrored and lit": ({"mirrors": ("front", "top"), "lit": True}, {"front": (0, True), "top": (0, True)}),
    "swapped": ({"swapped": True}, {}),
    "rolled by half": ({"rolls": {"top": 2}}, {"top": (180, False)}),
}


@pytest.mark.parametrize("name", SYMMETRIC)
def test_colours_tell_what_the_shape_cannot(name: str, calibrated: Calibrated) -> None:
    settings, turns = SYMMETRIC[name]
    pictures = photograph(egg(), **settings)
    scene, run = calibrated(pictures)
    views = scene.calibration.views
    assert {k: (v["roll_deg"], v["mirror"]) for k, v in views.items() if v["roll_deg"] or v["mirror"]} == turns
    assert ("views_swapped" in {code for code, _ in run.warnings}) is (name == "swapped")
    for view, exact in zip(scene.views, pictures.truth, strict=True):
        assert np.abs(view.rgb - exact.rgb).max() < 0.01


def test_what_nothing_tells_is_said(calibrated: Calibrated) -> None:
    """Two views of a box share no surface: any side of it may be mirrored."""
    _, run = calibrated(photograph(box()))
    said = [message for code, message in run.warnings if code == "orientation_unproven"]
    assert len(said) == 1
    assert "'front'" in said[0]


def test_a_view_in_other_colours_is_named(calibrated: Calibrated) -> None:
    """The same shape in all six, but one picture is of something painted otherwise."""
    pictures = photograph(egg())
    other = photograph(egg(lambda points: 1 - waves(points)))
    _, run = calibrated(pictures.with_files(left=other.colours["left"]))
    said = [message for code, message in run.warnings if code == "colours_disagree"]
    assert len(said) == 1
    assert "'left'" in said[0]


FOREIGN = {"left": (blob, torus), "front": (torus, blob), "top": (blob, l_block), "back": (blob, l_block)}


@pytest.mark.parametrize("view", FOREIGN)
def test_views_of_two_objects_are_refused(view: str, calibrated: Calibrated) -> None:
    one, other = (photograph(make()) for make in FOREIGN[view])
    mixed = one.with_files(**{view: other.colours[view], f"depth_{view}": other.depths[view]})
    with pytest.raises(Recon3dError) as error:
        calibrated(mixed)
    assert error.value.code == "INCONSISTENT_VIEWS"
    assert error.value.details["worst_view"] == view
    assert f"'{view}'" in error.value.message
