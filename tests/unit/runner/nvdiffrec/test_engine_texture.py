"""Unwrap, bake and pass 2 on exact shapes with known colours, and what a wrong shape is worth without a view."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import trimesh
from drawn_objects import Drawn, blob, cells, l_block, sides, sphere, torus
from drawn_scenes import Pictures, Recorder, photograph
from hypothesis import given, settings
from hypothesis import strategies as st
from recon3d_runner.engines.nvdiffrec import bake, texture, unwrap
from recon3d_runner.engines.nvdiffrec.gutters import RINGS, gutters, spread
from recon3d_runner.quality.evaluate import evaluate
from recon3d_runner.quality.leave_one_out import leave_one_out
from recon3d_runner.quality.uv_checks import check_uv
from recon3d_runner.raster import open_rasteriser
from recon3d_runner.raster.cpu import render_textured
from recon3d_runner.types import Calibration, TexturedMesh
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

CPU = open_rasteriser("cpu")


def fine(thing: Drawn, times: int) -> Drawn:
    """The same surface in smaller triangles."""
    v, f = thing.vertices, thing.faces
    for _ in range(times):
        v, f = trimesh.remesh.subdivide(v, f)
    merged = trimesh.Trimesh(v, f, process=True)
    return Drawn(np.array(merged.vertices), np.array(merged.faces, np.int32), thing.paint)


MAKERS: dict[str, Callable[[], Drawn]] = {
    "blob": lambda: blob(4),
    "torus": torus,
    "l_block": lambda: fine(l_block(), 2),
    # Seen from nowhere: the inside of a deep, narrow well.
    "well": lambda: fine(
        cells({(x, y, z) for x in range(3) for y in range(3) for z in range(5)} - {(1, 1, z) for z in range(1, 5)}), 2
    ),
}


@dataclass(frozen=True)
class Worked:
    """One object all the way through stages unwrap and texture."""

    thing: Drawn
    pictures: Pictures
    atlas: unwrap.Atlas
    texels: bake.TexelMap
    colour: Any
    weight: Any
    filled: Any
    unseen: Any
    final: Any
    losses: list[float]
    run: Recorder

    def mesh(self, colour: Any) -> TexturedMesh:
        pixels = np.round(255 * np.clip(colour, 0, 1)).astype(np.uint8)
        return TexturedMesh(
            self.thing.vertices, self.thing.faces, self.atlas.uv, self.atlas.uv_faces, pixels, self.unseen
        )

    def where(self) -> tuple[Any, Any]:
        """Texels of charts, and their exact world positions."""
        inside = self.texels.face >= 0
        b = self.texels.bary[inside].astype(float)
        weights = np.concatenate([1 - b.sum(1, keepdims=True), b], 1)
        return inside, (self.thing.vertices[self.thing.faces[self.texels.face[inside]]] * weights[..., None]).sum(1)


def work(thing: Drawn, pictures: Pictures) -> Worked:
    run = Recorder()
    v, f, views = thing.vertices, thing.faces, pictures.truth
    atlas = unwrap.unwrap(v, f, views, 1024, None, CPU, run)
    texels = bake.texel_map(atlas)
    sights, samples = zip(*(texture.observe(v, f, atlas, view, 1, CPU) for view in views), strict=True)
    colour, weight = bake.gather(texels, v, f, sights)
    filled, unseen = bake.fill(texels, f, len(v), colour, weight)
    plan = gutters(texels.face >= 0)
    final, losses = texture.optimise(filled, list(samples), plan, 6, 0.3, CPU, run)
    return Worked(thing, pictures, atlas, texels, colour, weight, filled, unseen, final, losses, run)


@cache
def worked(name: str) -> Worked:
    thing = MAKERS[name]()
    return work(thing, photograph(thing, size=256))


@pytest.fixture(params=sorted(MAKERS))
def each(request: pytest.FixtureRequest) -> Worked:
    return worked(request.param)


def psnr(a: Any, b: Any, mask: Any) -> float:
    return float(-10 * np.log10(np.square(a - b)[mask].mean()))


def chart_of_faces(atlas: unwrap.Atlas) -> np.ndarray:
    f = atlas.uv_faces
    pairs = np.concatenate([f[:, :2], f[:, 1:]])
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(atlas.uv),) * 2)
    return np.asarray(connected_components(graph, directed=False)[1][f[:, 0]])


def test_the_atlas_is_sound(each: Worked) -> None:
    checks = check_uv(each.mesh(each.final))
    assert checks.complete
    assert checks.overlapping_pairs == 0
    assert checks.out_of_range == 0
    assert checks.used_share > 0.25


def test_every_face_lies_in_one_chart_of_one_view(each: Worked) -> None:
    atlas, faces = each.atlas, each.thing.faces
    assert atlas.uv_faces.shape == faces.shape
    assert ((atlas.label >= 0) & (atlas.label < 6)).all()
    chart = chart_of_faces(atlas)
    assert all(len(np.unique(atlas.label[chart == c])) == 1 for c in np.unique(chart))
    # A texture vertex belongs to one vertex of the mesh.
    owner = np.full(len(atlas.uv), -1)
    owner[atlas.uv_faces] = faces
    np.testing.assert_array_equal(owner[atlas.uv_faces], faces)
    # Corners of a chart are not shared by two copies: (chart, vertex) is unique.
    key = np.unique(np.stack([np.repeat(chart, 3), faces.ravel(), atlas.uv_faces.ravel()], 1), axis=0)
    assert len(np.unique(key[:, :2], axis=0)) == len(key)


def test_charts_keep_their_distance(each: Worked) -> None:
    chart = chart_of_faces(each.atlas)
    image = np.where(each.texels.face >= 0, chart[np.maximum(each.texels.face, 0)], -1)
    window = 2 * unwrap.GUTTER - 1
    high = ndimage.maximum_filter(image, window)
    low = ndimage.minimum_filter(np.where(image < 0, image.max() + 1, image), window)
    assert not ((high != low) & (image >= 0)).any()


def test_known_colours_are_recovered(each: Worked) -> None:
    inside, position = each.where()
    exact = each.thing.paint(position)
    seen = each.weight[inside] > 0.05
    assert seen.mean() > 0.5
    error = np.abs(each.colour[inside] - exact).max(1)[seen]
    assert np.median(error) < 0.01
    assert np.percentile(error, 99) < 0.05


def test_pass_two_sharpens_what_is_rendered(each: Worked) -> None:
    assert each.losses == sorted(each.losses, reverse=True)
    assert len(each.losses) >= 2
    for k in (0, 2, 4):
        view = each.pictures.truth[k]
        body = ndimage.binary_erosion(view.alpha >= 1, iterations=2)
        before = render_textured(each.mesh(each.filled), view.camera, 256).rgb
        after = render_textured(each.mesh(each.final), view.camera, 256).rgb
        assert psnr(after, view.rgb, body) > psnr(before, view.rgb, body) - 0.3
        # The well has occlusion edges in the middle of a view, two pixels of which no view shows unmixed.
        assert psnr(after, view.rgb, body) > (26 if each is worked("well") else 33)


def test_what_no_view_sees_is_flagged_and_filled_from_around() -> None:
    done = worked("well")
    inside, position = done.where()
    lateral = np.abs(position[:, :2]).max(1)
    inner = lateral < 0.4 * lateral.max()
    walls, grazed = (inner & (np.abs(position[:, 2] - at) < 0.15) for at in (-0.15, 0.4))
    assert done.unseen[inside][walls].mean() > 0.5
    # Towards the mouth the view from above meets them at 87 degrees: pixels that say more than the surroundings do.
    assert not done.unseen[inside][grazed].any()
    assert np.abs(done.final[inside] - done.thing.paint(position))[grazed].mean() < 0.01
    outer = lateral > 0.99 * lateral.max()
    assert done.unseen[inside][outer].mean() < 0.06  # two pixels along the outlines
    walls &= done.unseen[inside]
    filled = done.filled[inside][walls]
    known = done.colour[inside][done.weight[inside] > 0]
    assert (filled >= known.min(0) - 0.02).all()
    assert (filled <= known.max(0) + 0.02).all()
    assert 0.02 < done.final[inside][walls].min() < done.final[inside][walls].max() < 0.95  # no background
    # Smooth: less than the paint itself on the outside.
    image = np.where(done.unseen[..., None], done.filled, np.nan)
    assert np.nanpercentile(np.abs(np.diff(image, axis=0)), 99) < 0.05
    assert not done.unseen[~inside].any()


def test_the_background_does_not_bleed_in(each: Worked) -> None:
    """No texel, gutters included, is lighter than the paint: the background is white."""
    lightest = each.thing.paint(each.thing.vertices).max() + 0.06
    inside = each.texels.face >= 0
    near = ndimage.binary_dilation(inside, iterations=3)
    assert np.percentile(each.final[near], 99.9) < lightest
    assert each.final[near].max() < lightest + 0.12
    assert each.filled[near].max() < lightest + 0.05


@pytest.mark.parametrize("size", [512, 1024])
def test_a_given_texture_size_is_kept(size: int) -> None:
    thing = MAKERS["blob"]()
    views = photograph(thing, size=256).truth
    atlas = unwrap.unwrap(thing.vertices, thing.faces, views, 4096, size, CPU, Recorder())
    assert atlas.size == size
    assert atlas.uv.min() >= 0
    assert atlas.uv.max() <= 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(40, 128))
def test_packed_boxes_never_overlap(seed: int, count: int, width: int) -> None:
    sizes = np.random.default_rng(seed).integers(1, 40, (count, 2)).astype(np.int32)
    place, height = unwrap.pack(sizes, width)
    used = np.zeros((height, width), int)
    for (x, y), (w, h) in zip(place, sizes, strict=True):
        assert x + w <= width
        used[y : y + h, x : x + w] += 1
    assert used.max() == 1
    assert used.sum() == sizes.prod(1).sum()


def test_a_box_wider_than_the_texture_does_not_fit() -> None:
    assert unwrap.pack(np.array([[50, 3]], np.int32), 40)[1] > 1_000_000


# What is only projected on


def sphere_with(pictures: Pictures) -> Worked:
    return work(sphere(4), pictures)


def test_the_right_shape_predicts_a_view_it_was_not_coloured_from() -> None:
    done = worked("blob")
    found = leave_one_out(done.thing.vertices, done.thing.faces, done.pictures.truth, CPU)
    judged = [value for value in found.values() if value is not None]
    assert len(judged) >= 4
    assert min(judged) > 26


@pytest.mark.parametrize("name", ["blob", "torus", "l_block"])
def test_a_ball_with_the_views_projected_on_it_is_not_normal(name: str) -> None:
    source = worked(name)
    pictures = source.pictures
    ball = sphere_with(pictures)
    alone = leave_one_out(ball.thing.vertices, ball.thing.faces, pictures.truth, CPU)
    judged = [value for value in alone.values() if value is not None]
    right = leave_one_out(source.thing.vertices, source.thing.faces, pictures.truth, CPU)
    if judged:
        assert np.mean(judged) < 18
        assert np.mean([value for value in right.values() if value is not None]) > np.mean(judged) + 6
    assert judged or name != "blob"
    calibration = Calibration(40.0, pictures.setup.distance, 1.0, None, "black-near")
    measured = evaluate(ball.mesh(ball.final), pictures.truth, calibration, alone, engine="nvdiffrec")
    assert measured.quality.verdict != "normal"
    assert measured.quality.reasons


def test_the_right_shape_with_its_texture_is_normal() -> None:
    done = worked("blob")
    alone = leave_one_out(done.thing.vertices, done.thing.faces, done.pictures.truth, CPU)
    calibration = Calibration(40.0, done.pictures.setup.distance, 1.0, None, "black-near")
    measured = evaluate(done.mesh(done.final), done.pictures.truth, calibration, alone, engine="nvdiffrec")
    assert (measured.quality.verdict, measured.quality.reasons) == ("normal", [])
    assert measured.quality.means.iou > 0.99


def test_views_that_share_no_surface_are_not_judged() -> None:
    """Each side of a box is seen by one camera alone."""
    box = fine(cells({(0, 0, 0)}, (1.0, 0.8, 0.6)), 3)
    box = Drawn(box.vertices, box.faces, sides)
    found = leave_one_out(box.vertices, box.faces, photograph(box, size=256).truth, CPU)
    assert set(found.values()) == {None}


def test_gutters_take_a_nearby_colour_and_the_rest_the_mean() -> None:
    inside = np.zeros((256, 256), bool)
    inside[20:60, 30:70] = inside[20:60, 80:120] = True
    colour = np.zeros((256, 256, 3), np.float32)
    colour[:, :75, 0], colour[:, 75:, 1] = 1, 0.5
    found = spread(colour, gutters(inside))
    np.testing.assert_array_equal(found[inside], colour[inside])
    distance = ndimage.distance_transform_cdt(~inside, "chessboard")
    left, right = (ndimage.distance_transform_cdt(~(inside & side), "chessboard") for side in halves(256, 75))
    assert (found[(distance <= RINGS) & (left < right)] == (1, 0, 0)).all()
    assert (found[(distance <= RINGS) & (right < left)] == (0, 0.5, 0)).all()
    assert np.abs(found[distance > RINGS] - (0.5, 0.25, 0)).max() < 1e-6


def halves(size: int, column: int) -> tuple[Any, Any]:
    left = np.broadcast_to(np.arange(size) < column, (size, size))
    return left, ~left
