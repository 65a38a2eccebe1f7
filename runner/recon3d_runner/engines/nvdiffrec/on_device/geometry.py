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
from recon3d_runner.engines.nvdiffrec.on_device.jacobian import depth_terms, outline_terms
from recon3d_runner.engines.nvdiffrec.on_device.repeat import repeat
from recon3d_runner.engines.nvdiffrec.on_device.sums import dot, floating
from recon3d_runner.engines.nvdiffrec.remesh import incident
from recon3d_runner.raster.port import TensorRasteriser
from recon3d_runner.types import F64, I32, View

if TYPE_CHECKING:
    from recon3d_runner.engines.nvdiffrec.geometry import GeometryOptions


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
            camera.pixel(size),
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
        loss, used = torch.zeros((), dtype=torch.float64, device=device), 0
        if views.depth is not None:
            near = self.options.gate_pixels * gate * views.unit
            loss, used = depth_terms(views, mesh, face, depth, bary, x, n, near, total)
        more, count = outline_terms(views, mesh, points, n, face, 6.0 * gate, self.options.silhouette, total)
        loss, used = loss + more, used + count
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
