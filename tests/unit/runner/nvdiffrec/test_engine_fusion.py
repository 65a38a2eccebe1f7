"""Carving: a closed surface of the right shape and genus, inside the hull, thin parts kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import trimesh
from drawn_objects import sheet
from drawn_scenes import photograph
from recon3d_runner.engines.nvdiffrec import fusion, level_set
from recon3d_runner.quality.mesh_checks import check_mesh
from recon3d_runner.raster.cpu import project
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

VOXELS = 72
THICKNESS = 0.08 / 1.25
"""Of the drawn sheet, which is scaled into the unit ball."""


def points_on(vertices: Any, faces: Any, count: int = 30_000) -> np.ndarray:
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    return np.asarray(trimesh.sample.sample_surface(mesh, count, seed=1)[0])


@pytest.mark.parametrize(("name", "genus"), [("blob", 0), ("torus", 1), ("l_block", 1), ("sheet", 0), ("box", 0)])
def test_the_fused_surface(taken: Any, run: Any, name: str, genus: int) -> None:
    thing, pictures = taken(name)
    vertices, faces, step = fusion.fuse(pictures.truth, VOXELS, run)
    checks = check_mesh(vertices, faces)
    assert (checks.watertight, checks.vertex_manifold, checks.outward) == (True, True, True)
    assert (checks.components, checks.genus) == (1, (genus,))
    near, _ = cKDTree(points_on(thing.vertices, thing.faces)).query(points_on(vertices, faces, 8000))
    assert np.median(near) < 0.4 * step
    assert run.ticks == sorted(run.ticks)


@pytest.mark.parametrize("depth", [True, False])
def test_the_surface_stays_inside_every_silhouette(taken: Any, run: Any, depth: bool) -> None:
    _, pictures = taken("l_block", depth=depth)
    vertices, _, step = fusion.fuse(pictures.truth, VOXELS, run)
    for view in pictures.truth:
        outside = fusion.outline_distance(view.alpha, 256)
        at = project(vertices, view.camera, 256)
        pixels = map_coordinates(outside, (at[:, 1] - 0.5, at[:, 0] - 0.5), order=1, mode="nearest")
        pixel = at[:, 2] / view.camera.focal(256)
        assert (pixels * pixel).max() < 1.0 * step


def test_silhouettes_alone_give_the_hull(taken: Any, run: Any) -> None:
    """The hull holds the whole object; hollows stay filled, so that it is larger than what depth gives."""
    thing, pictures = taken("blob", depth=False)
    vertices, faces, step = fusion.fuse(pictures.truth, VOXELS, run)
    hull = check_mesh(vertices, faces)
    exact = check_mesh(thing.vertices, thing.faces)
    assert hull.watertight
    assert exact.volume < hull.volume < 1.35 * exact.volume
    spread = (
        np.linalg.norm(vertices.max(0) - thing.vertices.max(0)),
        np.linalg.norm(vertices.min(0) - thing.vertices.min(0)),
    )
    assert max(spread) < 2 * step


@pytest.mark.parametrize("voxels_thick", [1.4, 1.8])
def test_a_sheet_of_less_than_two_voxels_survives(run: Any, voxels_thick: float) -> None:
    """No filter between carving and extraction may eat it."""
    thing = sheet(0.05)
    pictures = photograph(thing, size=256, encoding="black-near", bits=16)
    low, high = fusion.bounds(pictures.truth)
    voxels = int((high - low).max() / (0.05 / 1.25 / voxels_thick)) + 6
    found = check_mesh(*fusion.fuse(pictures.truth, voxels, run)[:2])
    exact = check_mesh(thing.vertices, thing.faces)
    assert (found.components, found.genus, found.watertight) == (1, (0,), True)
    assert found.volume == pytest.approx(exact.volume, rel=0.2)


def test_a_sheet_of_less_than_three_voxels_survives(taken: Any, run: Any) -> None:
    """An average of truncated distances, 4 voxels each way, would lose it."""
    thing, pictures = taken("sheet")
    vertices, faces, step = fusion.fuse(pictures.truth, VOXELS, run)
    assert 2 * step < THICKNESS < 3 * step
    exact, found = check_mesh(thing.vertices, thing.faces), check_mesh(vertices, faces)
    assert found.components == 1
    assert found.volume == pytest.approx(exact.volume, rel=0.35)
    assert found.area == pytest.approx(exact.area, rel=0.1)


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("blob", True),
        ("blob", False),
        ("l_block", True),
        ("l_block", False),
    ],
)
def test_the_box_holds_the_object(taken: Any, name: str, depth: bool) -> None:
    thing, pictures = taken(name, depth=depth)
    low, high = fusion.bounds(pictures.truth)
    assert (low <= thing.vertices.min(0) + 1e-6).all()
    assert (high >= thing.vertices.max(0) - 1e-6).all()
    assert (high - low).max() < 1.6 * np.ptp(thing.vertices, axis=0).max()


@pytest.mark.parametrize("size", [64, 128])
def test_outline_distance_of_a_disc(size: int) -> None:
    y, x = (np.mgrid[:512, :512] + 0.5) / 4
    fine = np.hypot(x - 60.3, y - 66.1) < 31.7
    alpha = fine.reshape(128, 4, 128, 4).mean((1, 3)).astype(np.float32)
    found = fusion.outline_distance(alpha, size)
    rows, columns = (np.mgrid[:size, :size] + 0.5) * 128 / size
    exact = (np.hypot(columns - 60.3, rows - 66.1) - 31.7) * size / 128
    near = np.abs(exact) < 5
    assert np.abs(found - exact)[near].max() < 0.3
    assert np.abs(found - exact)[near].mean() < 0.08
    assert (np.sign(found) == np.sign(exact))[np.abs(exact) > 1].all()


def test_cavities_and_crumbs_go() -> None:
    big, small = trimesh.creation.icosphere(3), trimesh.creation.icosphere(1)
    parts = [
        (big.vertices, big.faces),
        (0.5 * big.vertices, big.faces[:, ::-1]),  # a bubble: faces look inwards
        (0.02 * small.vertices + (3, 0, 0), small.faces),
        (0.4 * small.vertices + (0, 3, 0), small.faces),
    ]
    base = np.cumsum([0, *[len(v) for v, _ in parts]])
    vertices = np.concatenate([v for v, _ in parts])
    faces = np.concatenate([f + b for (_, f), b in zip(parts, base, strict=False)]).astype(np.int32)
    kept_vertices, kept = level_set.keep_solids(vertices, faces)
    assert len(kept) == len(big.faces) + len(small.faces)
    checks = check_mesh(kept_vertices, kept)
    assert (checks.components, checks.watertight, len(kept_vertices)) == (2, True, checks.vertices)


def test_the_level_set_looks_outwards() -> None:
    grid = np.stack(np.mgrid[:24, :24, :24], -1) - 11.5
    field = (np.linalg.norm(grid, axis=-1) - 7).astype(np.float32)
    vertices, faces = level_set.extract(field, np.array([10.0, 20.0, 30.0]), 0.5)
    assert level_set.volume(vertices, faces) == pytest.approx(4 / 3 * np.pi * 3.5**3, rel=0.03)
    np.testing.assert_allclose(vertices.mean(0), np.array([10, 20, 30]) + 0.5 * 11.5, atol=0.02)


@pytest.mark.parametrize("across", [(1, 1, 0), (1, 0.6, 0.3), (1, 0.9, 0.8)])
def test_a_gap_of_little_more_than_a_voxel_stays_open(across: tuple[float, float, float]) -> None:
    """Two slabs in a box, whichever way they lie, are two solids without handles between them."""
    grid = np.stack(np.mgrid[:40, :40, :40], -1) - 19.5
    away = np.abs(grid @ (np.array(across) / np.linalg.norm(across)))
    field = np.maximum.reduce([0.6 - away, away - 6, np.abs(grid).max(-1) - 15]).astype(np.float32)
    checks = check_mesh(*level_set.extract(field, np.zeros(3), 1.0))
    assert checks.watertight
    assert (checks.components, checks.genus) == (2, (0, 0))


def test_cells_that_are_passed_over_hold_no_surface() -> None:
    rng = np.random.default_rng(3)
    field = gaussian_filter(rng.standard_normal((19, 30, 23)), 1.2).astype(np.float32)
    vertices, faces, _, _ = marching_cubes(field, 0.0, gradient_direction="descent", allow_degenerate=True)
    found, drawn = level_set.extract(field, np.zeros(3), 1.0)
    np.testing.assert_array_equal(found, vertices)
    np.testing.assert_array_equal(drawn, faces)
