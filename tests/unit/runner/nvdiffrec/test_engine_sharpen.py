"""Edges that marching cubes and pass 1 cut off come back where two sides meet, and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from drawn_objects import box, soft_box, sphere
from drawn_scenes import photograph
from recon3d_runner.engines.nvdiffrec import engine, fusion, level_set, profiles, sharpen
from recon3d_runner.quality.mesh_checks import check_mesh
from recon3d_runner.raster import open_rasteriser
from recon3d_runner.scene.assemble import Scene
from scipy.spatial.transform import Rotation

SIZE = np.array([0.5, 0.4, 0.3])
STEP = 2 / 47


def outside(points: np.ndarray, rounding: float = 0.0) -> np.ndarray:
    """Signed distances to a turned box whose edges are rounded."""
    turned = points @ Rotation.from_euler("xyz", (10, 20, 30), degrees=True).as_matrix()
    beyond = np.abs(turned) - (SIZE - rounding)
    return np.linalg.norm(np.maximum(beyond, 0), axis=-1) + np.minimum(beyond.max(-1), 0) - rounding


def carved(rounding: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 48)] * 3, indexing="ij"), -1)
    return level_set.extract(outside(grid, rounding).astype(np.float32), np.full(3, -1.0), STEP)


def edges() -> np.ndarray:
    """(N, 3) points on the box's twelve edges, away from its corners."""
    along = np.linspace(-0.9, 0.9, 40)
    signs = np.array([(a, b) for a in (-1, 1) for b in (-1, 1)], float)
    rows = [np.insert(np.repeat(signs, len(along), 0), k, np.tile(along, 4), 1) * SIZE for k in range(3)]
    return np.concatenate(rows) @ Rotation.from_euler("xyz", (10, 20, 30), degrees=True).as_matrix().T


def away(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(N,) distances from points to a mesh, by dense samples of it."""
    from scipy.spatial import cKDTree

    corners = vertices[faces]
    weights = [(a / 10, b / 10, 1 - (a + b) / 10) for a in range(11) for b in range(11 - a)]
    dense = np.concatenate([np.tensordot(corners, np.array(w), ((1,), (0,))) for w in weights])
    return np.asarray(cKDTree(dense).query(points)[0])


def anything(points: np.ndarray) -> np.ndarray:
    return np.ones(len(points), bool)


def test_a_carved_box_gets_its_edges_back() -> None:
    vertices, faces = carved()
    before = away(edges(), vertices, faces)
    moved, flipped = vertices, faces
    for _ in range(3):
        moved, flipped = sharpen.sharpen(moved, flipped, np.ones(len(vertices), bool), anything)
    after = away(edges(), moved, flipped)
    assert np.median(after) < 0.12 * STEP < 0.5 * np.median(before)
    assert after.mean() < 0.5 * before.mean()
    assert np.abs(outside(moved)).max() <= max(np.abs(outside(vertices)).max(), 0.02 * STEP)
    checks = check_mesh(moved, flipped)
    assert (checks.watertight, checks.outward, checks.genus) == (True, True, (0,))


def test_what_no_view_measures_stays() -> None:
    vertices, faces = carved()
    moved, _ = sharpen.sharpen(vertices, faces, np.zeros(len(vertices), bool), anything)
    assert np.array_equal(moved, vertices)


def test_a_round_edge_stays_round() -> None:
    """Of a voxel and a half: its corner would stand where views show nothing."""
    rounding = 1.5 * STEP
    vertices, faces = carved(rounding)
    seen = np.ones(len(vertices), bool)
    free, _ = sharpen.sharpen(vertices, faces, seen, anything)
    held, _ = sharpen.sharpen(vertices, faces, seen, lambda points: outside(points, rounding) < 0.05 * STEP)
    assert outside(free, rounding).max() > 0.15 * STEP
    assert outside(held, rounding).max() < 0.06 * STEP


def test_a_ball_has_no_edges() -> None:
    """Not one vertex moves."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 48)] * 3, indexing="ij"), -1)
    vertices, faces = level_set.extract(
        (np.linalg.norm(grid, axis=-1) - 0.6).astype(np.float32), np.full(3, -1.0), STEP
    )
    moved, _ = sharpen.sharpen(vertices, faces, np.ones(len(vertices), bool), anything)
    assert np.array_equal(moved, vertices)


def test_views_forbid_what_they_see_through() -> None:
    """The ball's own surface is allowed, a twentieth further out is not, whichever way: all views together see that."""
    pictures = photograph(sphere())
    prepared = [fusion.prepare(view, pictures.setup.size // 2) for view in pictures.truth]
    allowed = sharpen.nothing_empty(pictures.truth, prepared)
    points = sphere().vertices
    assert allowed(0.5 * points).all()
    assert allowed(points).mean() > 0.99
    assert not allowed(1.05 * points).any()


@pytest.mark.parametrize("thing", [box(), soft_box((1.0, 0.7, 0.45), 0.08)], ids=["sharp", "soft"])
def test_a_box_from_six_views_has_the_edges_it_should(run: Any, thing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = photograph(thing, bits=16)
    plan = profiles.Plan(64, 6000, 6, 1, None, 512, 1)
    scene = Scene(pictures.truth, None, {})  # type: ignore[arg-type] - the surface is made of the views alone
    target = thing.vertices[np.argsort(-np.abs(thing.vertices).min(1))[:400]] if len(thing.vertices) > 8 else rim(thing)
    found = [away(target, *engine.surface(scene, plan, open_rasteriser("cpu"), run)).mean()]
    monkeypatch.setattr(sharpen, "sharpen", lambda vertices, faces, *_: (vertices, faces))
    found.append(away(target, *engine.surface(scene, plan, open_rasteriser("cpu"), run)).mean())
    pixel = pictures.setup.distance / pictures.truth[0].camera.focal(128)
    if len(thing.vertices) > 8:
        assert found[0] < found[1] + 0.02 * pixel
    else:
        assert found[0] < 0.15 * pixel < 0.5 * found[1]


def rim(thing: Any) -> np.ndarray:
    """(N, 3) points on the edges of an upright box."""
    half = np.abs(thing.vertices).max(0)
    along = np.linspace(-0.9, 0.9, 40)
    signs = np.array([(a, b) for a in (-1, 1) for b in (-1, 1)], float)
    return np.concatenate([np.insert(np.repeat(signs, 40, 0), k, np.tile(along, 4), 1) * half for k in range(3)])
