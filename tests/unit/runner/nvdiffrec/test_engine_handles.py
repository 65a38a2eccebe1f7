"""Handles that are too small for the carving grid are gone, all others stay."""

from __future__ import annotations

import numpy as np
import pytest
from recon3d_runner.engines.nvdiffrec.collapse import decimate
from recon3d_runner.engines.nvdiffrec.handles import genus, without_small
from recon3d_runner.engines.nvdiffrec.level_set import extract
from recon3d_runner.quality.intersections import self_intersections
from recon3d_runner.quality.mesh_checks import check_mesh
from recon3d_runner.types import F64, I32

N = 72
GRID = np.stack(np.meshgrid(*[np.arange(N, dtype=np.float64)] * 3, indexing="ij"), axis=-1) - (N - 1) / 2


def ball(radius: float) -> F64:
    return np.asarray(np.linalg.norm(GRID, axis=-1) - radius)


def ring(centre: tuple[float, float, float], radius: float, tube: float) -> F64:
    """About the y axis' direction."""
    p = GRID - centre
    return np.asarray(np.hypot(np.hypot(p[..., 0], p[..., 2]) - radius, p[..., 1]) - tube)


def mesh_of(field: F64, faces: int = 10**9) -> tuple[F64, I32]:
    return decimate(*extract(field.astype(np.float32), np.zeros(3), 1.0), faces)


EYELET = ring((0, 0, 20.5), 1.7, 0.8)


@pytest.mark.parametrize("faces", [10**9, 3000])
def test_an_eyelet_of_a_voxel_goes_and_a_ring_stays(faces: int) -> None:
    vertices, triangles = mesh_of(np.minimum(np.minimum(ball(20), EYELET), ring((0, 8, 0), 24, 3)), faces)
    assert genus(triangles, len(vertices)) == 2
    vertices, triangles = without_small(vertices, triangles, 8)
    assert genus(triangles, len(vertices)) == 1
    checks = check_mesh(vertices, triangles)
    assert checks.watertight
    assert checks.genus == (0, 1)  # of the ball, and of the ring around it
    assert len(self_intersections(vertices, triangles).pairs) == 0
    assert np.abs(vertices).max() < N


def test_many_go_at_once() -> None:
    field = ball(20)
    for x in (-9.0, 0.0, 9.0):
        field = np.minimum(field, ring((x, 0, np.sqrt(20.5**2 - x * x)), 1.7, 0.8))
    vertices, faces = mesh_of(field)
    assert genus(faces, len(vertices)) == 3
    vertices, faces = without_small(vertices, faces, 8)
    assert genus(faces, len(vertices)) == 0


def test_a_thin_ring_and_a_small_hole_through_a_sheet_stay() -> None:
    wire = mesh_of(ring((0, 0, 0), 20, 0.8))
    drilled = np.maximum(np.abs(GRID[..., 1]) - 0.9, np.abs(GRID[..., [0, 2]]).max(-1) - 25)
    sheet = mesh_of(np.maximum(drilled, 0.9 - np.hypot(GRID[..., 0], GRID[..., 2])))
    for vertices, faces in (wire, sheet):
        assert genus(faces, len(vertices)) == 1
        after = without_small(vertices, faces, 8)
        assert np.array_equal(after[1], faces)


def test_without_handles_nothing_is_touched() -> None:
    vertices, faces = mesh_of(np.minimum(ball(10), np.linalg.norm(GRID - [0, 0, 25], axis=-1) - 8))
    after = without_small(vertices, faces, 8)
    assert np.array_equal(after[0], vertices)
    assert np.array_equal(after[1], faces)
