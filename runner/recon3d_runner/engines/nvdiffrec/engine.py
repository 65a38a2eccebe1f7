"""The engine's stages in order: fuse, geometry (pass 1), unwrap, texture (pass 2)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.spec import JobSpec

from recon3d_runner.bands import in_bands
from recon3d_runner.engines.nvdiffrec import (
    bake,
    collapse,
    fusion,
    geometry,
    handles,
    plateaus,
    profiles,
    remesh,
    repair,
    sharpen,
    texture,
    unwrap,
)
from recon3d_runner.engines.nvdiffrec.fusion import Silhouette
from recon3d_runner.engines.nvdiffrec.gutters import Gutters, gutters
from recon3d_runner.engines.nvdiffrec.prior import Hidden, Prior, fitting
from recon3d_runner.raster import Rasteriser, TensorRasteriser
from recon3d_runner.run import Run
from recon3d_runner.scene.assemble import Scene
from recon3d_runner.surface import vertex_normals
from recon3d_runner.types import F32, F64, I32, U8, Bool, TexturedMesh, View

PRIOR = 0.3
"""mu of the texture pass: higher values keep the projection's sharpness, lower ones fit noise."""

SMALL = 8
"""Voxels both ways around a handle, along the mesh, up to which it is the carving's: some two across."""
FINE = 120_000
"""Faces up to which pass 1 bends as its options say. With more, each vertex has fewer pixels to go by."""
UNSURE = 0.5
"""Variance of depth, in pixels squared, with which outlines count twice as much."""
MOST = 4.0
"""How often at most: with eight bits a flat wall is known better than its steps say (plateaus.py)."""
SETTLE = 2
"""Steps of pass 1 between rounds of sharpening."""


def surface(
    scene: Scene, plan: profiles.Plan, rasteriser: Rasteriser, run: Run, prior: Prior | None = None
) -> tuple[F64, I32]:
    """Stages fuse and geometry: a closed mesh without self-intersections, world units."""
    with run.stage("fuse"):
        seen, prepared = plateaus.settle(scene.views, fusion.prepare_all(scene.views))
        views = [replace(view, depth=None) for view in seen] if plan.hull else seen
        unseen = None if prior is None else Hidden(prior, seen, prepared)
        carver = _carver(rasteriser) if unseen is None else unseen.carver(_carver(rasteriser))
        vertices, faces, voxel = fusion.fuse(views, plan.voxels, run, prepared, carver)
        if len(faces) < 100:
            raise Recon3dError(
                Code.INCONSISTENT_VIEWS,
                "The six silhouettes have no common solid: carving them leaves nothing.",
                {"faces": len(faces)},
            )
        vertices, faces = collapse.decimate(vertices, faces, plan.faces)
        vertices, faces = handles.without_small(vertices, faces, SMALL * voxel)
        vertices, faces = collapse.decimate(vertices, faces, plan.faces)  # what the cuts have added
        faces = remesh.flip(vertices, faces)
        for _ in range(2):
            vertices = remesh.relax(vertices, faces, vertex_normals(vertices, faces), 0.5)
            faces = remesh.flip(vertices, faces)
    with run.stage("geometry"):
        options = _options(plan.geometry_iterations, len(faces), seen)
        held = None if unseen is None else unseen.held(vertices, faces)
        vertices, faces, _ = geometry.refine(vertices, faces, seen, prepared, options, rasteriser, run, held)
        vertices, faces = _sharpened(vertices, faces, seen, prepared, options, rasteriser, run, held)
        vertices, left = repair.repair(vertices, faces)
        if left:
            run.warn("self_intersections", f"{left} pairs of faces still cross after repair.")
    return vertices, faces


def _options(iterations: int, faces: int, views: list[View]) -> geometry.GeometryOptions:
    """Pass 1 for a mesh of so many faces: as stiff as a coarse one, with as many more steps to pass that on.

    And the less depth knows for its rounding, the more the outlines count.
    """
    finer = max(1.0, faces / FINE)
    base = geometry.GeometryOptions(iterations=iterations)
    return replace(
        base,
        smooth=finer * base.smooth,
        smooth_end=finer * base.smooth_end,
        cg_iterations=round(finer * base.cg_iterations),
        silhouette=base.silhouette * min(1.0 + _rounding(views) / UNSURE, MOST),
    )


def _rounding(views: list[View]) -> float:
    """Variance that its steps leave in depth, in pixels squared of its own picture at the origin."""
    steps = [v.depth_step / v.camera.pixel(len(v.depth)) for v in views if v.depth is not None]
    return float(np.square(steps).mean()) / 12 if steps else 0.0


def _sharpened(
    vertices: F64,
    faces: I32,
    views: list[View],
    prepared: list[Silhouette],
    options: geometry.GeometryOptions,
    rasteriser: Rasteriser,
    run: Run,
    held: F64 | None,
) -> tuple[F64, I32]:
    """The surface with its sharp edges, which pass 1 rounds, and that settled around them."""
    allowed = sharpen.nothing_empty(views, prepared)
    seen = np.zeros(len(vertices), np.bool_)
    seen[faces[unwrap.shown(vertices, faces, views, prepared[0].distance.shape[0], rasteriser)].ravel()] = True
    last = replace(options, iterations=1, smooth=options.smooth_end, crease_after=0.0, gate_pixels=3.0)
    for k in range(SETTLE + 1):
        vertices, faces = sharpen.sharpen(vertices, faces, seen, allowed)
        if k < SETTLE:
            vertices, faces, _ = geometry.refine(vertices, faces, views, prepared, last, rasteriser, run, held)
    return vertices, faces


def _carver(rasteriser: Rasteriser) -> fusion.Carver:
    """What carves: on the rasteriser's device where it has one."""
    if isinstance(rasteriser, TensorRasteriser):
        from recon3d_runner.engines.nvdiffrec.on_device.fusion import carve

        return partial(carve, device=rasteriser.device)
    return fusion.carve


def reconstruct(
    scene: Scene, spec: JobSpec, rasteriser: Rasteriser, run: Run, prior: Prior | None = None
) -> TexturedMesh:
    """Run the engine on calibrated views; `prior` says what is empty, and what colour, where no view sees."""
    plan = profiles.plan(spec)
    prior = fitting(prior, scene.views, rasteriser, run)
    vertices, faces = surface(scene, plan, rasteriser, run, prior)
    with run.stage("unwrap"):
        atlas = unwrap.unwrap(vertices, faces, scene.views, plan.texture_limit, plan.texture_size, rasteriser, run)
    with run.stage("texture"):
        own = None if prior is None else prior.colours_at(vertices, vertex_normals(vertices, faces))
        colour, unseen, samples, around = _projected(vertices, faces, atlas, own, scene, plan.stride, rasteriser, run)
        colour, _ = texture.optimise(colour, samples, around, plan.texture_iterations, PRIOR, rasteriser, run)
    return TexturedMesh(vertices, faces, atlas.uv, atlas.uv_faces, _to_bytes(colour), unseen)


def _projected(
    vertices: F64,
    faces: I32,
    atlas: unwrap.Atlas,
    own: F64 | None,
    scene: Scene,
    stride: int,
    rasteriser: Rasteriser,
    run: Run,
) -> tuple[F32, Bool, list[texture.Samples], Gutters]:
    """What pass 2 starts from: the first texture, the texels that no view sees, the views' samples, the gutters.

    All else that it takes, hundreds of megabytes, is gone by then.
    """
    with ThreadPoolExecutor() as pool:
        looking = pool.map(lambda view: texture.observe(vertices, faces, atlas, view, stride, rasteriser), scene.views)
        texels = bake.texel_map(atlas)
        planning = pool.submit(gutters, texels.face >= 0)
        seen, around = list(looking), planning.result()
    run.tick(0.15)
    colour, weight = bake.gather(texels, vertices, faces, [sight for sight, _ in seen])
    run.tick(0.25)
    colour, unseen = bake.fill_like(own, texels, faces, len(vertices), colour, weight, around)
    run.tick(0.35)
    return colour, unseen, [samples for _, samples in seen], around


def _to_bytes(colour: F32) -> U8:
    """[0, 1] floats to bytes, rounded."""
    out = np.empty(colour.shape, np.uint8)

    def band(first: int, last: int) -> None:
        out[first:last] = np.round(np.clip(colour[first:last], 0, 1) * 255)

    in_bands(band, len(colour))
    return out
