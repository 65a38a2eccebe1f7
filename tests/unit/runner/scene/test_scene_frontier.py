"""The angle of view from outlines alone, and how two measurements of it are joined."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_objects import Drawn, blob, box, cylinder, fins, soft_box, sphere
from drawn_scenes import Setup, camera
from recon3d_contract.conventions import VIEWS
from recon3d_runner.raster.cpu import project
from recon3d_runner.scene.angle import Angle
from recon3d_runner.scene.frontier import Outlined, Outlines
from scipy.spatial import ConvexHull

SIZE = 2048


def outlines(thing: Drawn, fov: float, fill: float = 0.6, jitter: float = 0.0) -> Outlines:
    """The equations of `drawn`."""
    return Outlines(drawn(thing, fov, fill, jitter))


def drawn(thing: Drawn, fov: float, fill: float = 0.6, jitter: float = 0.0) -> list[Outlined]:
    """What six ideal pictures of SIZE pixels would show, their outlines off by `jitter` pixels here and there."""
    rng = np.random.default_rng(3)
    sights = []
    for view in VIEWS:
        at = project(thing.vertices, camera(view, Setup(fov=fov, fill=fill)), SIZE)[:, :2]
        hull = at[ConvexHull(at).vertices] + jitter * rng.standard_normal((1, 2))
        hull = np.pad(np.clip(2 * hull / SIZE - 1, -1, 1), ((0, 0), (0, 1)))
        sights.append(Outlined(view, hull, 2 / SIZE))
    return sights


@pytest.mark.parametrize("fov", [22, 45, 70])
@pytest.mark.parametrize(
    "thing",
    [box(), soft_box((1.0, 0.7, 0.5), 0.05), fins((1.0, 0.7, 0.6)), cylinder(0.4), blob()],
    ids=["box", "soft box", "fins", "cylinder", "blob"],
)
def test_outlines_alone_fix_the_angle(thing: Drawn, fov: float) -> None:
    assert outlines(thing, fov).solve().fov_deg == pytest.approx(fov, abs=0.01)
    rough = outlines(thing, fov, jitter=0.2).solve()
    assert abs(rough.fov_deg - fov) < 2.5 * rough.sigma < 2.5


@pytest.mark.parametrize("thing", [box((1, 1, 1)), sphere(5)], ids=["cube", "sphere"])
def test_equal_outlines_fix_nothing(thing: Drawn) -> None:
    assert outlines(thing, 30).solve().sigma > 3


def test_an_outline_at_the_border_is_not_used() -> None:
    whole = outlines(box(), 40)
    assert len(whole.residuals(2.0)) == 24
    cut = outlines(box(), 40, fill=1.35)
    assert len(cut.residuals(2.0)) < 24


def test_what_is_unsure_of_an_outline_decides_less() -> None:
    """One view's outline a third of a pixel too large moves the angle, unless it says that it may be."""
    off = []
    for sigma in (0.0, 1.0):
        sights = drawn(box(), 40)
        hull = sights[0].hull * (1.001, 1.001, 1) + (0, 0, sigma)
        off.append(abs(Outlines([sights[0]._replace(hull=hull), *sights[1:]]).solve().fov_deg - 40))
    assert off[1] < 0.3 * off[0]


def test_measurements_that_agree_make_each_other_surer() -> None:
    one, two = Angle(Angle.of_fov(40).focal, 0.2), Angle(Angle.of_fov(40.1).focal, 0.1)
    both = one.joined(two)
    assert both.fov_deg == pytest.approx(40.08, abs=1e-3)
    assert both.sigma == pytest.approx(0.2 * 0.1 / np.hypot(0.2, 0.1))
    assert both.confidence > two.confidence


def test_measurements_that_contradict_make_each_other_less_sure() -> None:
    one, two = Angle(Angle.of_fov(40).focal, 0.05), Angle(Angle.of_fov(41).focal, 0.05)
    assert one.joined(two).sigma == pytest.approx(0.5, rel=0.01)


def test_a_measurement_of_nothing_changes_nothing() -> None:
    one, nothing = Angle(Angle.of_fov(40).focal, 0.05), Angle(1.0, float("inf"))
    assert one.joined(nothing) == one == nothing.joined(one)
    assert nothing.joined(nothing).confidence == 0
