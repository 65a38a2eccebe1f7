"""From the mesh read back from disk to the contract's Quality: renders, metrics, checks, verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from recon3d_contract.conventions import ViewName
from recon3d_contract.quality import (
    AspectRatio,
    CalibrationReport,
    DepthCalibration,
    LeaveOneOut,
    MeshChecks,
    Quality,
    ViewCalibration,
    ViewQuality,
    measured_of,
)
from recon3d_contract.spec import QualityThresholds
from recon3d_contract.verdict import DEFAULT_THRESHOLDS, judge

from recon3d_runner.quality.image_metrics import ImageMetrics, compare, depth_error, over_white
from recon3d_runner.quality.intersections import self_intersections
from recon3d_runner.quality.mesh_checks import check_mesh
from recon3d_runner.quality.uv_checks import check_uv
from recon3d_runner.raster.cpu import Rendered, mip_pyramid, project, rasterize, render_textured
from recon3d_runner.raster.shading import Pyramid
from recon3d_runner.types import F32, Calibration, TexturedMesh, View

LeftOut = Mapping[str, float | None]
NO_OVERLAP_PCT = 100.0
"""Depth error reported where input and render share no pixel: as wrong as can be, and finite for JSON."""


@dataclass(frozen=True)
class Evaluation:
    """A quality record and the pictures it was measured on, for the comparison sheet and the report."""

    quality: Quality
    references: dict[str, F32]
    """(H, H, 3) input over white by view."""
    renders: dict[str, Rendered]
    """At the input's resolution by view."""


def references_over_white(views: Sequence[View], backgrounds: Mapping[str, F32 | None] | None = None) -> dict[str, F32]:
    """The inputs over white. `backgrounds`: see image_metrics.over_white; views not named are on white."""
    white = np.ones(3, np.float32)
    named = {} if backgrounds is None else backgrounds
    return {view.name: over_white(view.rgb, view.alpha, named.get(view.name, white)) for view in views}


def evaluate(
    mesh: TexturedMesh,
    views: Sequence[View],
    calibration: Calibration,
    leave_one_out: LeftOut | Callable[[], LeftOut],
    *,
    engine: str,
    thresholds: QualityThresholds = DEFAULT_THRESHOLDS,
    backgrounds: Mapping[str, F32 | None] | None = None,
    other: Mapping[str, float | int | bool | str | None] | None = None,
    threads: int = 2,
    tick: Callable[[float], None] | None = None,
    checks: Future[MeshChecks] | None = None,
    levels: Pyramid | None = None,
) -> Evaluation:
    """Measure `mesh`, as read back from its GLB, against the six `views`.

    leave_one_out: dB by view, None where a view cannot be judged; or what finds that, beside the rest.
    other: further facts for `mesh.other`.
    `tick` hears the share done from this thread; what it raises ends the work after the views in flight.
    checks, levels: what `check_all` finds, and the texture's `mip_pyramid`, where the caller has them.
    """
    references = references_over_white(views, backgrounds)
    levels = mip_pyramid(mesh.texture) if levels is None else levels
    diagonal = float(np.linalg.norm(np.ptp(mesh.vertices, axis=0)))

    def measure(view: View) -> tuple[Rendered, ImageMetrics, float | None, float | None]:
        render = render_textured(mesh, view.camera, view.rgb.shape[0], levels=levels)
        images = compare(references[view.name], view.alpha, render.rgb, render.alpha)
        if view.depth is None:
            return render, images, None, None
        size = view.depth.shape[0]
        depth = rasterize(project(mesh.vertices, view.camera, size), mesh.faces, size)[1]
        error = depth_error(view.depth, depth, diagonal)
        if not error.pixels:
            return render, images, NO_OVERLAP_PCT, NO_OVERLAP_PCT
        return render, images, error.median_pct, error.mean_pct

    with ThreadPoolExecutor(threads) as pool:
        tasks: list[Future[Any]] = [pool.submit(measure, view) for view in views]
        tasks += [
            pool.submit(check_all, mesh, other or {}) if checks is None else checks,
            pool.submit(lambda: leave_one_out() if callable(leave_one_out) else leave_one_out),
        ]
        try:
            done = []
            for task in tasks:
                done.append(task.result())
                if tick is not None:
                    tick(len(done) / len(tasks))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    predicted = cast("LeftOut", done.pop())
    found = cast(MeshChecks, done.pop())
    names = [cast(ViewName, view.name) for view in views]
    per_view = {name: _view_quality(images, median) for name, (_, images, median, _) in zip(names, done, strict=True)}
    mean_errors = [mean for _, _, _, mean in done if mean is not None]
    if mean_errors:
        found.other["depth_error_mean_pct"] = _rounded(float(np.mean(mean_errors)))
    means = _means(list(per_view.values()))
    judged = [value for value in predicted.values() if value is not None]
    alone = LeaveOneOut(
        per_view={cast(ViewName, name): _rounded(value) for name, value in predicted.items()},
        mean=_rounded(float(np.mean(judged))) if judged else None,
    )
    verdict = judge(measured_of(means, alone, calibration.confidence), thresholds)
    quality = Quality(
        engine=engine,
        verdict=verdict.verdict,
        reasons=list(verdict.reasons),
        per_view=per_view,
        means=means,
        worst_view=min(names, key=lambda name: per_view[name].psnr_foreground),
        leave_one_out=alone,
        mesh=found,
        calibration=calibration_report(calibration),
    )
    return Evaluation(
        quality, references, dict(zip((view.name for view in views), (row[0] for row in done), strict=True))
    )


def _rounded(value: float | None) -> Any:
    """Six significant digits: far more than any measurement here means, and the same on every machine."""
    return None if value is None else float(f"{value:.6g}")


def _view_quality(images: ImageMetrics, depth_pct: float | None) -> ViewQuality:
    """A view without any foreground, in input and render, was not measured: it scores nothing."""
    empty = not np.isfinite(images.psnr)
    return ViewQuality(
        psnr_foreground=0.0 if empty else _rounded(images.psnr),
        ssim_foreground=0.0 if empty else _rounded(images.ssim),
        psnr_full=_rounded(images.psnr_full),
        ssim_full=_rounded(images.ssim_full),
        iou=0.0 if empty else _rounded(images.iou),
        depth_error_pct=_rounded(depth_pct),
    )


def _means(views: Sequence[ViewQuality]) -> ViewQuality:
    depth = [view.depth_error_pct for view in views if view.depth_error_pct is not None]
    return ViewQuality(
        psnr_foreground=_rounded(float(np.mean([view.psnr_foreground for view in views]))),
        ssim_foreground=_rounded(float(np.mean([view.ssim_foreground for view in views]))),
        psnr_full=_rounded(float(np.mean([view.psnr_full for view in views]))),
        ssim_full=_rounded(float(np.mean([view.ssim_full for view in views]))),
        iou=_rounded(float(np.mean([view.iou for view in views]))),
        depth_error_pct=_rounded(float(np.mean(depth))) if depth else None,
    )


def unseen_share(mesh: TexturedMesh) -> float:
    """Share of the texels in use (their centre lies in a UV triangle) that no view sees."""
    size = mesh.texture.shape[0]
    flat = np.column_stack([mesh.uv * size, np.ones(len(mesh.uv))])
    used = rasterize(flat, mesh.uv_faces, size)[0] >= 0
    return float((mesh.unseen & used).sum() / max(int(used.sum()), 1))


def check_all(mesh: TexturedMesh, other: Mapping[str, float | int | bool | str | None]) -> MeshChecks:
    """Topology, shape, self-intersections and UVs of a mesh as the contract records them, found side by side."""
    with ThreadPoolExecutor() as pool:
        shape = pool.submit(check_mesh, mesh.vertices, mesh.faces)
        crosses = pool.submit(self_intersections, mesh.vertices, mesh.faces)
        atlas = pool.submit(check_uv, mesh)
        unseen = pool.submit(unseen_share, mesh)
    solid, crossing, uv = shape.result(), crosses.result(), atlas.result()
    single = solid.watertight and solid.components == 1
    facts: dict[str, float | int | bool | str | None] = {
        "edge_manifold": solid.edge_manifold,
        "vertex_manifold": solid.vertex_manifold,
        "oriented": solid.oriented,
        "outward": solid.outward,
        "boundary_edges": solid.boundary_edges,
        "nonmanifold_edges": solid.nonmanifold_edges,
        "nonmanifold_vertices": solid.nonmanifold_vertices,
        "duplicate_faces": solid.duplicate_faces,
        "genus_per_component": " ".join("?" if g is None else str(g) for g in solid.genus[:20]),
        "edge_length_min": _rounded(solid.edge_length.minimum),
        "edge_length_mean": _rounded(solid.edge_length.mean),
        "edge_length_max": _rounded(solid.edge_length.maximum),
        "edge_ratio_median": _finite(solid.edge_ratio.median),
        "edge_ratio_max": _finite(solid.edge_ratio.maximum),
        "self_intersections_complete": crossing.complete,
        "uv_overlapping_pairs": uv.overlapping_pairs,
        "uv_out_of_range": uv.out_of_range,
        "uv_flipped_faces": uv.flipped_faces,
        "uv_degenerate_faces": uv.degenerate_faces,
        "uv_used_share": _rounded(uv.used_share),
        "texels_per_unit_p5": _rounded(uv.texels_per_unit_p5),
        "texels_per_unit_median": _rounded(uv.texels_per_unit_median),
        "texels_per_unit_p95": _rounded(uv.texels_per_unit_p95),
    }
    return MeshChecks(
        vertices=solid.vertices,
        faces=solid.faces,
        watertight=solid.watertight,
        manifold=solid.edge_manifold and solid.vertex_manifold,
        components=solid.components,
        genus=solid.genus[0] if single else None,
        degenerate_faces=solid.degenerate_faces,
        self_intersections=len(crossing.pairs),
        aspect_ratio=AspectRatio(
            median=_finite(solid.aspect_ratio.median) or 0.0,
            p95=_finite(solid.aspect_ratio.p95) or 0.0,
            max=_finite(solid.aspect_ratio.maximum) or 0.0,
        ),
        volume=_rounded(solid.volume),
        area=_rounded(solid.area),
        diagonal=_rounded(solid.diagonal),
        uv_overlap=_rounded(uv.overlap_share),
        unseen_texel_share=_rounded(unseen.result()),
        other=facts | dict(other),
    )


def _finite(value: float) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None


def calibration_report(calibration: Calibration) -> CalibrationReport:
    """The contract's record of a calibration."""
    depth = None
    if calibration.depth_encoding is not None:
        depth = DepthCalibration(
            encoding=cast(Any, calibration.depth_encoding),
            near=_rounded(calibration.depth_near or 0.0),
            far=_rounded(calibration.depth_far or 0.0),
            kind="ray" if calibration.depth_is_ray else "z",
        )
    views: dict[ViewName, ViewCalibration] = {}
    for name, found in calibration.views.items():
        views[cast(ViewName, name)] = ViewCalibration(
            roll_deg=cast(int, found.get("roll_deg", 0)),
            mirror=bool(found.get("mirror", False)),
            residual_px=_rounded(cast("float | None", found.get("residual_px"))),
        )
    return CalibrationReport(
        fov_deg=_rounded(calibration.fov_deg),
        distance=_rounded(calibration.distance),
        depth=depth,
        views=views,
        confidence=calibration.confidence,
        prior=calibration.prior,
        residual=_rounded(calibration.residual),
    )
