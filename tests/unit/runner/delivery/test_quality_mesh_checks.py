"""Mesh checks on drawn meshes with known answers."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from recon3d_runner.quality.mesh_checks import MeshChecks, check_mesh
from recon3d_runner.types import F64, I32


def check(mesh: trimesh.Trimesh) -> MeshChecks:
    return check_mesh(np.array(mesh.vertices), np.array(mesh.faces, np.int32))


def test_unit_cube() -> None:
    got = check(trimesh.creation.box())
    assert (got.vertices, got.faces, got.components, got.genus) == (8, 12, 1, (0,))
    assert got.watertight
    assert got.edge_manifold
    assert got.vertex_manifold
    assert got.oriented
    assert got.outward
    assert got.volume == pytest.approx(1)
    assert got.area == pytest.approx(6)
    assert got.diagonal == pytest.approx(3**0.5)
    assert (got.edge_length.minimum, got.edge_length.maximum) == pytest.approx((1, 2**0.5))
    # Right isosceles triangle: longest edge sqrt 2 over a height of sqrt 2 / 2, times sqrt 3 / 2.
    aspect = 3**0.5
    assert (got.aspect_ratio.minimum, got.aspect_ratio.mean) == pytest.approx((aspect, aspect))
    assert got.edge_ratio.maximum == pytest.approx(2**0.5)


def test_equilateral_triangles_have_aspect_ratio_one() -> None:
    tetrahedron = trimesh.creation.icosphere(subdivisions=0)
    assert check(tetrahedron).aspect_ratio.maximum == pytest.approx(1)


@pytest.mark.parametrize("seed", range(2))
def test_numbers_match_trimesh(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mesh = trimesh.creation.icosphere(subdivisions=3)
    mesh.vertices *= rng.uniform(0.8, 1.2, (len(mesh.vertices), 1))
    got = check(mesh)
    assert got.volume == pytest.approx(mesh.volume)
    assert got.area == pytest.approx(mesh.area)
    assert got.edge_length.mean == pytest.approx(mesh.edges_unique_length.mean())


def test_genus_and_components_largest_first() -> None:
    torus = trimesh.creation.torus(1, 0.3, 24, 12)
    sphere = trimesh.creation.icosphere(subdivisions=1)
    got = check(trimesh.util.concatenate([sphere, torus]))
    assert got.components == 2
    assert got.genus == (1, 0)


def test_inside_out_and_one_turned_face() -> None:
    mesh = trimesh.creation.box()
    faces = np.array(mesh.faces, np.int32)
    inverted = check_mesh(np.array(mesh.vertices), faces[:, ::-1].copy())
    assert inverted.oriented
    assert not inverted.outward
    assert inverted.volume == pytest.approx(-1)
    faces[0] = faces[0, ::-1]
    turned = check_mesh(np.array(mesh.vertices), faces)
    assert turned.watertight
    assert not turned.oriented
    assert not turned.outward
    assert turned.genus == (None,)


def test_a_hole() -> None:
    mesh = trimesh.creation.box()
    got = check_mesh(np.array(mesh.vertices), np.array(mesh.faces[1:], np.int32))
    assert not got.watertight
    assert got.edge_manifold
    assert got.vertex_manifold
    assert got.boundary_edges == 3
    assert got.genus == (None,)


def cubes_sharing(corners: int) -> tuple[F64, I32]:
    """Two cubes welded at one corner, or along one edge."""
    first, second = trimesh.creation.box(), trimesh.creation.box()
    second.apply_translation((1, 1, 1) if corners == 1 else (1, 1, 0))
    mesh = trimesh.util.concatenate([first, second])
    mesh.merge_vertices()
    return np.array(mesh.vertices), np.array(mesh.faces, np.int32)


def test_two_cubes_that_share_a_corner_are_pinched() -> None:
    got = check_mesh(*cubes_sharing(1))
    assert got.watertight
    assert got.edge_manifold
    assert not got.vertex_manifold
    assert got.nonmanifold_vertices == 1
    assert got.components == 2
    assert got.genus == (None, None)


def test_two_cubes_that_share_an_edge_are_not_edge_manifold() -> None:
    got = check_mesh(*cubes_sharing(2))
    assert not got.watertight
    assert not got.edge_manifold
    assert not got.oriented
    assert got.nonmanifold_edges == 1


def test_degenerate_and_duplicate_faces() -> None:
    mesh = trimesh.creation.box()
    vertices = np.vstack([mesh.vertices, mesh.vertices[0]])
    extra = [mesh.faces[0][[1, 2, 0]], [0, 8, 1], [2, 2, 3]]
    got = check_mesh(vertices, np.vstack([mesh.faces, extra]).astype(np.int32))
    assert got.duplicate_faces == 1
    assert got.degenerate_faces == 2


def test_unused_vertices_do_not_count() -> None:
    mesh = trimesh.creation.box()
    got = check_mesh(np.vstack([mesh.vertices, [99, 99, 99]]), np.array(mesh.faces, np.int32))
    assert got.vertices == 8
    assert got.diagonal == pytest.approx(3**0.5)
