"""Pass 1's residuals and their derivatives in torch, all views at once: what raster/jacobian.py does, on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from recon3d_runner.engines.nvdiffrec.on_device.sums import add_at, dot
from recon3d_runner.raster import jacobian

if TYPE_CHECKING:
    from recon3d_runner.engines.nvdiffrec.on_device.geometry import Mesh, Targets

GRAZING = -0.02
"""Slope of a face against the ray beyond which a pixel says too little."""


def depth_terms(
    views: Targets,
    mesh: Mesh,
    face: Tensor,
    depth: Tensor,
    bary: Tensor,
    x: Tensor,
    n: Tensor,
    gate: float,
    total: Tensor,
) -> tuple[Tensor, int]:
    """Point-to-plane depth residuals, in pixels, added to `total` (F, 9); see jacobian.depth_terms."""
    assert views.depth is not None  # noqa: S101 - the caller looks
    corner = x[mesh.faces]
    across = torch.linalg.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    length = torch.linalg.norm(across, dim=1)
    normal = across / length.clamp(min=1e-300)[:, None]
    along = (n[mesh.faces] * normal[:, None]).sum(2)
    turned = normal @ views.rotation.mT
    apart = depth - views.depth
    # NaN, where either has none, compares false.
    k, row, column = torch.nonzero((face >= 0) & (apart.abs() <= gate), as_tuple=True)
    f = face[k, row, column].long()
    flat = (torch.stack([column, row], 1).double() + (0.5 - views.size / 2)) / views.focal
    slope = (turned[k, f, :2] * flat).sum(1) + turned[k, f, 2]
    good = (slope < GRAZING) & (length > 0)[f]
    r = apart[k, row, column].double() * slope / views.unit
    weight = (2.0 / r.abs().clamp(min=2.0)) * good
    b = bary[k, row, column].double()
    j = torch.cat([1.0 - b.sum(1, keepdim=True), b], 1) * along[f]
    square = [j[:, p] * j[:, q] for p in range(3) for q in range(p, 3)]
    add_at(total, f, torch.cat([torch.stack(square, 1), -j * r[:, None]], 1) * weight[:, None])
    return dot(weight * r, r), int(good.sum())


def outline_terms(
    views: Targets,
    mesh: Mesh,
    points: Tensor,
    n: Tensor,
    face: Tensor,
    gate: float,
    strength: float,
    total: Tensor,
) -> tuple[Tensor, int]:
    """Silhouette residuals of contour edges, added to `total` (F, 9), which has depth's; see jacobian.outline_terms."""
    size, focal = views.size, views.focal
    flat = points[:, mesh.faces, :2]
    a, b = flat[:, :, 1] - flat[:, :, 0], flat[:, :, 2] - flat[:, :, 0]
    facing = (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]) < 0
    seen = facing[:, mesh.wings]
    k, e = torch.nonzero(seen[..., 0] != seen[..., 1], as_tuple=True)
    front = torch.where(seen[k, e, 0], mesh.wings[e, 0], mesh.wings[e, 1])
    ends = mesh.edges[e]
    at = points[k[:, None], ends]
    middle = at.mean(1)
    along = at[:, 1, :2] - at[:, 0, :2]
    length = torch.linalg.norm(along, dim=1)
    outward = torch.stack([-along[:, 1], along[:, 0]], 1) / length.clamp(min=1e-9)[:, None]
    corners = mesh.faces[front]
    other = corners[(corners != ends[:, :1]) & (corners != ends[:, 1:])]  # one a face
    inside = ((points[k, other, :2] - middle[:, :2]) * outward).sum(1) > 0
    outward = torch.where(inside[:, None], -outward, outward)
    beside = (middle[:, :2] + jacobian.BESIDE * outward).long()
    value, gradient = _sample(views.distance, k, middle[:, :2])
    steep = torch.linalg.norm(gradient, dim=1)
    good = (at[:, :, 2] > 0).all(1) & (length >= 1e-9) & (middle[:, :2] >= 2.0).all(1)
    good &= (middle[:, :2] <= size - 2.0).all(1) & (beside >= 0).all(1) & (beside < size).all(1)
    near = beside.clamp(0, size - 1)
    good &= face[k, near[:, 1], near[:, 0]] < 0
    known = (total[:, :6] != 0).any(1)[mesh.wings[e]].any(1)
    good &= (~known | (_behind(views, k, at[:, 0, :2], along, good) <= jacobian.APART)) & (value.abs() <= gate)
    good &= (steep >= 0.3) & ((gradient * outward).sum(1) >= 0.5 * steep)
    r = value * middle[:, 2] / focal / views.unit
    turned = n[ends] @ views.rotation[k].mT
    ray = (at[:, :, :2] - size / 2) / focal
    moved = (gradient[:, None] * (turned[:, :, :2] - ray * turned[:, :, 2:])).sum(2)
    j = 0.5 * middle[:, 2:] / at[:, :, 2] * moved
    weight = strength * length * good
    # Into the front face's corners: the third one takes no part.
    by_corner = ((corners[:, :, None] == ends[:, None]) * j[:, None]).sum(2)
    square = [by_corner[:, p] * by_corner[:, q] for p in range(3) for q in range(p, 3)]
    add_at(total, front, torch.cat([torch.stack(square, 1), -by_corner * r[:, None]], 1) * weight[:, None])
    return dot(weight * r, r), int(good.sum())


def _behind(views: Targets, k: Tensor, first: Tensor, along: Tensor, good: Tensor) -> Tensor:
    """(N,) pixels by which another of the `good` contour edges comes farther out; from `first` on, `along` (N, 2)."""
    size = views.size

    def nearest(t: float) -> tuple[Tensor, Tensor]:
        at = first + t * along
        value, gradient = _sample(views.distance, k, at)
        steep = torch.linalg.norm(gradient, dim=1).clamp(min=1e-9)
        return value, at - (value / steep)[:, None] * gradient

    reach = torch.full((views.distance.numel(),), -torch.inf, device=k.device)
    for s in range(jacobian.SPOTS):
        value, foot = nearest((s + 0.5) / jacobian.SPOTS)
        i, j = foot.long().clamp(0, size - 1).unbind(1)
        reach.scatter_reduce_(0, (k * size + j) * size + i, torch.where(good, value.float(), -torch.inf), "amax")
    value, foot = nearest(0.5)
    i, j = (foot - 0.5).long().clamp(0, size - 2).unbind(1)
    place = (k * size + j) * size + i
    around = torch.stack([reach[place], reach[place + 1], reach[place + size], reach[place + size + 1]])
    return around.amax(0) - value


def _sample(images: Tensor, k: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Bilinear value (N,) and gradient (N, 2) of `images` (K, n, n) number k at pixel positions, centres at +0.5."""
    n = images.shape[1]
    place = at - 0.5
    low = place.floor().clamp(0, n - 2)
    i, j = low[:, 0].long(), low[:, 1].long()
    fx, fy = (place - low).unbind(1)
    a, b = images[k, j, i].double(), images[k, j, i + 1].double()
    c, d = images[k, j + 1, i].double(), images[k, j + 1, i + 1].double()
    value = (1 - fy) * ((1 - fx) * a + fx * b) + fy * ((1 - fx) * c + fx * d)
    return value, torch.stack([(1 - fy) * (b - a) + fy * (d - c), (1 - fx) * (c - a) + fx * (d - b)], 1)
