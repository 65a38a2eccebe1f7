"""Another engine's mesh behind what the views see: hidden hollows open, what is seen stays where it is."""

from __future__ import annotations

from typing import Any

import drawn_objects
import numpy as np
import pytest
import trimesh
from drawn_scenes import Pictures, Recorder, photograph
from recon3d_contract.job import parse_job
from recon3d_runner.engines.nvdiffrec import fusion, profiles
from recon3d_runner.engines.nvdiffrec.engine import reconstruct, surface
from recon3d_runner.engines.nvdiffrec.level_set import volume
from recon3d_runner.engines.nvdiffrec.prior import Hidden, Prior, fitting, signed_distance
from recon3d_runner.quality.mesh_checks import check_mesh
from recon3d_runner.raster import open_rasteriser
from recon3d_runner.scene.assemble import Scene
from recon3d_runner.surface import vertex_colours
from recon3d_runner.types import F64, Calibration
from scipy.spatial import cKDTree

PLAN = profiles.Plan(96, 6000, 6, 2, 512, 512, 2)


def cupboard() -> drawn_objects.Drawn:
    """A block with a room inside; a narrow slit above shows the room's floor and nothing of its sides."""
    block = {(x, y, z) for x in range(9) for y in range(7) for z in range(6)}
    room = {(x, y, z) for x in range(1, 8) for y in range(1, 6) for z in range(1, 4)}
    slit = {(x, 3, z) for x in range(1, 8) for z in (4, 5)}
    return drawn_objects.cells(block - room - slit)


@pytest.fixture(scope="module")
def scene() -> tuple[drawn_objects.Drawn, Pictures, Pictures]:
    thing = cupboard()
    options: dict[str, Any] = {"size": 256, "depth_size": 256, "bits": 16}
    return thing, photograph(thing, encoding="black-near", **options), photograph(thing, encoding=None, **options)


def bent(thing: drawn_objects.Drawn) -> Prior:
    """As a generated shape is: a little off everywhere."""
    v, f = trimesh.remesh.subdivide_to_size(thing.vertices, thing.faces, 0.1)
    whole = trimesh.Trimesh(v, f)
    v = np.array(whole.vertices)
    wave = np.sin(v @ np.array([[3.0, 1, 0], [0, 3, 1], [1, 0, 3]]))
    return Prior(v + 0.008 * wave, np.ascontiguousarray(whole.faces, np.int32))


def made(pictures: Pictures, prior: Prior | None, run: Recorder) -> tuple[F64, Any]:
    calibration = Calibration(pictures.setup.fov, 1.0, 1.0, None, None)
    return surface(Scene(pictures.truth, calibration, {}), PLAN, open_rasteriser("cpu"), run, prior)


def distances(mesh: tuple[F64, Any], thing: drawn_objects.Drawn) -> tuple[float, float]:
    """Mean distance from the truth's surface to the mesh: of the room's sides and ceiling, and of the outside."""
    whole = trimesh.Trimesh(*mesh, process=False)
    points, face = trimesh.sample.sample_surface(whole, 60_000, seed=0)
    truth, _ = trimesh.sample.sample_surface(trimesh.Trimesh(thing.vertices, thing.faces), 8_000, seed=0)
    away, nearest = cKDTree(points).query(truth)
    along = np.abs(((truth - points[nearest]) * whole.face_normals[face[nearest]]).sum(1))
    far = np.where(away < 0.03, along, away)
    low, high = thing.vertices.min(0), thing.vertices.max(0)
    cell = (truth - low) / (high - low) * (9, 7, 6)
    outside = ((cell < 0.01) | (cell > np.array([8.99, 6.99, 5.99]))).any(1)
    sides = ~outside & (cell[:, 2] > 1.5) & (cell[:, 2] < 4.01) & (np.abs(cell[:, 1] - 3.5) > 1.2)
    return float(far[sides].mean()), float(far[outside].mean())


@pytest.mark.parametrize("depth", [True, False])
def test_hidden_hollows_open_and_the_outside_stays(scene: Any, run: Recorder, depth: bool) -> None:
    thing, pictures = scene[0], scene[1] if depth else scene[2]
    alone, helped = made(pictures, None, run), made(pictures, bent(thing), run)
    sides_alone, outside_alone = distances(alone, thing)
    sides, outside = distances(helped, thing)
    assert sides < 0.15 * sides_alone
    assert outside < (outside_alone + 0.0003 if depth else 0.6 * outside_alone)
    truth = volume(thing.vertices, thing.faces)
    assert abs(volume(*helped) / truth - 1) < 0.06 < 0.3 < volume(*alone) / truth - 1
    assert check_mesh(*helped).watertight
    assert not run.warnings


def test_a_prior_that_lies_before_the_seen_surface_adds_nothing(scene: Any, run: Recorder) -> None:
    thing, pictures, _ = scene
    box = trimesh.creation.box(bounds=[thing.vertices.min(0), thing.vertices.max(0)])
    filled = Prior(np.array(box.vertices), np.ascontiguousarray(box.faces, np.int32))
    prepared = fusion.prepare_all(pictures.truth)
    cut = Hidden(filled, pictures.truth, prepared)
    plain = fusion.fuse(pictures.truth, 64, run, prepared)
    with_prior = fusion.fuse(pictures.truth, 64, run, prepared, cut.carver(fusion.carve))
    assert volume(*with_prior[:2]) == pytest.approx(volume(*plain[:2]), rel=2e-3)
    assert cut.held(with_prior[0], with_prior[1]).max() == 0


def test_a_prior_that_fits_no_view_is_left_out_with_a_warning(scene: Any, run: Recorder) -> None:
    thing, pictures, _ = scene
    moved = Prior(0.7 * thing.vertices, thing.faces)
    rasteriser = open_rasteriser("cpu")
    assert fitting(moved, pictures.truth, rasteriser, run) is None
    assert [code for code, _ in run.warnings] == ["prior_unfit"]
    fits = bent(thing)
    assert fitting(fits, pictures.truth, rasteriser, run) is fits
    assert len(run.warnings) == 1


def test_hidden_parts_take_the_prior_s_colours_and_seen_ones_the_pictures(scene: Any, run: Recorder) -> None:
    thing, pictures, _ = scene
    plain = bent(thing)
    faded = Prior(plain.vertices, plain.faces, 0.06 + 0.8 * thing.paint(plain.vertices))
    spec = parse_job({"profile": "fast", "nvdiffrec": {"resolution": 96}, "mesh": {"maxFaces": 6000}})
    truth, _ = trimesh.sample.sample_surface(trimesh.Trimesh(thing.vertices, thing.faces), 8_000, seed=0)
    low, high = thing.vertices.min(0), thing.vertices.max(0)
    cell = (truth - low) / (high - low) * (9, 7, 6)
    outside = ((cell < 0.01) | (cell > np.array([8.99, 6.99, 5.99]))).any(1)
    sides = ~outside & (cell[:, 2] > 1.5) & (cell[:, 2] < 4.01) & (np.abs(cell[:, 1] - 3.5) > 1.2)

    def errors(prior: Prior) -> tuple[float, float]:
        calibration = Calibration(pictures.setup.fov, 1.0, 1.0, None, None)
        mesh = reconstruct(Scene(pictures.truth, calibration, {}), spec, open_rasteriser("cpu"), run, prior)
        _, nearest = cKDTree(mesh.vertices).query(truth)
        off = np.abs(vertex_colours(mesh)[nearest] / 255 - thing.paint(truth)).mean(1)
        return float(off[sides].mean()), float(off[outside].mean())

    without, with_colours = errors(plain), errors(faded)
    assert with_colours[0] < 0.4 * without[0]
    assert with_colours[1] == pytest.approx(without[1], abs=0.003)


def test_distances_are_exact_near_the_surface() -> None:
    ball = trimesh.creation.icosphere(subdivisions=4, radius=10.0)
    field = signed_distance(np.array(ball.vertices) + 16, np.ascontiguousarray(ball.faces, np.int32), 32)
    at = np.indices((32, 32, 32)).transpose(1, 2, 3, 0) + 0.5 - 16
    exact = np.linalg.norm(at, axis=-1) - 10
    near = np.abs(exact) < 1.8
    assert np.abs(field - exact)[near].max() < 0.05
    assert (np.sign(field) == np.sign(exact))[np.abs(exact) > 0.1].all()
    assert np.abs(field).max() == pytest.approx(2.0)
