"""Edge collapse, flips and smoothing: exact on small drawn meshes, invariants over seeds on larger ones."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from drawn_objects import Drawn, blob, cells, l_block, torus
from hypothesis import given, settings
from hypothesis import strategies as st
from recon3d_runner.engines.nvdiffrec import collapse, remesh
from recon3d_runner.quality.intersections import self_intersections
from recon3d_runner.quality.mesh_checks import MeshChecks, check_mesh
from recon3d_runner.surface import vertex_normals

#      1
#     /|\        A square bipyramid: 1 and 0 are its tips, 2 3 4 5 its waist.
#    5-|-4
#   /  |  \
#  2---+---3
OCTAHEDRON = np.array([[0, 0, -1], [0, 0, 1], [-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], float)
OCTAHEDRON_FACES = np.array(
    [(1, 2, 3), (1, 3, 4), (1, 4, 5), (1, 5, 2), (0, 3, 2), (0, 4, 3), (0, 5, 4), (0, 2, 5)], np.int32
)
TETRAHEDRON = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], float)
TETRAHEDRON_FACES = np.array([(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)], np.int32)


def euler(checks: MeshChecks) -> int:
    return checks.vertices - 3 * checks.faces // 2 + checks.faces


def sound(vertices: np.ndarray, faces: np.ndarray) -> MeshChecks:
    checks = check_mesh(vertices, faces)
    assert checks.watertight
    assert checks.vertex_manifold
    assert checks.oriented
    assert checks.vertices == len(vertices)
    return checks


def subdivided(thing: Drawn, times: int) -> tuple[np.ndarray, np.ndarray]:
    v, f = thing.vertices, thing.faces
    for _ in range(times):
        v, f = trimesh.remesh.subdivide(v, f)
    merged = trimesh.Trimesh(v, f, process=True)
    return np.array(merged.vertices), np.array(merged.faces, np.int32)


def test_faces_around_every_vertex() -> None:
    start, around = remesh.incident(TETRAHEDRON_FACES, 4)
    assert start.tolist() == [0, 3, 6, 9, 12]
    assert [sorted(around[start[v] : start[v + 1]].tolist()) for v in range(4)] == [
        [0, 1, 2],
        [0, 1, 3],
        [0, 2, 3],
        [1, 2, 3],
    ]


def test_the_smallest_closed_mesh_is_left_alone() -> None:
    vertices, faces = collapse.decimate(TETRAHEDRON, TETRAHEDRON_FACES, 2)
    np.testing.assert_array_equal(vertices, TETRAHEDRON)
    np.testing.assert_array_equal(faces, TETRAHEDRON_FACES)


def test_a_mesh_within_its_budget_is_left_alone() -> None:
    vertices, faces = collapse.decimate(OCTAHEDRON, OCTAHEDRON_FACES, 8)
    np.testing.assert_array_equal(vertices, OCTAHEDRON)
    np.testing.assert_array_equal(faces, OCTAHEDRON_FACES)


def test_the_input_is_not_written_to() -> None:
    v, f = subdivided(blob(2), 0)
    before = v.copy(), f.copy()
    collapse.decimate(v, f, 100)
    remesh.flip(v, f)
    np.testing.assert_array_equal(v, before[0])
    np.testing.assert_array_equal(f, before[1])


def test_a_cube_keeps_its_edges() -> None:
    """768 faces of a cube to 150: what is flat and what is sharp stays exactly where it is."""
    vertices, faces = subdivided(cells({(0, 0, 0)}), 3)
    side = 2 / np.sqrt(3)
    assert len(faces) == 768
    small, few = collapse.decimate(vertices, faces, 150)
    checks = sound(small, few)
    assert checks.faces <= 150
    assert checks.volume == pytest.approx(side**3, rel=0.01)
    assert np.abs(np.abs(small).max(1) - side / 2).max() < 0.02 * side


def test_a_bad_diagonal_is_flipped() -> None:
    """A flat roof over four waist points, cut along its long diagonal."""
    roof = np.array([[-1, 0, 0], [1, 0, 0], [0, 0.3, 0], [0, -0.3, 0], [0, 0, -1]], float)
    faces = np.array([(0, 1, 2), (0, 3, 1), (4, 2, 1), (4, 0, 2), (4, 1, 3), (4, 3, 0)], np.int32)
    assert check_mesh(roof, faces).outward
    flipped = remesh.flip(roof, faces)
    edges = {frozenset(map(int, pair)) for f in flipped for pair in zip(f, np.roll(f, -1), strict=True)}
    assert frozenset((2, 3)) in edges
    assert frozenset((0, 1)) not in edges
    checks = sound(roof, flipped)
    assert checks.volume == pytest.approx(check_mesh(roof, faces).volume)


def test_a_sharp_edge_is_not_flipped() -> None:
    faces = remesh.flip(*subdivided(cells({(0, 0, 0)}), 0))
    vertices, before = subdivided(cells({(0, 0, 0)}), 0)
    assert check_mesh(vertices, faces).volume == pytest.approx(check_mesh(vertices, before).volume)


def test_flipping_raises_the_smallest_angles() -> None:
    rng = np.random.default_rng(3)
    v, f = subdivided(cells({(0, 0, 0)}), 3)
    inner = (np.abs(np.abs(v) - 1 / np.sqrt(3)) < 1e-9).sum(1) == 1
    axis = np.abs(v).argmax(1)
    jitter = rng.uniform(-0.05, 0.05, v.shape)
    jitter[np.arange(len(v)), axis] = 0
    v[inner] += jitter[inner]
    flipped = remesh.flip(v, f)
    assert sound(v, flipped).aspect_ratio.p95 < check_mesh(v, f).aspect_ratio.p95


def test_smoothing_keeps_a_plane_and_evens_it_out() -> None:
    v, f = subdivided(cells({(0, 0, 0)}), 3)
    top = v[:, 2] > 0.5773
    rng = np.random.default_rng(0)
    moved = v.copy()
    inner = top & (np.abs(v[:, :2]) < 0.5).all(1)
    moved[inner, :2] += rng.uniform(-0.04, 0.04, (inner.sum(), 2))
    relaxed = remesh.relax(moved, f, vertex_normals(moved, f), 0.5, fixed=~inner)
    np.testing.assert_allclose(relaxed[inner, 2], moved[inner, 2], atol=1e-9)
    np.testing.assert_array_equal(relaxed[~inner], moved[~inner])
    assert np.abs(relaxed - v)[inner].mean() < 0.8 * np.abs(moved - v)[inner].mean()


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["blob", "torus", "l_block"]), st.floats(0.1, 0.8))
def test_decimation_keeps_what_a_surface_is(seed: int, name: str, share: float) -> None:
    rng = np.random.default_rng(seed)
    thing = {"blob": lambda: blob(3), "torus": torus, "l_block": l_block}[name]()
    v, f = subdivided(thing, 2 if name == "l_block" else 0)
    noisy = v + 0.1 * np.sqrt(check_mesh(v, f).area / len(f)) * rng.standard_normal(v.shape)
    before = sound(noisy, f)
    target = max(200, int(share * len(f)))
    small, few = collapse.decimate(noisy, f, target)
    few = remesh.flip(small, few)
    after = sound(small, few)
    assert euler(after) == euler(before)
    assert after.genus == before.genus
    assert target - 2 <= after.faces <= target
    assert after.volume == pytest.approx(before.volume, rel=0.05)
    assert after.degenerate_faces == 0


@pytest.mark.parametrize("name", ["blob", "torus"])
def test_no_face_turns_over(name: str) -> None:
    thing = blob(4) if name == "blob" else torus()
    small, few = collapse.decimate(thing.vertices, thing.faces, len(thing.faces) // 8)
    few = remesh.flip(small, few)
    small = remesh.relax(small, few, vertex_normals(small, few), 0.5)
    exact = trimesh.Trimesh(thing.vertices, thing.faces, process=False)
    made = trimesh.Trimesh(small, few, process=False)
    centres = made.triangles_center
    from scipy.spatial import cKDTree

    _, near = cKDTree(exact.triangles_center).query(centres)
    cosine = (made.face_normals * exact.face_normals[near]).sum(1)
    assert cosine.min() > 0.3
    assert np.percentile(cosine, 5) > 0.95
    assert not len(self_intersections(small, few).pairs)
