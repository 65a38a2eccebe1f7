"""Pass 1 on surfaces that are known to be off: it finds the depth, the outlines, and the same bytes every time."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from drawn_objects import Drawn, sheet, sphere, waves
from drawn_scenes import photograph
from recon3d_runner.engines.nvdiffrec import engine, fusion, geometry, remesh, repair
from recon3d_runner.quality.intersections import self_intersections
from recon3d_runner.quality.mesh_checks import check_mesh
from recon3d_runner.raster import open_rasteriser
from recon3d_runner.raster.cpu import project, rasterize
from recon3d_runner.types import Camera
from scipy.spatial import cKDTree

OPTIONS = geometry.GeometryOptions(iterations=8)


def ball(subdivisions: int = 4) -> tuple[np.ndarray, np.ndarray]:
    made = trimesh.creation.icosphere(subdivisions=subdivisions)
    return np.array(made.vertices, np.float64), np.array(made.faces, np.int32)


def refined(vertices: Any, faces: Any, pictures: Any, run: Any, **options: Any) -> tuple[Any, Any, list[float]]:
    views = pictures.truth
    prepared = [fusion.prepare(view, pictures.setup.size // 2) for view in views]
    chosen = geometry.GeometryOptions(**{"iterations": 8, **options})
    return geometry.refine(vertices, faces, views, prepared, chosen, open_rasteriser("cpu"), run)


def noisy(vertices: np.ndarray, scale: float, noise: float) -> np.ndarray:
    rng = np.random.default_rng(5)
    return vertices * (scale + noise * rng.standard_normal((len(vertices), 1)))


@pytest.mark.parametrize(("scale", "noise"), [(1.0, 0.01), (0.97, 0.0), (1.03, 0.005)])
def test_a_wrong_ball_finds_the_depth(taken: Any, run: Any, scale: float, noise: float) -> None:
    _, pictures = taken("sphere")
    vertices, faces = ball()
    moved, kept, losses = refined(noisy(vertices, scale, noise), faces, pictures, run)
    radius = np.linalg.norm(moved, axis=1)
    assert abs(np.median(radius) - 1) < 1e-3
    assert np.percentile(np.abs(radius - 1), 99) < 6e-3
    assert losses[-1] < 0.1 * losses[0]
    checks = check_mesh(moved, kept)
    assert (checks.watertight, checks.outward, checks.genus) == (True, True, (0,))
    assert not len(self_intersections(moved, kept).pairs)
    assert run.ticks[-1] == 1.0 or len(losses) < OPTIONS.iterations


@pytest.mark.parametrize("scale", [0.94, 1.06])
def test_silhouettes_alone_shrink_and_grow(taken: Any, run: Any, scale: float) -> None:
    """The outlines of six views draw six circles on the ball: there the surface must lie."""
    _, pictures = taken("sphere", depth=False)
    vertices, faces = ball()
    moved, _, losses = refined(scale * vertices, faces, pictures, run, iterations=14)
    touched = np.zeros(len(moved), bool)
    for view in pictures.truth:
        centre = view.camera.centre
        # A point of the unit ball is on the outline where p . c = 1.
        touched |= np.abs(vertices @ centre - 1) < 0.1
    radius = np.linalg.norm(moved, axis=1)
    assert abs(np.median(radius[touched]) - 1) < 4e-3
    assert abs(np.median(radius) - 1) < 0.5 * abs(scale - 1)
    assert losses[-1] < 0.1 * losses[0]


def rounded_ball() -> tuple[Any, float]:
    """The unit ball in pictures whose depth comes in 8-bit steps, and the step."""
    pictures = photograph(sphere(), encoding="black-near", bits=8)
    step = (pictures.setup.far - pictures.setup.near) / 255
    rounded = [
        replace(view, depth=(np.round(view.depth / step) * step).astype(np.float32), depth_step=step)
        for view in pictures.truth
    ]
    return replace(pictures, truth=rounded), step


def test_rounded_depth_is_smoothed_across_views(run: Any) -> None:
    """The surface comes out smoother and nearer than one step."""
    pictures, step = rounded_ball()
    vertices, faces = ball()
    moved, _, _ = refined(noisy(vertices, 1.0, 0.003), faces, pictures, run)
    error = np.abs(np.linalg.norm(moved, axis=1) - 1)
    assert np.sqrt(np.square(error).mean()) < 0.15 * step


def test_nothing_moves_an_exact_surface_much(taken: Any, run: Any) -> None:
    thing, pictures = taken("blob")
    moved, faces, _ = refined(thing.vertices.copy(), thing.faces, pictures, run)
    exact = trimesh.Trimesh(thing.vertices, thing.faces, process=False)
    near, _ = cKDTree(trimesh.sample.sample_surface(exact, 60_000, seed=0)[0]).query(moved)
    assert np.median(near) < 0.01
    assert check_mesh(moved, faces).watertight


def test_a_run_out_of_the_finite_numbers_is_said(taken: Any, run: Any) -> None:
    _, pictures = taken("sphere")
    vertices, faces = ball(3)
    vertices[7] = np.nan
    with pytest.raises((FloatingPointError, ValueError)):
        refined(vertices, faces, pictures, run)


DIGEST = """
import sys; sys.path[:0] = sys.argv[1:]
import os; os.cpu_count = lambda: int(os.environ["OPENBLAS_NUM_THREADS"])
import hashlib, numpy as np
from test_engine_geometry import ball, noisy, refined
from drawn_scenes import Recorder, photograph
from drawn_objects import Drawn, sheet, sphere, waves
pictures = photograph(sphere(3), encoding="black-near", bits=16, size=256)
vertices, faces = ball(3)
moved, faces, _ = refined(noisy(vertices, 1.02, 0.01), faces, pictures, Recorder(), iterations=4)
print(hashlib.sha256(moved.tobytes() + faces.tobytes()).hexdigest())
"""


def test_one_and_two_threads_give_the_same_bytes() -> None:
    here = Path(__file__).parent
    found = []
    for threads in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", DIGEST, str(here), str(here.parent / "scene")],
            env=os.environ | {"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        found.append(done.stdout.strip())
    assert len(found[0]) == 2 * hashlib.sha256().digest_size
    assert found[0] == found[1]


def test_planted_crossings_are_repaired_and_the_rest_is_kept() -> None:
    """Two vertices of a thin plate are pushed through its other side."""
    plate = sheet(0.08)
    vertices, faces = plate.vertices, plate.faces
    planted = vertices.copy()
    upper, lower = 48 * 20 + 20, 48 * 48 + 48 * 30 + 31
    planted[upper, 2] -= 0.12
    planted[lower, 2] += 0.12
    assert len(self_intersections(planted, faces).pairs) >= 6
    mended, left = repair.repair(planted, faces)
    assert left == 0
    assert not len(self_intersections(mended, faces).pairs)
    assert not repair.degenerate(mended, faces).any()
    apart = [np.linalg.norm(vertices - vertices[k], axis=1) for k in (upper, lower)]
    far = np.min(apart, axis=0) > 0.3
    assert far.mean() > 0.5
    np.testing.assert_array_equal(mended[far], vertices[far].astype(np.float32).astype(np.float64))
    assert np.abs(mended - vertices).max() < 0.1


def test_a_clean_surface_is_only_rounded() -> None:
    vertices, faces = ball(3)
    mended, left = repair.repair(vertices, faces)
    assert left == 0
    np.testing.assert_array_equal(mended, vertices.astype(np.float32).astype(np.float64))


def test_a_face_without_area_is_opened() -> None:
    vertices, faces = ball(3)
    a, b, c = faces[100]
    vertices[c] = (vertices[a] + vertices[b]) / 2
    assert repair.degenerate(vertices, faces)[100]
    mended, left = repair.repair(vertices, faces)
    assert left == 0
    assert not repair.degenerate(mended, faces).any()


def test_edges_and_their_two_faces() -> None:
    faces = np.array([(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)], np.int32)
    edges, wings = remesh.edge_table(faces)
    table = {tuple(map(int, e)): set(map(int, w)) for e, w in zip(edges, wings, strict=True)}
    assert table == {(0, 1): {0, 1}, (0, 2): {0, 2}, (0, 3): {1, 2}, (1, 2): {0, 3}, (1, 3): {1, 3}, (2, 3): {2, 3}}


def test_creases_stay_sharp(taken: Any, run: Any) -> None:
    """Bending must not round a box's edges off: seen from beside a corner it still covers what the true one covers."""
    thing, pictures = taken("box")
    fine = trimesh.Trimesh(thing.vertices, thing.faces, process=True).subdivide_to_size(0.06)
    vertices, faces = np.array(fine.vertices, np.float64), np.array(fine.faces, np.int32)
    eye = looking_from(np.array([1.6, 1.3, 1.1]) / 2.3 * pictures.setup.distance, pictures.setup.fov)
    want = rasterize(project(thing.vertices, eye, 1024), thing.faces, 1024)[0] >= 0

    def lost(crease: tuple[float, float]) -> float:
        found, kept, _ = refined(vertices, faces, pictures, run, iterations=6, crease=crease)
        have = rasterize(project(found, eye, 1024), kept, 1024)[0] >= 0
        return float((want & ~have).sum() / want.sum())

    let_alone, flattened = lost(geometry.GeometryOptions().crease), lost((1e3, 2e3))
    assert let_alone < 0.5 * flattened, (let_alone, flattened)


def looking_from(place: np.ndarray, fov: float) -> Camera:
    """A camera at `place` that looks at the origin."""
    ahead = -place / np.linalg.norm(place)
    right = np.cross(ahead, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(ahead, right), ahead])
    return Camera(rotation, -rotation @ place, fov)


def test_outlines_do_not_lift_what_is_seen_edge_on(run: Any) -> None:
    """A ring whose top is as high as the cameras around it: all of the top's noise is within a pixel of the outline."""
    ring = trimesh.creation.torus(0.6, 0.25, major_sections=128, minor_sections=64)
    vertices, faces = np.array(ring.vertices) - (0, 0, 0.25), np.array(ring.faces, np.int32)
    pictures = photograph(Drawn(vertices, faces, waves), size=512, encoding="black-near", bits=8)
    rough = vertices + np.random.default_rng(5).normal(0, 0.003, vertices.shape)
    moved, _, _ = refined(rough, faces, pictures, run)
    top = vertices[:, 2] > -0.005
    lifted = moved[top, 2] - vertices[top, 2]
    assert lifted.mean() < 1e-4  # .00020 where all contour edges count


def test_faces_smaller_than_pixels_need_a_stiffer_surface(run: Any) -> None:
    """82,000 faces and 8-bit depth of 128 pixels: with a coarse mesh's bending they follow the rounding."""
    pictures, _ = rounded_ball()
    vertices, faces = ball(6)
    off = []
    for finer in (1, 8):
        options = {"smooth": 3.0 * finer, "smooth_end": 0.3 * finer, "cg_iterations": 60 * finer}
        moved, _, _ = refined(noisy(vertices, 1.0, 0.005), faces, pictures, run, **options)
        off.append(float(np.abs(np.linalg.norm(moved, axis=1) - 1).mean()))
    assert off[1] < 0.8 * off[0]
    stiff = engine._options(8, 8 * engine.FINE, [])
    assert (stiff.smooth, stiff.cg_iterations) == (24.0, 480)
    assert engine._options(8, engine.FINE // 8, []) == geometry.GeometryOptions(iterations=8)


def test_outlines_count_more_beside_coarse_depth(taken: Any) -> None:
    _, pictures = taken("sphere")

    def weight(steps: float) -> float:
        views = [replace(v, depth_step=steps * v.camera.pixel(len(v.depth))) for v in pictures.truth]
        return engine._options(8, 1000, views).silhouette

    assert weight(0.0) == geometry.GeometryOptions().silhouette
    assert weight(0.0) < weight(1.0) < weight(3.0) < weight(6.0) == weight(20.0)
