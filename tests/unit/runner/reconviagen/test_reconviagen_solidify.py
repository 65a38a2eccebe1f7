"""One closed surface out of what a generative model gives: holes, walls inside, crumbs."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from recon3d_runner.engines.inside import inside_votes
from recon3d_runner.engines.reconviagen.solidify import solidify


def ball(radius: float = 0.4, at: tuple[float, float, float] = (0, 0, 0)) -> trimesh.Trimesh:
    made = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    made.apply_translation(at)
    return made


def arrays(*parts: trimesh.Trimesh) -> tuple[np.ndarray, np.ndarray]:
    whole = trimesh.util.concatenate(parts)
    return np.array(whole.vertices), np.ascontiguousarray(whole.faces, np.int32)


def made(vertices: np.ndarray, faces: np.ndarray) -> trimesh.Trimesh:
    return trimesh.Trimesh(*solidify(vertices, faces, 64), process=False)


def test_a_closed_mesh_keeps_its_shape() -> None:
    out = made(*arrays(ball()))
    assert out.is_watertight
    assert np.abs(np.linalg.norm(out.vertices, axis=1) - 0.4).max() < 0.004
    assert out.volume == pytest.approx(ball().volume, rel=0.01)


def test_holes_are_closed() -> None:
    vertices, faces = arrays(ball())
    middle = vertices[faces].mean(1)
    kept = np.linalg.norm(middle - [0.4, 0, 0], axis=1) > 0.08
    out = made(vertices, faces[kept])
    assert out.is_watertight
    assert out.body_count == 1
    assert out.volume == pytest.approx(ball().volume, rel=0.03)


def test_walls_inside_and_crumbs_vanish() -> None:
    out = made(*arrays(ball(), ball(0.2), ball(0.02, (0.47, 0, 0))))
    assert out.is_watertight
    assert out.body_count == 1
    assert out.volume == pytest.approx(ball().volume, rel=0.02)


def test_votes_are_whole_where_nothing_is_doubtful() -> None:
    vertices, faces = arrays(ball())
    votes = inside_votes(vertices * 20 + 16, faces, 32)
    assert set(np.round(np.unique(votes), 3)) == {0.0, 1.0}
    assert votes.sum() == pytest.approx(ball().volume * 20**3, rel=0.02)


def test_a_sheet_encloses_nothing() -> None:
    with pytest.raises(ValueError, match="inside"):
        solidify(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.array([[0, 1, 2]], np.int32), 32)
