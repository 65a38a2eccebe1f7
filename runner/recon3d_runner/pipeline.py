"""One engine's whole run: scene -> engine -> files, measured on what was written.

Data flows one way: input folder -> Scene (six calibrated views) -> TexturedMesh -> GLB/OBJ/PLY on disk ->
read back -> previews, quality, report. The supervisor's process boundary is outside (worker.py).
"""

from __future__ import annotations

import importlib
import os
import resource
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from recon3d_contract import layout
from recon3d_contract.quality import MeshChecks
from recon3d_contract.result import Notice

from recon3d_runner.engines import reconviagen
from recon3d_runner.engines.device import choose, open_device, peak_gpu_bytes
from recon3d_runner.engines.nvdiffrec import engine as nvdiffrec
from recon3d_runner.engines.nvdiffrec.prior import PRIOR_UNFIT, Prior
from recon3d_runner.export import export_glb, export_others
from recon3d_runner.glb import read_glb, read_shape
from recon3d_runner.previews import write_comparison, write_previews
from recon3d_runner.provenance import parameters, threads
from recon3d_runner.quality.evaluate import Evaluation, LeftOut, check_all, evaluate
from recon3d_runner.quality.leave_one_out import leave_one_out
from recon3d_runner.raster import Rasteriser, gpu_library, open_rasteriser
from recon3d_runner.raster.cpu import mip_pyramid
from recon3d_runner.raster.shading import Pyramid
from recon3d_runner.report import Packed, ReportData, build_report
from recon3d_runner.request import EngineRequest, EngineResult
from recon3d_runner.run import Run
from recon3d_runner.scene.assemble import Scene, build_scene
from recon3d_runner.surface import vertex_colours
from recon3d_runner.types import TexturedMesh

Fact = float | int | bool | str | None

MANY = 8
"""Cores from which on checks, previews and evaluation run side by side: on fewer it would only take more memory."""

VERSIONS = ("numpy", "numba", "scipy", "pillow")


def reconstruct(
    request: EngineRequest,
    run: Run,
    scene_begun: Future[Scene] | None = None,
    rasteriser_begun: Future[Rasteriser] | None = None,
) -> EngineResult:
    """Run `request.engine` from the checked input to a complete result folder. What is begun already is waited for.

    Raises Recon3dError (INCONSISTENT_VIEWS ...), FloatingPointError where a pass diverges, OSError for disks.
    """
    if request.engine == reconviagen.ENGINE:
        reconviagen.require_device(request.device, os.environ)
    with ThreadPoolExecutor(1) as aside:
        opening = aside.submit(open_device, request.device) if rasteriser_begun is None else rasteriser_begun
        scene = build_scene(request.input_dir, request.spec, run) if scene_begun is None else scene_begun.result()
        rasteriser = opening.result()
    if request.engine == reconviagen.ENGINE:
        # By name: it needs packages that an image without that engine may lack.
        adapter = importlib.import_module("recon3d_runner.engines.reconviagen.engine")
        home = Path(os.environ[reconviagen.HOME])
        made = adapter.reconstruct(scene, request.spec, rasteriser, run, home, request.device)
        return deliver(request, scene, made.mesh, run, made.facts, made.versions)
    prior = None
    if request.prior is not None:
        other = read_glb(request.prior)
        prior = Prior(other.vertices, other.faces, vertex_colours(other)[:, :3] / 255.0)
    mesh = nvdiffrec.reconstruct(scene, request.spec, rasteriser, run, prior)
    left_out = any(warning["code"] == PRIOR_UNFIT for warning in getattr(run, "warnings", []))
    facts = {} if prior is None or left_out else {"prior": request.spec.nvdiffrec.prior}
    return deliver(request, scene, mesh, run, facts)


def deliver(
    request: EngineRequest,
    scene: Scene,
    made: TexturedMesh,
    run: Run,
    facts: Mapping[str, Fact] | None = None,
    engine_versions: Mapping[str, str] | None = None,
) -> EngineResult:
    """Write the files, read the GLB back, and measure, picture and report that.

    facts: what the engine says of its own result, for quality.json; engine_versions: of what only it uses.
    """
    out, cores = request.out_dir, threads(os.environ)
    versions = {name: version(name) for name in VERSIONS} | dict(engine_versions or {})
    if request.device == "cuda":
        versions |= {name: version(name) for name in ("torch", gpu_library()) if name}
    cameras = {view.name: view.camera for view in scene.views}
    previews = partial(write_previews, cameras=cameras, out=out, threads=cores)
    # Files that nothing here reads are written, and other things got ready, while the next stages work.
    with ThreadPoolExecutor(cores) as aside:
        with run.stage("export"):
            export_glb(made, out)
            shape = read_shape(out / layout.MESH_GLB)
            checks: Future[MeshChecks] | None = None
            rasteriser = open_rasteriser("cpu")
            alone: Callable[[], LeftOut] = partial(
                leave_one_out, shape.vertices, shape.faces, scene.views, rasteriser, cores
            )
            if cores >= MANY:  # of the texture these need the size at most
                checks = aside.submit(check_all, shape.textured(made.texture, made.unseen), {})
                alone = aside.submit(alone).result
            mesh = shape.textured(shape.texture(), made.unseen)
            levels = mip_pyramid(mesh.texture)
        written: list[Future[Any]] = [aside.submit(export_others, made, out, request.spec.output.formats)]
        packed = Packed.begin(mesh, aside, levels) if cores >= MANY else None
        with run.stage("previews"):
            if cores < MANY:
                previews(mesh, levels=levels, tick=run.tick)
            else:
                written.append(aside.submit(previews, mesh, levels=levels))
        with run.stage("evaluate"):
            measured = _measure(request, scene, mesh, run, facts or {}, cores, alone, checks, levels)
        with run.stage("report"):
            quality = measured.quality
            scores = {str(name): view.psnr_foreground for name, view in quality.per_view.items()}
            written.append(aside.submit(write_comparison, scores, measured.references, measured.renders, out))
            data = ReportData(
                quality=quality,
                mesh=mesh,
                references=measured.references,
                renders={name: r.rgb for name, r in measured.renders.items()},
                timings=dict(getattr(run, "seconds", {})),
                parameters=parameters(request.spec),
                provenance={"input": request.manifest, "seed": request.spec.seed, "versions": versions},
                warnings=[Notice(**w) for w in getattr(run, "warnings", [])],
            )
            build_report(data, out / layout.REPORT, packed, levels)
            for file in written:
                file.result()
    return EngineResult(
        quality=quality,
        verdict=quality.verdict,
        reasons=list(quality.reasons),
        seconds={},
        peak_memory_bytes=peak_gpu_bytes() if request.device == "cuda" else _peak_process_bytes(),
        device_name=choose(request.device).name,
        versions=versions,
        warnings=[],
    )


def _measure(
    request: EngineRequest,
    scene: Scene,
    mesh: TexturedMesh,
    run: Run,
    facts: Mapping[str, Fact],
    cores: int,
    alone: Callable[[], LeftOut],
    checks: Future[MeshChecks] | None,
    levels: Pyramid,
) -> Evaluation:
    """Quality of the mesh as it was read back, also as a file."""
    measured = evaluate(
        mesh,
        scene.views,
        scene.calibration,
        alone,
        engine=request.engine,
        thresholds=request.spec.quality,
        backgrounds=scene.backgrounds,
        threads=cores,
        tick=run.tick,
        checks=checks,
        levels=levels,
    )
    found = measured.quality.mesh
    found = found.model_copy(update={"other": {**found.other, **facts}})
    measured = replace(measured, quality=measured.quality.model_copy(update={"mesh": found}))
    (request.out_dir / layout.QUALITY).write_text(measured.quality.to_json())
    return measured


def _peak_process_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
