"""The evaluation as a whole: perfect inputs score best, wrong ones lose where they are wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recon3d_contract.conventions import POSITION, VIEWS, camera_axes
from recon3d_contract.quality import Quality
from recon3d_runner.export import read_glb, write_glb
from recon3d_runner.quality.evaluate import NO_OVERLAP_PCT, calibration_report, check_all, evaluate, unseen_share
from recon3d_runner.raster.cpu import project, rasterize, render_textured
from recon3d_runner.types import Calibration, Camera, TexturedMesh, View

MakeBlob = Callable[..., TexturedMesh]
SIZE = 160
CALIBRATION = Calibration(
    40.0, 2.2, 0.9, None, "black-near", True, 1.2, 3.2, {"left": {"mirror": True, "roll_deg": 90}}, 0.02
)
ALONE = dict.fromkeys(VIEWS, 30.0)


def perfect_views(mesh: TexturedMesh) -> list[View]:
    views = []
    for name in VIEWS:
        rotation = np.array(camera_axes(name))
        camera = Camera(rotation, -rotation @ (2.2 * np.array(POSITION[name])), 40.0)
        render = render_textured(mesh, camera, SIZE)
        depth = rasterize(project(mesh.vertices, camera, SIZE // 2), mesh.faces, SIZE // 2)[1]
        views.append(View(name, camera, render.rgb, render.alpha, depth))
    return views


def test_the_mesh_that_made_the_views_scores_best(make_blob: MakeBlob, tmp_path: Path) -> None:
    mesh = make_blob(4, 256)
    views = perfect_views(mesh)
    write_glb(mesh, tmp_path / "mesh.glb")
    told: list[float] = []
    got = evaluate(
        read_glb(tmp_path / "mesh.glb", mesh.unseen), views, CALIBRATION, ALONE, engine="nvdiffrec", tick=told.append
    )
    quality = got.quality
    assert quality.verdict == "normal"
    assert quality.reasons == []
    assert quality.means.psnr_foreground > 45
    assert quality.means.ssim_foreground > 0.999
    assert quality.means.iou > 0.999
    assert quality.means.depth_error_pct is not None
    assert quality.means.depth_error_pct < 1e-4
    assert quality.mesh.watertight
    assert quality.mesh.manifold
    assert quality.mesh.genus == 0
    assert quality.mesh.self_intersections == 0
    assert quality.mesh.uv_overlap == 0
    assert told[-1] == 1
    assert Quality.model_validate_json(quality.to_json()) == quality
    assert set(got.renders) == set(got.references) == set(VIEWS)


def test_cameras_that_the_views_do_not_fix_are_a_warning(make_blob: MakeBlob) -> None:
    mesh = make_blob(3)
    unsure = replace(CALIBRATION, confidence=0.3)
    quality = evaluate(mesh, perfect_views(mesh), unsure, ALONE, engine="e").quality
    assert quality.verdict == "warning"
    assert any("angle of view" in reason for reason in quality.reasons)


def test_thread_count_does_not_change_the_record(make_blob: MakeBlob) -> None:
    mesh = make_blob(3)
    views = perfect_views(mesh)
    records = [evaluate(mesh, views, CALIBRATION, ALONE, engine="e", threads=n).quality.to_json() for n in (1, 3)]
    assert records[0] == records[1]


def test_a_wrong_texture_a_wrong_shape_and_a_flattering_texture(make_blob: MakeBlob) -> None:
    mesh = make_blob(3)
    views = perfect_views(mesh)
    painted = evaluate(replace(mesh, texture=255 - mesh.texture), views, CALIBRATION, ALONE, engine="e").quality
    assert painted.verdict == "failure"
    assert painted.means.iou == 1
    swollen = evaluate(replace(mesh, vertices=mesh.vertices * 1.2), views, CALIBRATION, ALONE, engine="e").quality
    assert swollen.verdict != "normal"
    assert swollen.means.iou < 0.8
    assert swollen.means.depth_error_pct is not None
    assert swollen.means.depth_error_pct > 1
    flattered = evaluate(mesh, views, CALIBRATION, dict.fromkeys(VIEWS, 12.0), engine="e").quality
    assert flattered.verdict == "warning"
    assert "12" in " ".join(flattered.reasons)


def test_the_worst_view_is_named(make_blob: MakeBlob) -> None:
    mesh = make_blob(3)
    views = perfect_views(mesh)
    views[4] = replace(views[4], rgb=np.clip(views[4].rgb + 0.1, 0, 1))
    got = evaluate(mesh, views, CALIBRATION, ALONE, engine="e").quality
    assert got.worst_view == "top"
    assert got.per_view["top"].psnr_foreground < got.per_view["front"].psnr_foreground


def test_a_mesh_outside_the_picture_scores_nothing_and_stays_finite(make_blob: MakeBlob) -> None:
    mesh = make_blob(2)
    views = perfect_views(mesh)
    gone = replace(mesh, vertices=mesh.vertices * 1e-3 + (0.0, 0.0, 50.0))
    got = evaluate(gone, views, CALIBRATION, dict.fromkeys(VIEWS), engine="e").quality
    assert got.verdict == "failure"
    assert got.per_view["front"].iou == 0
    assert got.per_view["front"].depth_error_pct == NO_OVERLAP_PCT
    assert got.leave_one_out.mean is None
    assert "NaN" not in got.to_json()


def test_without_depth_there_is_no_depth_error(make_blob: MakeBlob) -> None:
    mesh = make_blob(2)
    views = [replace(view, depth=None) for view in perfect_views(mesh)]
    got = evaluate(mesh, views, replace(CALIBRATION, depth_encoding=None), ALONE, engine="e").quality
    assert got.means.depth_error_pct is None
    assert got.calibration.depth is None
    assert "depth_error_mean_pct" not in got.mesh.other


def test_an_input_over_black_is_judged_over_white(make_blob: MakeBlob) -> None:
    mesh = make_blob(3)
    views = [replace(view, rgb=np.clip(view.rgb - (1 - view.alpha[..., None]), 0, 1)) for view in perfect_views(mesh)]
    black = np.zeros(3, np.float32)
    wrong = evaluate(mesh, views, CALIBRATION, ALONE, engine="e").quality
    right = evaluate(mesh, views, CALIBRATION, ALONE, engine="e", backgrounds=dict.fromkeys(VIEWS, black)).quality
    assert right.means.psnr_foreground > 45
    assert wrong.means.psnr_full < 20


def test_cancelling_ends_the_work(make_blob: MakeBlob) -> None:
    mesh = make_blob(2)

    def stop(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(mesh, perfect_views(mesh), CALIBRATION, ALONE, engine="e", tick=stop)


def test_unseen_share_counts_used_texels_only(make_blob: MakeBlob) -> None:
    mesh = make_blob(3, 120)
    assert unseen_share(replace(mesh, unseen=np.ones((120, 120), np.bool_))) == 1
    assert unseen_share(replace(mesh, unseen=np.zeros((120, 120), np.bool_))) == 0
    empty_corner = np.zeros((120, 120), np.bool_)
    empty_corner[85:, 85:] = True  # the atlas leaves this cell free
    assert unseen_share(replace(mesh, unseen=empty_corner)) == 0


def test_planted_faults_show_in_the_record(make_blob: MakeBlob) -> None:
    mesh = make_blob(3)
    folded = mesh.vertices.copy()
    folded[100] *= -1.2
    got = check_all(replace(mesh, vertices=folded), {"note": "x"})
    assert got.self_intersections > 0
    assert got.other["note"] == "x"
    opened = check_all(replace(mesh, faces=mesh.faces[1:], uv_faces=mesh.uv_faces[1:]), {})
    assert not opened.watertight
    assert opened.genus is None
    assert opened.other["boundary_edges"] == 3


def test_calibration_report() -> None:
    got = calibration_report(CALIBRATION)
    assert got.depth is not None
    assert (got.depth.kind, got.depth.encoding, got.depth.near) == ("ray", "black-near", 1.2)
    assert got.views["left"].mirror
    assert got.views["left"].roll_deg == 90
    assert got.views["left"].residual_px is None
