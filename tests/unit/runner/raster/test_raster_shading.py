"""Textured pictures against a plain numpy rendering of the same definition: every sample, then the mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from recon3d_runner.raster import kernels
from recon3d_runner.raster.cpu import AMBIENT, LIGHT, Rendered, mip_pyramid, project, render_textured
from recon3d_runner.surface import vertex_normals
from recon3d_runner.types import Camera, TexturedMesh


def ball(texture_size: int, seed: int = 3) -> TexturedMesh:
    """A lumpy sphere of 12 x 16 quads whose faces look anywhere into a noisy texture, at every scale."""
    rng = np.random.default_rng(seed)
    polar, around = np.meshgrid(np.linspace(0.05, np.pi - 0.05, 12), np.linspace(0, 2 * np.pi, 17), indexing="ij")
    flat = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], -1).reshape(-1, 3)
    vertices = flat * (0.42 + 0.05 * np.sin(5 * flat[:, :1]))
    row, column = (a.ravel() for a in np.meshgrid(np.arange(11), np.arange(16), indexing="ij"))
    a = row * 17 + column
    faces = np.concatenate([np.stack([a, a + 17, a + 18], 1), np.stack([a, a + 18, a + 1], 1)]).astype(np.int32)
    middle, scale = rng.uniform(0.05, 0.95, (len(faces), 1, 2)), rng.choice([0.001, 0.02, 0.2, 0.6], (len(faces), 1, 1))
    uv = np.clip(middle + scale * rng.uniform(-1, 1, (len(faces), 3, 2)), 0, 1).reshape(-1, 2)
    texture = rng.integers(0, 256, (texture_size, texture_size, 3), dtype=np.uint8)
    uv_faces = np.arange(len(uv), dtype=np.int32).reshape(-1, 3)
    return TexturedMesh(vertices, faces, uv, uv_faces, texture, np.zeros((texture_size, texture_size), np.bool_))


def plain_levels(texture: np.ndarray) -> list[np.ndarray]:
    levels = [texture.astype(np.float64) / 255]
    while levels[-1].shape[0] % 2 == 0 and levels[-1].shape[0] > 8:
        n = levels[-1].shape[0] // 2
        levels.append(levels[-1].reshape(n, 2, n, 2, 3).mean((1, 3)))
    return levels


def plain_look_up(level: np.ndarray, uv: np.ndarray) -> np.ndarray:
    n = len(level)
    x, y = (uv * n - 0.5).T
    i, j = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (x - i)[:, None], (y - j)[:, None]
    i0, i1, j0, j1 = (np.clip(k, 0, n - 1) for k in (i, i + 1, j, j + 1))
    upper = level[j0, i0] * (1 - fx) + level[j0, i1] * fx
    return upper * (1 - fy) + (level[j1, i0] * (1 - fx) + level[j1, i1] * fx) * fy


def plain_render(mesh: TexturedMesh, camera: Camera, size: int, s: int, shaded: bool) -> Rendered:
    """Rasterise all samples at once, colour each by trilinear look-up, take means."""
    n = size * s
    points = project(mesh.vertices, camera, n)
    face, _, bary = kernels.rasterize(points, mesh.faces, n)
    seen = face >= 0
    f = face[seen]
    b = np.column_stack([1.0 - bary[seen].astype(np.float64).sum(1), bary[seen]])
    uv = (b[..., None] * mesh.uv[mesh.uv_faces[f]]).sum(1)
    levels = plain_levels(mesh.texture)
    corner, patch = points[mesh.faces][..., :2], mesh.uv[mesh.uv_faces] * len(mesh.texture)
    areas = []
    for t in (corner, patch):
        u, v = t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]
        areas.append(np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]))
    ratio = np.divide(areas[1], areas[0], out=np.ones(len(mesh.faces)), where=areas[0] > 0)
    lod = np.clip(0.5 * np.log2(np.maximum(ratio, 1.0)), 0, 6.0)[f]
    lod = np.minimum(lod, len(levels) - 1)
    colour = np.zeros((len(f), 3))
    for k, level in enumerate(levels):
        share = np.clip(1 - np.abs(lod - k), 0, 1)[:, None]
        colour += share * plain_look_up(level, uv)
    if shaded:
        normal = (b[..., None] * vertex_normals(mesh.vertices, mesh.faces)[mesh.faces[f]]).sum(1)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        lambert = np.maximum(normal @ (camera.rotation.T @ LIGHT), 0)
        colour *= (AMBIENT + (1 - AMBIENT) * lambert)[:, None]
    rgb = np.ones((n, n, 3))
    rgb[seen] = colour
    return Rendered(
        rgb=rgb.reshape(size, s, size, s, 3).mean((1, 3)).astype(np.float32),
        alpha=seen.reshape(size, s, size, s).mean((1, 3)).astype(np.float32),
    )


@pytest.mark.parametrize(
    ("size", "supersample", "shaded", "texture"),
    [
        (96, 1, False, 64),
        (96, 2, False, 256),
        (96, 2, True, 256),
        (50, 3, True, 100),
        (33, 4, False, 96),
        (64, 2, False, 7),
    ],
)
def test_pictures_are_those_of_the_plain_renderer(
    camera: Camera, size: int, supersample: int, shaded: bool, texture: int
) -> None:
    mesh = ball(texture)
    found = render_textured(mesh, camera, size, supersample=supersample, shaded=shaded)
    truth = plain_render(mesh, camera, size, supersample, shaded)
    np.testing.assert_allclose(found.alpha, truth.alpha, rtol=0, atol=1e-7)
    np.testing.assert_allclose(found.rgb, truth.rgb, rtol=0, atol=2e-6)
    assert 0.2 < (found.alpha > 0).mean() < 0.8
    assert found.rgb[found.alpha > 0.9].std() > 0.05


def test_every_level_is_the_mean_of_the_one_before() -> None:
    texture = ball(96).texture
    pyramid = mip_pyramid(texture)
    plain = plain_levels(texture)
    assert pyramid.side.tolist() == [len(level) for level in plain] == [96, 48, 24, 12, 6]
    for k, level in enumerate(plain):
        np.testing.assert_allclose(pyramid.level(k), level, rtol=0, atol=1e-6)
    again = mip_pyramid(pyramid.level(0))
    assert again.texels.tobytes() == pyramid.texels.tobytes()


def test_a_pyramid_made_before_gives_the_same_picture(camera: Camera) -> None:
    mesh = ball(64)
    pictures = [render_textured(mesh, camera, 48, levels=levels) for levels in (None, mip_pyramid(mesh.texture))]
    assert pictures[0].rgb.tobytes() == pictures[1].rgb.tobytes()


def test_nothing_in_sight_is_a_white_picture(camera: Camera) -> None:
    mesh = ball(16)
    away = Camera(camera.rotation, camera.translation + (40.0, 0.0, 0.0), camera.fov_deg)
    found = render_textured(mesh, away, 32)
    assert (found.rgb == 1).all()
    assert (found.alpha == 0).all()


def test_an_object_that_fills_the_frame(camera: Camera) -> None:
    mesh: Any = ball(64)
    near = Camera(camera.rotation, camera.translation * 0.45, camera.fov_deg)
    found = render_textured(mesh, near, 45)
    truth = plain_render(mesh, near, 45, 2, False)
    assert (found.alpha == 1).mean() > 0.9
    np.testing.assert_allclose(found.rgb, truth.rgb, rtol=0, atol=2e-6)
