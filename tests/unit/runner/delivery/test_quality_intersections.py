"""Planted intersections are all found, touching surfaces are told from shared ones, clean meshes come out clean."""

from __future__ import annotations

import importlib.util
import itertools
import time

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from recon3d_runner.quality.intersections import self_intersections
from recon3d_runner.types import F64, I32
from scipy.spatial.transform import Rotation


def pairs_of(vertices: object, faces: object) -> list[tuple[int, int]]:
    found = self_intersections(np.array(vertices, np.float64), np.array(faces, np.int32))
    assert found.complete
    return [(int(a), int(b)) for a, b in found.pairs]


def arrays(mesh: trimesh.Trimesh) -> tuple[F64, I32]:
    return np.array(mesh.vertices), np.array(mesh.faces, np.int32)


def both(first: trimesh.Trimesh, second: trimesh.Trimesh) -> tuple[F64, I32]:
    return arrays(trimesh.util.concatenate([first, second]))


TRIANGLE = [[0, 0, 0], [4, 0, 0], [0, 4, 0]]
SEPARATE = [[0, 1, 2], [3, 4, 5]]
CASES = {
    "pierced": ([[1, 1, -1], [1, 1, 1], [9, 9, 1]], True),
    "far": ([[1, 1, 5], [1, 1, 6], [9, 9, 6]], False),
    "above, boxes overlap": ([[3, 3, -1], [3, 3, 1], [4, 4, 1]], False),
    "edges cross": ([[2, -1, -1], [2, -1, 1], [2, 1, 0]], True),
    "touches with a corner": ([[1, 1, 0], [1, 1, 3], [2, 1, 3]], True),
    "corner on an edge": ([[2, 0, 0], [2, -2, 1], [2, -2, -1]], True),
    "corner on a corner": ([[0, 0, 0], [-1, -1, 1], [-1, -1, -1]], True),
    "edge on the face": ([[1, 1, 0], [2, 1, 0], [1, 1, 3]], True),
    "a hair above": ([[1, 1, 1e-300], [1, 1, 3], [2, 1, 3]], False),
    "coplanar inside": ([[1, 1, 0], [1.5, 1, 0], [1, 1.5, 0]], True),
    "coplanar around": ([[-9, -9, 0], [19, -9, 0], [-9, 19, 0]], True),
    "coplanar crossing": ([[-1, 1, 0], [5, 1, 0], [-1, 2, 0]], True),
    "coplanar star": ([[2, 2.5, 0], [-1, 1, 0], [1, -1, 0]], True),
    "coplanar beside": ([[3, 3, 0], [4, 3, 0], [4, 4, 0]], False),
    "coplanar, edges on one line, apart": ([[5, 0, 0], [9, 0, 0], [9, -3, 0]], False),
    "coplanar, edges on one line, touching": ([[4, 0, 0], [9, 0, 0], [9, -3, 0]], True),
    "parallel plane": ([[0, 0, 1], [4, 0, 1], [0, 4, 1]], False),
}


@pytest.mark.parametrize("name", CASES)
def test_two_separate_triangles_in_every_order(name: str) -> None:
    other, expected = CASES[name]
    for turn in itertools.permutations(range(3)):
        for axes in itertools.permutations(range(3)):
            vertices = np.array(TRIANGLE + [other[k] for k in turn], float)[:, axes]
            assert pairs_of(vertices, SEPARATE) == [(0, 1)] * expected
            assert pairs_of(vertices, SEPARATE[::-1]) == [(0, 1)] * expected


@pytest.mark.parametrize(
    ("tip", "expected"),
    [
        ((4, 0, 3), False),
        ((4, -3, 0), False),
        ((1, 1, 0), True),  # folded onto the first, same plane
        ((0, 9, 0), True),
        ((1, 1, 1e-200), False),  # folded, but not flat: they meet in the edge only
    ],
)
def test_triangles_with_a_common_edge(tip: tuple[float, float, float], expected: bool) -> None:
    vertices = [*TRIANGLE, list(tip)]
    for face in itertools.permutations([0, 1, 3]):
        assert pairs_of(vertices, [[0, 1, 2], list(face)]) == [(0, 1)] * expected


@pytest.mark.parametrize(
    ("p", "q", "expected"),
    [
        ((-1, -1, 1), (-1, -1, -1), False),
        ((3, 3, 1), (3, 3, -1), True),  # passes through the first face
        ((9, 9, 1), (9, 9, -1), True),  # its opposite edge is beyond, the first's is crossed
        ((-3, 1, 0), (-3, 2, 0), False),  # same plane, behind the corner
        ((1, 2, 0), (2, 1, 0), True),  # same plane, over it
        ((4, -1, 0), (4, 1, 0), True),  # same plane, around an edge
        ((2, 0, 0), (2, -1, 0), True),  # same plane, along half of an edge
        ((1, 1, 0), (1, 1, 2), True),  # a corner on the face
        ((1, 1, 1), (1, 1, 2), False),
    ],
)
def test_triangles_with_a_common_vertex(p: tuple[float, ...], q: tuple[float, ...], expected: bool) -> None:
    vertices = [*TRIANGLE, list(p), list(q)]
    for first, second in itertools.product(itertools.permutations([0, 1, 2]), itertools.permutations([0, 3, 4])):
        assert pairs_of(vertices, [list(first), list(second)]) == [(0, 1)] * expected


def test_a_face_named_twice_intersects_itself() -> None:
    assert pairs_of(TRIANGLE, [[0, 1, 2], [1, 0, 2]]) == [(0, 1)]


def test_faces_without_area_are_left_out() -> None:
    vertices = [*TRIANGLE, [1, 1, -1], [1, 1, 0], [1, 1, 1]]
    assert pairs_of(vertices, SEPARATE) == []
    assert pairs_of(vertices, [[0, 1, 2], [3, 3, 5]]) == []


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_moved_pairs_keep_their_answer(seed: int) -> None:
    """Random similarity transforms of pairs that clearly cross or clearly do not."""
    rng = np.random.default_rng(seed)
    turn, shift, scale = Rotation.random(random_state=seed).as_matrix(), rng.normal(size=3) * 10, rng.uniform(0.01, 100)
    for name in ("pierced", "far", "edges cross", "above, boxes overlap", "parallel plane"):
        other, expected = CASES[name]
        vertices = scale * np.array(TRIANGLE + other, float) @ turn.T + shift
        assert pairs_of(vertices, SEPARATE) == [(0, 1)] * expected


@given(st.lists(st.integers(0, 3), min_size=18, max_size=18))
@settings(max_examples=400, deadline=None)
def test_small_grid_triangles_match_a_linear_program(flat: list[int]) -> None:
    """Corners on a 4³ grid touch and align in every way; a linear program in barycentric weights is the oracle."""
    from scipy.optimize import linprog

    vertices = np.array(flat, float).reshape(6, 3)
    a, b = vertices[:3], vertices[3:]
    if min(np.linalg.norm(np.cross(t[1] - t[0], t[2] - t[0])) for t in (a, b)) == 0:
        assert pairs_of(vertices, SEPARATE) == []
        return
    equal = np.vstack([np.hstack([a.T, -b.T]), [1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])
    oracle = linprog(np.zeros(6), A_eq=equal, b_eq=[0, 0, 0, 1, 1], bounds=(0, 1), method="highs").status == 0
    assert pairs_of(vertices, SEPARATE) == [(0, 1)] * oracle


def test_clean_closed_meshes_are_clean() -> None:
    for mesh in (
        trimesh.creation.icosphere(subdivisions=4),
        trimesh.creation.torus(0.5, 0.2, 64, 32),
        trimesh.creation.box().subdivide().subdivide().subdivide().subdivide(),
        trimesh.creation.cylinder(0.3, 1.0, sections=90),
    ):
        assert pairs_of(*arrays(mesh)) == []


@pytest.mark.parametrize("seed", range(4))
def test_flat_walls_give_no_false_positives(seed: int) -> None:
    """A turned box of many coplanar faces, its rounded walls flat to the last bits."""
    mesh = trimesh.creation.box((1, 2, 3))
    for _ in range(4):
        mesh = mesh.subdivide()
    vertices, faces = arrays(mesh)
    turned = vertices @ Rotation.random(random_state=seed).as_matrix().T
    assert pairs_of(turned, faces) == []
    assert pairs_of(turned.astype(np.float32), faces) == []


@pytest.mark.parametrize("seed", range(3))
def test_spheres_pushed_into_each_other_match_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = trimesh.creation.icosphere(subdivisions=2), trimesh.creation.icosphere(subdivisions=2)
    second.apply_translation(rng.uniform(-1, 1, 3))
    vertices, faces = both(first, second)
    found = pairs_of(vertices, faces)
    brute = []
    for a, b in itertools.product(range(len(first.faces)), range(len(first.faces), len(faces))):
        low = np.maximum(vertices[faces[a]].min(0), vertices[faces[b]].min(0))
        if (low <= np.minimum(vertices[faces[a]].max(0), vertices[faces[b]].max(0))).all():
            pair = np.concatenate([vertices[faces[a]], vertices[faces[b]]])
            brute += [(a, b)] * len(pairs_of(pair, SEPARATE))
    assert found == sorted(brute)
    assert found
    second.apply_translation([5, 0, 0])
    assert pairs_of(*both(first, second)) == []


def test_one_vertex_pulled_through_the_surface_is_found() -> None:
    mesh = trimesh.creation.icosphere(subdivisions=4)
    vertices, faces = arrays(mesh)
    moved = vertices.copy()
    moved[1000] *= -1.5
    found = pairs_of(moved, faces)
    around = {int(f) for f in np.flatnonzero((faces == 1000).any(axis=1))}
    assert found
    assert all(a in around or b in around for a, b in found)


def test_the_search_stops_at_its_limit() -> None:
    rng = np.random.default_rng(0)
    soup = self_intersections(rng.random((600, 3)), np.arange(600, dtype=np.int32).reshape(-1, 3), limit=10)
    assert not soup.complete
    assert len(soup.pairs) >= 10


def test_150k_faces_take_less_than_five_seconds() -> None:
    vertices, faces = arrays(trimesh.creation.icosphere(subdivisions=7))
    pairs_of(vertices[:10], [[0, 1, 2], [3, 4, 5]])  # compiled
    start = time.process_time()
    assert pairs_of(vertices, faces[:150_000]) == []
    assert time.process_time() - start < 5


@pytest.mark.skipif(importlib.util.find_spec("open3d") is None, reason="Open3D is not installed (extra: checks)")
@pytest.mark.filterwarnings("ignore")
def test_against_open3d() -> None:
    import open3d

    first, second = trimesh.creation.icosphere(subdivisions=3), trimesh.creation.icosphere(subdivisions=3)
    second.apply_translation([0.71, 0.13, 0.29])
    vertices, faces = both(first, second)
    mesh = open3d.geometry.TriangleMesh(open3d.utility.Vector3dVector(vertices), open3d.utility.Vector3iVector(faces))
    theirs = {tuple(sorted(map(int, pair))) for pair in np.asarray(mesh.get_self_intersecting_triangles())}
    assert set(pairs_of(vertices, faces)) == theirs
