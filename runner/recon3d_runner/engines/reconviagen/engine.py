"""The engine's stages in order: generate, align (and make solid), unwrap, texture.

The texture is ours, baked from the six pictures onto the aligned mesh, where upstream bakes renderings of its own
gaussians from random viewpoints without a seed: the pictures are sharper than what a model made of them, and the same
job gives the same bytes. What no picture sees takes the mesh's generated colours, shifted so that they meet the baked
ones without a seam.
"""

from __future__ import annotations

import importlib.metadata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.spec import JobSpec
from scipy.spatial import cKDTree

from recon3d_runner.engines.nvdiffrec import bake, collapse, profiles, remesh, repair, texture, unwrap
from recon3d_runner.engines.nvdiffrec.engine import PRIOR
from recon3d_runner.engines.nvdiffrec.gutters import gutters
from recon3d_runner.engines.reconviagen import pins
from recon3d_runner.engines.reconviagen.align import Alignment, align, measure
from recon3d_runner.engines.reconviagen.digests import file_sha256
from recon3d_runner.engines.reconviagen.generate import Model, generate
from recon3d_runner.engines.reconviagen.interface import Generated
from recon3d_runner.engines.reconviagen.refine import Shape
from recon3d_runner.engines.reconviagen.similarity import Similarity
from recon3d_runner.engines.reconviagen.solidify import solidify
from recon3d_runner.engines.reconviagen.weights import MANIFEST, read_manifest
from recon3d_runner.raster import Rasteriser
from recon3d_runner.run import Run
from recon3d_runner.scene.assemble import Scene
from recon3d_runner.surface import vertex_normals
from recon3d_runner.types import F64, I32, TexturedMesh, View

CELLS: Final = {"fast": 160, "standard": 256, "high": 320}
"""Of the closed surface along its longest side; the official mesh comes from 256."""
ALIGN_FACES: Final = 20_000
POOR_IOU: Final = 0.8
WORN: Final = 0.01
"""The part of silhouette IoU that repair may cost."""
STAYS: Final = Similarity(1.0, np.eye(3), np.zeros(3))


@dataclass(frozen=True)
class Outcome:
    """What the engine made, and what to say about it."""

    mesh: TexturedMesh
    facts: dict[str, float | int | bool | str | None]
    """For quality.json: how well the generated shape fits."""
    versions: dict[str, str]


def reconstruct(scene: Scene, spec: JobSpec, rasteriser: Rasteriser, run: Run, home: Path, device: str) -> Outcome:
    """Run the engine on calibrated views."""
    settings = spec.reconviagen
    versions = _versions(home, run)
    with run.stage("generate"):
        model = Model(home, device)
        run.tick(0.3)
        seed = spec.seed if settings.seed is None else settings.seed
        made = generate(model, scene.views, settings, seed, run)
        del model  # its memory is the texture pass's now
        run.tick(1.0)
    return complete(made, scene, spec, rasteriser, run, versions)


def complete(
    made: Generated, scene: Scene, spec: JobSpec, rasteriser: Rasteriser, run: Run, versions: dict[str, str]
) -> Outcome:
    """Make a result of what the model generated; `versions` says what that was."""
    plan = profiles.plan(spec)
    with run.stage("align"):
        vertices, faces, own = _closed(made, plan.faces, CELLS[spec.profile])
        run.tick(0.2)
        found = _aligned(vertices, faces, own, scene, rasteriser, run)
        vertices, fit = settled(found, vertices, faces, scene.views, rasteriser, run)
        if fit.iou < POOR_IOU:
            run.warn(
                "generated_shape_differs",
                f"The generated shape does not fit the views: its silhouettes cover {100 * fit.iou:.0f} % of theirs.",
            )
    mesh = paint(vertices, faces, own, scene, plan, rasteriser, run)
    return Outcome(mesh, _facts(fit, found.pose.scale, made), versions)


def settled(
    found: Alignment, vertices: F64, faces: I32, views: list[View], rasteriser: Rasteriser, run: Run
) -> tuple[F64, Alignment]:
    """Put the mesh into the world and repair its crossings. Returns its vertices, and how well they fit there.

    Repair smooths where faces cross. A shape full of handles crosses everywhere, and would be smoothed to a crumple:
    crossings are the lesser fault then.
    """

    def fit(points: F64) -> Alignment:
        return measure(Shape(points, faces, None), STAYS, views, found.runner_up, rasteriser)

    aligned: F64 = found.pose.apply(vertices).astype(np.float32).astype(np.float64)
    repaired, left = repair.repair(aligned, faces)
    before, after = fit(aligned), fit(repaired)
    if after.iou >= before.iou - WORN:
        if left:
            run.warn("self_intersections", f"{left} pairs of faces still cross after repair.")
        return repaired, after
    run.warn("self_intersections", "The generated surface crosses itself in more places than can be repaired.")
    return aligned, before


def _closed(made: Generated, max_faces: int, cells: int) -> tuple[F64, I32, F64 | None]:
    """One closed surface with at most `max_faces`, and its colours, both of the generated mesh."""
    try:
        vertices, faces = solidify(made.vertices, made.faces, cells)
    except ValueError as error:
        raise Recon3dError(
            Code.OPTIMIZATION_DIVERGED,
            "The generated mesh encloses nothing.",
            {"faces": len(made.faces)},
            "Try another seed, or the engine nvdiffrec.",
        ) from error
    vertices, faces = collapse.decimate(vertices, faces, max_faces)
    faces = remesh.flip(vertices, faces)
    vertices = remesh.relax(vertices, faces, vertex_normals(vertices, faces), 0.3)
    if made.colours is None:
        return vertices, faces, None
    _, nearest = cKDTree(made.vertices).query(vertices, workers=-1)
    return vertices, faces, made.colours[nearest]


def _aligned(vertices: F64, faces: I32, own: F64 | None, scene: Scene, rasteriser: Rasteriser, run: Run) -> Alignment:
    small, small_faces = collapse.decimate(vertices, faces, ALIGN_FACES)
    colours = None if own is None else own[cKDTree(vertices).query(small, workers=-1)[1]]
    try:
        found = align(Shape(small, small_faces, colours), scene.views, rasteriser, run)
    except ValueError as error:
        raise Recon3dError(
            Code.INCONSISTENT_VIEWS, "The six silhouettes have no common solid: carving them leaves nothing."
        ) from error
    return found


def paint(
    vertices: F64,
    faces: I32,
    own: F64 | None,
    scene: Scene,
    plan: profiles.Plan,
    rasteriser: Rasteriser,
    run: Run,
) -> TexturedMesh:
    """Stages unwrap and texture."""
    with run.stage("unwrap"):
        atlas = unwrap.unwrap(vertices, faces, scene.views, plan.texture_limit, plan.texture_size, rasteriser, run)
    with run.stage("texture"):
        texels = bake.texel_map(atlas)
        around = gutters(texels.face >= 0)
        with ThreadPoolExecutor() as pool:
            seen = list(
                pool.map(
                    lambda view: texture.observe(vertices, faces, atlas, view, plan.stride, rasteriser), scene.views
                )
            )
        run.tick(0.15)
        colour, weight = bake.gather(texels, vertices, faces, [sight for sight, _ in seen])
        run.tick(0.25)
        colour, unseen = bake.fill_like(own, texels, faces, len(vertices), colour, weight, around)
        run.tick(0.35)
        colour, _ = texture.optimise(
            colour, [samples for _, samples in seen], around, plan.texture_iterations, PRIOR, rasteriser, run
        )
    pixels = np.round(np.clip(colour, 0, 1) * 255).astype(np.uint8)
    return TexturedMesh(vertices, faces, atlas.uv, atlas.uv_faces, pixels, unseen)


def _facts(found: Alignment, scale: float, made: Generated) -> dict[str, float | int | bool | str | None]:
    return {
        "alignment_iou": round(found.iou, 4),
        "alignment_outline_px": round(found.outline_px, 3) if np.isfinite(found.outline_px) else None,
        "alignment_depth_error_pct": None if found.depth_error is None else round(found.depth_error, 3),
        "alignment_margin": round(min(found.runner_up, 100.0), 3),
        "alignment_scale": round(scale, 6),
        "generated_voxels": made.voxels,
        "generated_faces": len(made.faces),
    }


def _versions(home: Path, run: Run) -> dict[str, str]:
    """Return what was generated with: code, weights and packages; warn where they are not the pinned ones."""
    manifest = read_manifest(home)
    versions = {"reconviagen": manifest.code_commit, "reconviagen-manifest": file_sha256(home / MANIFEST)}
    if manifest.code_sha256 != pins.CODE_SHA256:
        run.warn("reconviagen_code", "The installed ReconViaGen is not the pinned one.")
    other = []
    for name, wanted in pins.PACKAGES.items():
        found = _package(name)
        if found is not None:
            versions[name] = found
        if found is not None and found.partition("+")[0] != wanted:
            other.append(f"{name} {found} instead of {wanted}")
    if other:
        run.warn("reconviagen_packages", "ReconViaGen ran with other versions than it asks for: " + ", ".join(other))
    return versions


def _package(name: str) -> str | None:
    for distribution in (name, f"{name}-cu120"):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None
