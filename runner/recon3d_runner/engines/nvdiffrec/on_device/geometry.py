"""One Gauss-Newton step of pass 1 in torch: what geometry.py and raster/jacobian.py do, on a device.

A vertex's neighbours stand in the rows of a table, so that applying the matrices is reading, never adding in turns.
All views go together, since a device that is handed one small thing after the other waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numba import njit
from torch import Tensor

from recon3d_runner.engines.nvdiffrec.fusion import Silhouette
from recon3d_runner.engines.nvdiffrec.on_device.repeat import repeat
from recon3d_runner.engines.nvdiffrec.on_device.sums import add_at, dot, floating
from recon3d_runner.engines.nvdiffrec.remesh import incident
from recon3d_runner.raster.port import TensorRasteriser
from recon3d_runner.types import F64, I32, View

if TYPE_CHECKING:
    from recon3d_runner.engines.nvdiffrec.geometry import GeometryOptions

GRAZING = -0.02
"""Slope of a face against the ray beyond which a pixel says too little."""


@dataclass(frozen=True)
class Targets:
    """All views' images on the device; views share one size, angle and distance."""

    size: int
    focal: float
    unit: float
    """What a pixel is in the world, at the origin."""
    depth: Tensor | None
    """(K, n, n)."""
    distance: Tensor
    """(K, n, n)."""
    rotation: Tensor
    """(K, 3, 3)."""
    translation: Tensor
    """(K, 3)."""

    @classmethod
    def of(cls, views: list[View], prepared: list[Silhouette], device: torch.device) -> Targets:
        """Bring depth and outline distances to `device`."""

        def put(arrays: list[np.ndarray]) -> Tensor:
            return torch.from_numpy(np.stack(arrays)).to(device)

        size, camera = len(prepared[0].distance), views[0].camera
        return cls(
            size,
            camera.focal(size),
            float(np.linalg.norm(camera.centre)) / camera.focal(size),
            None if views[0].depth is None else put([p.depth for p in prepared]),
            put([p.distance for p in prepared]),
            put([view.camera.rotation for view in views]),
            put([view.camera.translation for view in views]),
        )

    def project(self, x: Tensor) -> Tensor:
        """World (V, 3) to pixel x, pixel y, z-depth in every view: (K, V, 3)."""
        p = x @ self.rotation.mT + self.translation[:, None]
        return torch.cat([self.focal * p[..., :2] / p[..., 2:] + self.size / 2, p[..., 2:]], 2)


@njit(cache=True, nogil=True)
def _corners_around(faces: I32, start: I32, around: I32, width: int) -> I32:
    """(V, width) the corners 3 f + k at every vertex, -1 where there are fewer."""
    count = start.shape[0] - 1
    out = np.full((count, width), -1, np.int32)
    for v in range(count):
        for s in range(start[v], start[v + 1]):
            f = around[s]
            for k in range(3):
                if faces[f, k] == v:
                    out[v, s - start[v]] = 3 * f + k
    return out


class Mesh:
    """One topology on the device: faces, edges, and the table of every vertex's corners."""

    def __init__(self, faces: I32, edges: I32, wings: I32, device: torch.device) -> None:
        start, around = incident(faces, int(faces.max()) + 1)
        corner = _corners_around(faces, start, around, max(1, int(np.diff(start).max())))
        self.faces32 = torch.from_numpy(np.ascontiguousarray(faces)).to(device)
        self.faces = self.faces32.long()
        self.edges = torch.from_numpy(edges).to(device).long()
        self.wings = torch.from_numpy(wings).to(device).long()
        at = torch.from_numpy(corner).to(device).long()
        self.used = at >= 0
        self.corner = at.clamp(min=0)
        face, k = self.corner // 3, self.corner % 3
        self.next = self.faces[face, (k + 1) % 3]
        self.previous = self.faces[face, (k + 2) % 3]
        self.degree = self.used.sum(1).double().clamp(min=1)


class OnDevice:
    """The solver of pass 1 (geometry.Solver) for one topology."""

    def __init__(
        self,
        faces: I32,
        edges: tuple[I32, I32],
        views: Targets,
        options: GeometryOptions,
        rasteriser: TensorRasteriser,
        held: F64,
        hold: float,
    ) -> None:
        self.mesh = Mesh(faces, *edges, rasteriser.device)
        self.held = torch.from_numpy(held).to(rasteriser.device)
        self.hold = hold
        self.views = views
        self.options = options
        self.rasteriser = rasteriser

    def solve(
        self, vertices: F64, normals: F64, gate: float, smooth: float, bent: F64 | None = None
    ) -> tuple[F64, float, int]:
        """See geometry.Solver."""
        device = self.mesh.faces.device
        x = torch.from_numpy(np.ascontiguousarray(vertices)).to(device)
        n = torch.from_numpy(np.ascontiguousarray(normals)).to(device)
        mesh = self.mesh
        total = torch.zeros((len(mesh.faces), 9), dtype=torch.int64, device=device)
        views, points = self.views, self.views.project(x)
        drawn = [self.rasteriser.draw(p, mesh.faces32, views.size) for p in points]
        face, depth, bary = (torch.stack(images) for images in zip(*drawn, strict=True))
        loss, used = _outline(views, mesh, points, n, face, 6.0 * gate, self.options.silhouette, total)
        if views.depth is not None:
            near = self.options.gate_pixels * gate * views.unit
            value, count = _depth(views, mesh, face, depth, bary, x, n, near, total)
            loss, used = loss + value, used + count
        sums = floating(total)
        kept = self.held if bent is None else torch.maximum(self.held, torch.from_numpy(bent).to(device))
        step = self._descend(sums[:, :6], sums[:, 6:] * views.unit, x, n, smooth, kept)
        return step.cpu().numpy(), float(loss) * views.unit**2, used

    def _descend(self, blocks: Tensor, rhs: Tensor, x: Tensor, n: Tensor, smooth: float, kept: Tensor) -> Tensor:
        """Conjugate gradients on (data + lambda B'B + mu I) d = -J'W r - lambda B' k, Jacobi preconditioned."""
        mesh = self.mesh
        square = blocks[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3)
        k = torch.arange(3, device=x.device)
        on = mesh.used.double()

        def at(values: Tensor) -> Tensor:
            return values.reshape(-1)[mesh.corner] * on

        diagonal = at(square[:, k, k]).sum(1)
        to_next, to_previous = at(square[:, k, (k + 1) % 3]), at(square[:, k, (k + 2) % 3])
        load = at(rhs).sum(1)
        cosine = (n[:, None] * n[mesh.next]).sum(2) * on
        ours, theirs = cosine / mesh.degree[:, None], cosine / mesh.degree[mesh.next]
        curvature = (((x[mesh.next] * on[..., None]).sum(1) / mesh.degree[:, None] - x) * n).sum(1)
        mean = diagonal.mean().clamp(min=1e-12)
        lam, mu = smooth * mean, mean * (1e-4 + self.hold * self.held)

        def bend(v: Tensor) -> Tensor:
            return (ours * v[mesh.next]).sum(1) - v

        def unbend(v: Tensor) -> Tensor:
            return (theirs * v[mesh.next]).sum(1) - v

        def apply(v: Tensor) -> Tensor:
            data = diagonal * v + (to_next * v[mesh.next] + to_previous * v[mesh.previous]).sum(1)
            return data + lam * unbend(bend(v)) + mu * v

        inverse = 1.0 / (diagonal + lam * (1.0 + theirs.square().sum(1)) + mu)
        residual = load - lam * unbend(curvature * (1.0 - kept))
        d = torch.zeros_like(residual)
        z = inverse * residual
        p = z.clone()
        rz = dot(residual, z)
        least = 1e-10 * rz

        def iterate() -> None:
            q = apply(p)
            # Once converged the steps are nothing: asking for that would wait for the device.
            alpha = torch.where(rz > least, rz / dot(p, q), 0.0)
            d.add_(alpha * p)
            residual.sub_(alpha * q)
            z = inverse * residual
            new = dot(residual, z)
            p.mul_(torch.where(rz > least, new / rz, 0.0)).add_(z)
            rz.copy_(new)

        repeat(iterate, self.options.cg_iterations, x.device)
        return d


def _depth(
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


def _outline(
    views: Targets,
    mesh: Mesh,
    points: Tensor,
    n: Tensor,
    face: Tensor,
    gate: float,
    strength: float,
    total: Tensor,
) -> tuple[Tensor, int]:
    """Silhouette residuals of contour edges, added to `total` (F, 9); see jacobian.outline_terms."""
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
    beside = (middle[:, :2] + 1.5 * outward).long()
    value, gradient = _sample(views.distance, k, middle[:, :2])
    steep = torch.linalg.norm(gradient, dim=1)
    good = (at[:, :, 2] > 0).all(1) & (length >= 1e-9) & (middle[:, :2] >= 2.0).all(1)
    good &= (middle[:, :2] <= size - 2.0).all(1) & (beside >= 0).all(1) & (beside < size).all(1)
    near = beside.clamp(0, size - 1)
    good &= (face[k, near[:, 1], near[:, 0]] < 0) & (value.abs() <= gate)
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
