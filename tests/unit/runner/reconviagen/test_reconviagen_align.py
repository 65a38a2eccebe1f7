"""Bringing a mesh out of an arbitrary frame into the cameras' world; all 50: benchmarks/bench_alignment.py."""

from __future__ import annotations

import bench_alignment
import numpy as np
import pytest
from drawn_scenes import Recorder
from made_meshes import generated, made
from recon3d_runner.engines.reconviagen.align import align
from recon3d_runner.engines.reconviagen.cloud import GRID, cloud, nearest
from recon3d_runner.engines.reconviagen.observed import outline, sights
from recon3d_runner.engines.reconviagen.refine import Shape, refine
from recon3d_runner.engines.reconviagen.similarity import Similarity, axis_turns, rotation_of, spread_rotations
from recon3d_runner.raster import open_rasteriser
from scipy.spatial import cKDTree


def test_there_are_24_axis_turns() -> None:
    turns = axis_turns()
    assert len({turn.tobytes() for turn in turns}) == 24
    assert np.allclose(np.linalg.det(turns), 1)


def test_spread_rotations_leave_no_large_gap() -> None:
    turns = spread_rotations(4608)
    assert np.allclose(turns @ turns.transpose(0, 2, 1), np.eye(3))
    rng = np.random.default_rng(0)
    for vector in rng.normal(size=(50, 3)):
        cosine = (np.einsum("nij,ij->n", turns, rotation_of(2 * vector)) - 1) / 2
        assert np.degrees(np.arccos(np.clip(cosine.max(), -1, 1))) < 14


def test_a_nudge_is_a_similarity_about_its_centre() -> None:
    pose = Similarity(2.0, rotation_of(np.array([0.3, -0.2, 1.0])), np.array([0.1, 0.2, 0.3]))
    step = np.array([0.02, -0.01, 0.03, 0.1, -0.2, 0.05, 0.07])
    centre = np.array([0.5, -0.4, 0.2])
    points = np.random.default_rng(1).normal(size=(5, 3))
    expected = centre + np.exp(0.07) * (pose.apply(points) - centre) @ rotation_of(step[:3]).T + step[3:6]
    nudged = pose.nudge(step, centre)
    assert np.allclose(nudged.apply(points), expected)
    assert np.allclose(nudged.undo(nudged.apply(points)), points)


def test_an_outline_is_known_to_a_fraction_of_a_pixel() -> None:
    y, x = np.mgrid[0:256, 0:256] + 0.5
    disc = (np.hypot(x - 128, y - 128) < 70.4).astype(np.float32).reshape(64, 4, 64, 4).mean((1, 3))
    distance = outline(disc)
    y, x = np.mgrid[0:64, 0:64] + 0.5
    exact = np.hypot(x - 32, y - 32) - 17.6
    near = np.abs(exact) < 0.5
    assert np.abs(distance - exact)[near].max() < 0.35
    assert np.sign(distance[np.abs(exact) > 1]).tolist() == np.sign(exact[np.abs(exact) > 1]).tolist()


def test_the_nearest_point_is_found_where_the_surface_is_near_and_one_not_much_farther_elsewhere() -> None:
    thing = made(5)
    found = cloud(thing.vertices, thing.faces)
    places = np.random.default_rng(0).normal(size=(5000, 3)) * 0.6
    exact, _ = cKDTree(found.points).query(places)
    grid = (found.origin, found.step, found.closest, found.start, found.members)
    distance = np.array([nearest(place, found.points, *grid)[1] for place in places])
    close = exact < found.step / 2
    assert close.sum() > 10
    assert np.allclose(distance[close], exact[close])
    cells = (places - found.origin) / found.step
    inside = ((cells > 0) & (cells < GRID - 1)).all(1)
    assert (distance[inside] < exact[inside] + 2 * found.step).all()


# Of 27, a body of revolution, the paint alone tells the turn.
@pytest.mark.parametrize(("number", "depth"), [(27, True), (2, False)])
def test_a_deformed_mesh_is_brought_back(number: int, depth: bool) -> None:
    thing = made(number)
    row = bench_alignment.measure(thing, bench_alignment.photograph(thing, depth), number, open_rasteriser("cpu"))
    assert row.degrees < 0.5 if depth else row.degrees < 1.5
    assert row.percent < 0.5 if depth else row.percent < 1.5
    assert row.iou > 0.9
    assert (row.depth_error is None) == (not depth)


def test_a_shape_that_does_not_fit_says_so(run: Recorder) -> None:
    views = bench_alignment.photograph(made(1), True)
    other = made(0)
    found = align(Shape(other.vertices, other.faces, other.colours), views, open_rasteriser("cpu"), run)
    assert found.iou < 0.8
    assert found.depth_error is not None
    assert found.depth_error > 1


def test_views_without_a_common_solid_have_nothing_to_align_to(run: Recorder) -> None:
    thing = made(0)
    views = bench_alignment.photograph(thing, False)
    for view in views:
        view.alpha[:] = 0
    with pytest.raises(ValueError, match="carving"):
        align(Shape(thing.vertices, thing.faces, None), views, open_rasteriser("cpu"), run)


def test_refining_from_nearby_needs_no_colours() -> None:
    thing = made(2)
    vertices, _ = generated(thing, np.random.default_rng(3), bend=0.0, smooth=0)
    views = sights(bench_alignment.photograph(thing, True), 128)
    start = Similarity(1.02, rotation_of(np.array([0.03, -0.02, 0.04])), np.array([0.01, -0.02, 0.01]))
    found = refine(Shape(vertices, thing.faces, None), start, views, open_rasteriser("cpu"), 12, 8.0)
    assert found.angle_to(Similarity(1.0, np.eye(3), np.zeros(3))) < 0.05
    assert abs(found.scale - 1) < 1e-3
