"""What fast, standard and high mean for this engine."""

from __future__ import annotations

from dataclasses import dataclass

from recon3d_contract.spec import JobSpec


@dataclass(frozen=True)
class Plan:
    """Sizes and iteration counts of one run."""

    voxels: int
    """Along the longest side of the carving grid."""
    faces: int
    """Triangles of the mesh."""
    geometry_iterations: int
    """Gauss-Newton steps at most."""
    texture_iterations: int
    """Conjugate gradient steps at most."""
    texture_size: int | None
    """Given by the user; None follows the inputs' density up to `texture_limit`."""
    texture_limit: int
    stride: int
    """Of the pixels that the texture pass looks at."""
    hull: bool = False
    """Start from the silhouettes' hull even where there is depth."""


_PROFILES = {
    "fast": Plan(256, 60_000, 6, 4, None, 2048, 2),
    "standard": Plan(320, 120_000, 12, 12, None, 4096, 1),
    "high": Plan(448, 150_000, 24, 24, None, 4096, 1),
}


def plan(spec: JobSpec) -> Plan:
    """The profile's plan with what the job says; `iterations` is a ceiling, both passes stop once converged."""
    base = _PROFILES[spec.profile]
    settings = spec.nvdiffrec
    limit = spec.mesh.face_limit
    faces = base.faces if limit is None or not spec.mesh.model_fields_set else limit
    if limit is None and spec.mesh.model_fields_set:
        faces = 10 * base.faces
    geometry, texture = base.geometry_iterations, base.texture_iterations
    if "iterations" in settings.model_fields_set or "geometry_share" in settings.model_fields_set:
        geometry = max(1, round(settings.iterations * settings.geometry_share))
        texture = max(1, settings.iterations - geometry)
    return Plan(
        voxels=settings.resolution or base.voxels,
        faces=min(faces, limit) if limit is not None else faces,
        geometry_iterations=geometry,
        texture_iterations=texture,
        texture_size=None if spec.texture.size == "auto" else int(spec.texture.size),
        texture_limit=base.texture_limit,
        stride=base.stride,
        hull=settings.prior == "hull",
    )
