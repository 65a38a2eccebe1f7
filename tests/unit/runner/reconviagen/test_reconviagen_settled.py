"""What is said of the fit is said of the mesh that is delivered, and repair may not crumple it."""

from __future__ import annotations

from dataclasses import replace

import bench_alignment
import numpy as np
import pytest
from drawn_scenes import Recorder
from made_meshes import Made
from recon3d_runner.engines.nvdiffrec import collapse, level_set
from recon3d_runner.engines.nvdiffrec.repair import repair
from recon3d_runner.engines.reconviagen.align import Alignment, measure
from recon3d_runner.engines.reconviagen.engine import STAYS, WORN, settled
from recon3d_runner.engines.reconviagen.refine import Shape
from recon3d_runner.engines.reconviagen.similarity import Similarity
from recon3d_runner.quality.intersections import self_intersections
from recon3d_runner.raster import open_rasteriser
from recon3d_runner.types import F64, I32, View
from scipy import ndimage

FOUND = Alignment(Similarity(1.0, np.eye(3), np.zeros(3)), 0.99, 1.0, None, 0.5)
"""As the alignment of another mesh might say: none of it but the pose may be passed on."""


def sponge() -> tuple[F64, I32]:
    """A ball full of holes with too few faces for its handles."""
    n = 36
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(n, n, n)), 1.5)
    away = np.linalg.norm((np.indices((n, n, n)) - (n - 1) / 2) / (n / 2), axis=0)
    field = np.maximum(noise / noise.std() - 0.3, 8 * (away - 0.85)).astype(np.float32)
    solid = level_set.keep_solids(*level_set.extract(field, np.full(3, (1 - n) / n), 2 / n), 0.5)
    return collapse.decimate(*solid, 600)


@pytest.fixture(scope="module")
def scene() -> tuple[F64, I32, list[View]]:
    vertices, faces = sponge()
    return (
        vertices,
        faces,
        bench_alignment.photograph(Made("sponge", vertices, faces, np.full_like(vertices, 0.5)), True),
    )


def fit(vertices: F64, faces: I32, views: list[View]) -> float:
    return measure(Shape(vertices, faces, None), STAYS, views, 1.0, open_rasteriser("cpu")).iou


def test_a_mesh_is_measured_where_it_ends(scene: tuple[F64, I32, list[View]], run: Recorder) -> None:
    vertices, faces, views = scene
    pose = Similarity(0.8, np.eye(3), np.array([0.05, 0.0, 0.0]))
    ended, found = settled(replace(FOUND, pose=pose), vertices, faces, views, open_rasteriser("cpu"), run)
    assert found.iou == fit(ended, faces, views) < 0.8
    assert found.runner_up == FOUND.runner_up


def test_a_mesh_that_cannot_be_repaired_is_not_crumpled(scene: tuple[F64, I32, list[View]], run: Recorder) -> None:
    vertices, faces, views = scene
    ended, found = settled(FOUND, vertices, faces, views, open_rasteriser("cpu"), run)
    assert found.iou == fit(ended, faces, views)
    assert found.iou >= fit(vertices, faces, views) - WORN
    assert [code for code, _ in run.warnings] == ["self_intersections"]


def test_repair_keeps_the_round_with_the_fewest_crossings() -> None:
    vertices, faces = sponge()
    before = len(self_intersections(vertices, faces).pairs)
    repaired, left = repair(vertices, faces)
    assert left == len(self_intersections(repaired, faces).pairs)
    assert 0 < left <= before
    assert level_set.volume(repaired, faces) > 0.9 * level_set.volume(vertices, faces)
