"""The derivatives of jacobian.py against central differences of what the oracle renders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from recon3d_runner.engines.nvdiffrec.remesh import edge_table
from recon3d_runner.raster import jacobian, oracle
from recon3d_runner.raster.cpu import project
from recon3d_runner.surface import vertex_normals
from recon3d_runner.types import F64, I32, Camera

SIZE = 40
STEP = 1e-6


@dataclass(frozen=True)
class Solid:
    """A closed mesh, counter-clockwise from outside, and the directions in which its vertices move."""

    vertices: F64
    faces: I32
    directions: F64


def tetrahedron() -> Solid:
    vertices = np.array([(0.4, 0.1, -0.3), (-0.35, 0.4, -0.2), (-0.15, -0.45, -0.3), (0.05, 0.02, 0.5)])
    faces = np.array([(0, 2, 1), (0, 1, 3), (1, 2, 3), (2, 0, 3)], np.int32)
    return Solid(vertices, faces, vertex_normals(vertices, faces))


def gem(seed: int) -> Solid:
    """An octahedron with shaken corners that move any way they like."""
    rng = np.random.default_rng(seed)
    axes = np.array([(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)], float)
    faces = [(0, 2, 4), (2, 1, 4), (1, 3, 4), (3, 0, 4), (2, 0, 5), (1, 2, 5), (3, 1, 5), (0, 3, 5)]
    directions = rng.normal(size=(6, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return Solid(0.5 * axes + rng.uniform(-0.12, 0.12, (6, 3)), np.array(faces, np.int32), directions)


SOLIDS = {"tetrahedron": tetrahedron()} | {f"gem {seed}": gem(seed) for seed in range(3)}


@pytest.fixture(params=sorted(SOLIDS))
def solid(request: pytest.FixtureRequest) -> Solid:
    return SOLIDS[request.param]


def moved(solid: Solid, camera: Camera, vertex: int, by: float) -> F64:
    """Projected points with one vertex moved along its direction."""
    vertices = solid.vertices.copy()
    vertices[vertex] += by * solid.directions[vertex]
    return project(vertices, camera, SIZE)


def image_of(solid: Solid, camera: Camera) -> oracle.Hits:
    return oracle.trace(project(solid.vertices, camera, SIZE), solid.faces, SIZE)


def depth_row(solid: Solid, camera: Camera, hits: oracle.Hits, pixel: tuple[int, int], off: float) -> tuple[F64, float]:
    """d residual / d motion of the three corners at one pixel, and d residual / d depth, as the kernel has them.

    With the observation `off` before the surface the residual is off * slope, and the right-hand side -J off slope.
    """
    observed = np.full((SIZE, SIZE), np.nan, np.float32)
    observed[pixel] = hits.depth[pixel] - off
    blocks, rhs = np.zeros((len(solid.faces), 6)), np.zeros((len(solid.faces), 3))
    total, used = jacobian.depth_terms(
        hits.face,
        hits.depth.astype(np.float32),
        hits.bary.astype(np.float32),
        observed,
        solid.vertices,
        solid.faces,
        solid.directions,
        camera.rotation,
        camera.focal(SIZE),
        1.0,
        1e9,
        blocks,
        rhs,
    )
    assert used == 1
    dz = float(np.float32(hits.depth[pixel])) - float(observed[pixel])
    slope = -np.sqrt(total) / dz
    face = hits.face[pixel]
    row = -rhs[face] / (slope * dz)
    # The block is the row's outer product: the two must tell the same story.
    np.testing.assert_allclose(blocks[face], [row[a] * row[b] for a, b in PAIRS], rtol=1e-9, atol=1e-15)
    assert np.count_nonzero(blocks.any(1)) == 1
    return row, slope


PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


def test_depth_at_fixed_pixels(solid: Solid, camera: Camera) -> None:
    hits = image_of(solid, camera)
    rng = np.random.default_rng(1)
    checked = 0
    for index in rng.permutation(np.argwhere(hits.face >= 0))[:60]:
        pixel = (int(index[0]), int(index[1]))
        face = int(hits.face[pixel])
        b1, b2 = hits.bary[pixel]
        corners = solid.faces[face]
        a, b, c = solid.vertices[corners]
        normal = np.cross(b - a, c - a)
        ray = camera.centre - (a + (b - a) * b1 + (c - a) * b2)
        # Near an edge the visible face may change within the step; edge-on faces do not count by design.
        if min(b1, b2, 1 - b1 - b2) < 1e-3 or normal @ ray < 0.05 * np.linalg.norm(normal) * np.linalg.norm(ray):
            continue
        row, slope = depth_row(solid, camera, hits, pixel, 0.25)
        place = np.array([[pixel[1] + 0.5, pixel[0] + 0.5]])
        for k, vertex in enumerate(corners):
            up, down = (
                oracle.trace_at(moved(solid, camera, int(vertex), s), solid.faces, SIZE, place).depth[0]
                for s in (STEP, -STEP)
            )
            expected = (up - down) / (2 * STEP)
            assert row[k] / slope == pytest.approx(expected, rel=1e-4, abs=1e-6)
            checked += 1
    assert checked > 60


def contour(solid: Solid, camera: Camera) -> list[int]:
    """Indices of the edges between a face towards the camera and one away from it."""
    _, wings = edge_table(solid.faces)
    a, b, c = (solid.vertices[solid.faces[:, k]] for k in range(3))
    facing = (np.cross(b - a, c - a) * (camera.centre - a)).sum(1) > 0
    return [e for e, (f, g) in enumerate(wings) if facing[f] != facing[g]]


def outline_row(
    solid: Solid, camera: Camera, hits: oracle.Hits, edge: int
) -> tuple[dict[int, float], F64, F64, float, float] | None:
    """One contour edge's derivative of its signed distance by vertex, in pixels per unit; None if it does not count.

    The observed outline is a straight line one pixel inside the edge and parallel to it, so that the residual is
    one pixel. Also returns the edge's middle, its outward normal, its length and its middle's depth in pixels.
    """
    edges, wings = edge_table(solid.faces)
    points = project(solid.vertices, camera, SIZE)
    p, q = points[edges[edge, 0]], points[edges[edge, 1]]
    middle, along = (p[:2] + q[:2]) / 2, q[:2] - p[:2]
    length = float(np.linalg.norm(along))
    normal = np.array([-along[1], along[0]]) / length
    inside = points[:, :2].mean(0)
    if (inside - middle) @ normal > 0:
        normal = -normal
    centre = np.arange(SIZE) + 0.5
    x, y = np.meshgrid(centre, centre)
    distance = ((x - middle[0]) * normal[0] + (y - middle[1]) * normal[1] + 1.0).astype(np.float32)
    blocks, rhs = np.zeros((len(solid.faces), 6)), np.zeros((len(solid.faces), 3))
    total, used = jacobian.outline_terms(
        edges[edge : edge + 1],
        wings[edge : edge + 1],
        points,
        solid.faces,
        solid.directions,
        camera.rotation,
        camera.focal(SIZE),
        hits.face,
        distance,
        3.0,
        1.0,
        np.ones(len(solid.faces), bool),
        blocks,
        rhs,
    )
    if not used:
        return None
    pixel = float((p[2] + q[2]) / 2) / camera.focal(SIZE)
    assert total == pytest.approx(length * pixel**2, rel=1e-5)
    (face,) = np.nonzero(rhs.any(1))[0]
    row = {int(v): -rhs[face, k] / (length * pixel) / pixel for k, v in enumerate(solid.faces[face])}
    flat = [row[int(v)] * pixel for v in solid.faces[face]]
    np.testing.assert_allclose(blocks[face], [length * flat[a] * flat[b] for a, b in PAIRS], rtol=1e-5, atol=1e-12)
    return row, middle, normal, length, pixel


def test_outline_moves_as_the_contour_edges_say(solid: Solid, camera: Camera) -> None:
    hits = image_of(solid, camera)
    edges, _ = edge_table(solid.faces)
    checked = 0
    for edge in contour(solid, camera):
        found = outline_row(solid, camera, hits, edge)
        if found is None:
            continue
        row, middle, normal, _, _ = found
        for vertex in edges[edge]:
            up, down = (
                oracle.outline(moved(solid, camera, int(vertex), s), solid.faces, SIZE, middle, normal, 0.5)
                for s in (1e-5, -1e-5)
            )
            assert row[int(vertex)] == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-3)
            checked += 1
    assert checked >= 6


def test_coverage_changes_by_what_the_outline_sweeps(solid: Solid, camera: Camera) -> None:
    hits = image_of(solid, camera)
    rows = [outline_row(solid, camera, hits, edge) for edge in contour(solid, camera)]
    assert all(row is not None for row in rows), "every contour edge of a convex solid borders on the background"
    swept = np.zeros(len(solid.vertices))
    for row in rows:
        if row is not None:
            for vertex, rate in row[0].items():
                swept[vertex] += row[3] * rate
    step = 2e-3
    for vertex in range(len(solid.vertices)):
        up, down = (
            oracle.coverage(moved(solid, camera, vertex, s), solid.faces, SIZE, 48).sum() for s in (step, -step)
        )
        assert swept[vertex] == pytest.approx((up - down) / (2 * step), rel=2e-3, abs=2e-3 * np.abs(swept).max())


def test_coverage_is_the_share_of_hits(solid: Solid, camera: Camera) -> None:
    points = project(solid.vertices, camera, SIZE)
    exact = oracle.coverage(points, solid.faces, SIZE, 16)
    n = 16 * SIZE
    fine = oracle.trace(points * (16, 16, 1), solid.faces, n).face >= 0
    counted = fine.reshape(SIZE, 16, SIZE, 16).mean((1, 3))
    assert np.abs(exact - counted).max() < 1 / 16
    assert np.abs(exact - counted).mean() < 2e-3
    assert ((counted > 0.05) & (counted < 0.95)).sum() > 30


@pytest.mark.parametrize(("inside", "measured", "counted"), [(0.05, True, 8), (0.4, True, 4), (0.4, False, 8)])
def test_of_contour_edges_the_outermost_count(inside: float, measured: bool, counted: int) -> None:
    """Two plates, the hidden one smaller: its edges count where they are as far out, or not measured."""
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float)
    flat = np.concatenate([20 + 6 * square, 20 + inside + (6 - 2 * inside) * square])
    points = np.column_stack([flat, np.repeat([1.0, 1.1], 4)])
    one = np.array([(0, 1, 2), (0, 2, 3), (0, 2, 1), (0, 3, 2)], np.int32)
    faces = np.concatenate([one, one + 4])
    rim = np.array([(0, 1), (1, 2), (2, 3), (0, 3)], np.int32)
    sides = np.array([(0, 2), (0, 2), (1, 3), (1, 3)], np.int32)
    y, x = np.mgrid[:46, :46] + 0.5
    distance = np.maximum(np.abs(x - 23), np.abs(y - 23)).astype(np.float32) - np.float32(3)
    _, used = jacobian.outline_terms(
        np.concatenate([rim, rim + 4]),
        np.concatenate([sides, sides + 4]),
        points,
        faces,
        np.tile([1.0, 0.0, 0.0], (8, 1)),
        np.eye(3),
        100.0,
        np.where(distance < 0, 0, -1).astype(np.int32),
        distance,
        3.0,
        1.0,
        np.full(8, measured),
        np.zeros((8, 6)),
        np.zeros((8, 3)),
    )
    assert used == counted
