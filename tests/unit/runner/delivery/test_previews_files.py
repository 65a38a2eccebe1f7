"""The preview pictures: all there, of the right size, showing what they should."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from recon3d_contract import layout
from recon3d_contract.conventions import POSITION, VIEWS, camera_axes
from recon3d_runner import previews
from recon3d_runner.comparison import FULL_SCALE, RAMP, heat, white_border
from recon3d_runner.raster.cpu import render_textured
from recon3d_runner.types import Camera, TexturedMesh
from recon3d_runner.wireframe import LINE, render_wireframe

MakeBlob = Callable[..., TexturedMesh]


def axis_cameras(distance: float = 2.2, fov_deg: float = 40.0) -> dict[str, Camera]:
    cameras = {}
    for name in VIEWS:
        rotation = np.array(camera_axes(name))
        cameras[name] = Camera(rotation, -rotation @ (distance * np.array(POSITION[name])), fov_deg)
    return cameras


def test_every_preview_is_written_once(make_blob: MakeBlob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "SIZE", 128)
    told: list[float] = []
    written = previews.write_previews(make_blob(), axis_cameras(), tmp_path, tick=told.append)
    expected = [
        kind(name) for kind in (layout.textured_preview, layout.wireframe_preview) for name in layout.PREVIEW_VIEWS
    ]
    assert [str(path) for path in written] == expected
    assert told == sorted(told)
    assert told[-1] == 1
    first = {path: (tmp_path / path).read_bytes() for path in written}
    for path in written:
        picture = np.asarray(Image.open(tmp_path / path))
        assert picture.shape == (128, 128, 3)
        assert 0.1 < (picture < 250).any(axis=-1).mean() < 0.9, path
    previews.write_previews(make_blob(), axis_cameras(), tmp_path, threads=1)
    assert {path: (tmp_path / path).read_bytes() for path in written} == first


def test_cancelling_ends_the_work(make_blob: MakeBlob, tmp_path: Path) -> None:
    def stop(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        previews.write_previews(make_blob(1), axis_cameras(), tmp_path, tick=stop)
    assert len(list((tmp_path / "previews").iterdir())) < 8


def test_diagonal_cameras_frame_the_whole_mesh_from_the_right_side(make_blob: MakeBlob) -> None:
    mesh = make_blob()
    mesh = replace(mesh, vertices=mesh.vertices + (3.0, -2.0, 1.0))
    for name, way in previews.DIAGONALS.items():
        camera = previews.diagonal_camera(mesh, way, 40.0)
        centre = (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2
        seen_from = (camera.centre - centre) / np.linalg.norm(camera.centre - centre)
        assert seen_from == pytest.approx(np.array(way) / 3**0.5), name
        assert camera.rotation @ camera.rotation.T == pytest.approx(np.eye(3))
        assert np.linalg.det(camera.rotation) == pytest.approx(1)
        assert camera.rotation[1, 2] < 0  # world up is up in the picture
        alpha = render_textured(mesh, camera, 128).alpha > 0
        assert not np.concatenate([alpha[[0, -1]].ravel(), alpha[:, [0, -1]].ravel()]).any()
        assert max(alpha.any(axis=0).sum(), alpha.any(axis=1).sum()) > 0.75 * 128
    assert list(previews.DIAGONALS.values()) == [(1.0, 1.0, 1.0), (-1.0, -1.0, -1.0)]


def test_wireframe_hides_what_is_behind_and_fades_when_dense(make_blob: MakeBlob) -> None:
    camera = axis_cameras()["front"]
    coarse, dense = make_blob(2), make_blob(6)
    picture = render_wireframe(coarse, camera, 256)
    ink = (np.abs(picture - LINE) < 0.25).all(axis=-1)
    assert 0.005 < ink.mean() < 0.15
    # Faces turned away must not draw: without them the picture is the same.
    normal = np.cross(*(coarse.vertices[coarse.faces[:, k]] - coarse.vertices[coarse.faces[:, 0]] for k in (1, 2)))
    away = (normal * (coarse.vertices[coarse.faces[:, 0]] - camera.centre)).sum(axis=1) > 0
    half = render_wireframe(
        replace(coarse, faces=np.where(away[:, None], 0, coarse.faces).astype(np.int32)), camera, 256
    )
    inner = render_textured(coarse, camera, 256).alpha == 1
    assert away.any()
    assert ((half < 1).any(axis=-1) == (picture < 1).any(axis=-1))[inner].mean() > 0.99
    crowded = render_wireframe(dense, camera, 256)
    body = (crowded < 0.99).any(axis=-1)
    assert crowded[body].mean() > 0.45


def test_comparison_sheet(make_blob: MakeBlob, tmp_path: Path) -> None:
    mesh, cameras = make_blob(), axis_cameras()
    renders = {name: render_textured(mesh, camera, 96) for name, camera in cameras.items()}
    scores = dict.fromkeys(VIEWS, 31.0)
    references = {name: render.rgb for name, render in renders.items()}
    path = previews.write_comparison(scores, references, renders, tmp_path)
    same = np.asarray(Image.open(tmp_path / path)).astype(int)
    references = dict(references, top=np.clip(references["top"] + 0.2, 0, 1))
    previews.write_comparison(scores, references, renders, tmp_path)
    other = np.asarray(Image.open(tmp_path / path)).astype(int)
    assert same.shape == other.shape
    columns = np.flatnonzero((same != other).any(axis=(0, 2)))
    width = same.shape[1]
    assert columns.min() > width * 4 / 7  # only the fifth column, the top view, changed
    assert columns.max() < width * 6 / 7


def test_heat_scale_runs_from_white_to_dark() -> None:
    colours = heat(np.array([[0.0, 0.01, 0.05, FULL_SCALE, 1.0]], np.float32))[0].astype(int)
    assert colours[0].tolist() == [255, 255, 255]
    assert colours[-1].tolist() == RAMP[-1].tolist()
    assert (np.diff(colours.sum(axis=1)) <= 0).all()


def test_white_border() -> None:
    image = np.ones((100, 100, 3), np.float32)
    image[40:60, 30:50] = 0
    assert white_border([image]) == pytest.approx(0.5 - 0.2 * 1.08, abs=0.01)
    assert white_border([np.zeros((100, 100, 3), np.float32)]) == 0
