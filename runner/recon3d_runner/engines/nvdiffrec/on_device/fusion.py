"""Carving in torch: fusion.py's `carve`, whose kernel says the same voxel by voxel, on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from recon3d_runner.engines.nvdiffrec.fusion import CLIP, JUMP, STEEPEST, Silhouette

if TYPE_CHECKING:
    from recon3d_runner.run import Run
    from recon3d_runner.types import F32, F64, Camera, View

VOXELS: Final = 1 << 21
"""At a time: some hundred megabytes of intermediate values."""


def carve(
    views: list[View], prepared: list[Silhouette], origin: F64, step: float, n: int, run: Run, device: torch.device
) -> F32:
    """See fusion.carve."""
    limit = CLIP * step
    field = torch.full((n, n, n), -limit, dtype=torch.float32, device=device)
    x, y, z = (torch.from_numpy(origin[k] + step * np.arange(n)).to(device) for k in range(3))
    slab = max(1, VOXELS // n**2)
    for k, (view, p) in enumerate(zip(views, prepared, strict=True)):
        distance, depth, tilt = (
            torch.from_numpy(np.ascontiguousarray(i)).to(device) for i in (p.distance, p.depth, p.tilt)
        )
        for first in range(0, n, slab):
            here = (x[first : first + slab, None, None], y[:, None], z)
            found = _distance(here, view.camera, distance, depth if view.depth is not None else None, tilt, limit)
            part = field[first : first + slab]
            torch.maximum(part, found.float(), out=part)
        run.tick(0.2 + 0.4 * (k + 1) / len(views))
    return np.asarray(field.cpu().numpy())


def _distance(
    at: tuple[Tensor, Tensor, Tensor],
    camera: Camera,
    distance: Tensor,
    depth: Tensor | None,
    tilt: Tensor,
    limit: float,
) -> Tensor:
    """One view's signed distance at points, at most `limit`; see fusion._carve."""
    size = distance.shape[0]
    half, focal = size / 2, camera.focal(size)
    (cx, cy, cz) = (
        float(r[0]) * at[0] + float(r[1]) * at[1] + float(r[2]) * at[2] + float(t)
        for r, t in zip(camera.rotation, camera.translation, strict=True)
    )
    u, v = focal * cx / cz + half - 0.5, focal * cy / cz + half - 0.5
    a, b = u.floor(), v.floor()
    outside = (cz <= 1e-6) | (a < 0) | (b < 0) | (a >= size - 1) | (b >= size - 1)
    fu, fv = u - a, v - b
    pixel = cz / focal
    corner = (b.clamp(0, size - 2) * size + a.clamp(0, size - 2)).nan_to_num(0.0).long()

    def four(image: Tensor) -> tuple[Tensor, ...]:
        flat = image.reshape(-1)
        return tuple(flat[corner + k].double() for k in (0, 1, size, size + 1))

    def between(d00: Tensor, d01: Tensor, d10: Tensor, d11: Tensor) -> Tensor:
        return (1 - fv) * ((1 - fu) * d00 + fu * d01) + fv * ((1 - fu) * d10 + fu * d11)

    s = between(*four(distance)) * pixel
    if depth is not None:
        near = torch.stack(four(depth))
        unknown = near.isnan()
        low = near.masked_fill(unknown, torch.inf).amin(0)
        high = near.masked_fill(unknown, -torch.inf).amax(0)
        surface = torch.where(unknown.any(0) | (high - low > JUMP * pixel), low, between(*near.unbind()))
        t = tilt.reshape(-1)[corner].double() / pixel
        toward = (surface - cz) / torch.sqrt(1.0 + t.clamp(max=STEEPEST).square())
        s = torch.where(unknown.all(0), s, torch.maximum(s, toward))
    return torch.where(outside, limit, s.clamp(max=limit))
