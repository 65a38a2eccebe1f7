"""Pass 1: move the surface until its renderings show the six depth maps and silhouettes.

Gauss-Newton on the rendered images: each iteration rasterises the six views, linearises depth and outline
residuals in the vertices' motion along their normals (raster/jacobian.py) and solves

    (J'WJ + lambda B'B + mu I) d = -J'W r - lambda B' k

by preconditioned conjugate gradients. B is the normal part of the umbrella Laplacian, k the surface's present
curvature under it: lambda bends the surface as little as the data allow (a thin plate, as in Desbrun et al.
1999), which also undoes the rounding of coarse depth across views and closes what no view sees smoothly.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from scipy import sparse

from recon3d_runner.engines.nvdiffrec.fusion import Silhouette
from recon3d_runner.engines.nvdiffrec.remesh import edge_table, flip, relax
from recon3d_runner.raster import Rasteriser, TensorRasteriser, jacobian
from recon3d_runner.raster.cpu import project
from recon3d_runner.run import Run
from recon3d_runner.surface import creases, vertex_normals
from recon3d_runner.types import F64, I32, View

PATIENCE: Final = 3
"""Steps out of the finite numbers that a run may take."""
CALMER: Final = 10.0
HOLD: Final = 1.0
"""mu where the surface is held, relative to the mean data weight of a vertex."""


@dataclass(frozen=True)
class GeometryOptions:
    """How pass 1 weighs and stops."""

    iterations: int = 12
    smooth: float = 3.0
    """lambda, relative to the mean data weight of a vertex."""
    smooth_end: float = 0.3
    """lambda at the last iteration; it falls geometrically."""
    crease: tuple[float, float] = (12.0, 30.0)
    """Degrees between neighbours' normals from which a crease's curvature is let alone in part, and wholly."""
    crease_after: float = 0.4
    """Share of the iterations before creases are looked for: noise looks like them at first."""
    silhouette: float = 2.0
    """Weight of one pixel of outline against one pixel of depth that is not rounded."""
    gate_pixels: float = 12.0
    """Depth differences beyond this many pixels are other surfaces."""
    cg_iterations: int = 60
    improve_every: int = 4
    """Edge flips and tangential smoothing every so many iterations, in the first two thirds."""
    tolerance: float = 2e-3
    """Stop when the mean motion falls below this share of a pixel."""


class _Smoothness:
    """B = normal part of the umbrella Laplacian for motion along the normals, and the present curvature."""

    def __init__(self, vertices: F64, edges: I32, normals: F64) -> None:
        i = np.concatenate([edges[:, 0], edges[:, 1]])
        j = np.concatenate([edges[:, 1], edges[:, 0]])
        n = len(vertices)
        degree = np.bincount(i, minlength=n)
        w = 1.0 / degree[i]
        cosine = (normals[i] * normals[j]).sum(1)
        self.matrix = sparse.coo_matrix((w * cosine, (i, j)), shape=(n, n)).tocsr() - sparse.identity(n, format="csr")
        mean = np.stack([np.bincount(i, weights=w * vertices[j, k], minlength=n) for k in range(3)], 1)
        self.curvature = ((mean - vertices) * normals).sum(1)


def _normal_equations(
    vertices: F64,
    faces: I32,
    normals: F64,
    views: list[View],
    prepared: list[Silhouette],
    edges: I32,
    wings: I32,
    options: GeometryOptions,
    gate_scale: float,
    rasteriser: Rasteriser,
) -> tuple[F64, F64, float, int]:
    """Blocks (F, 6), right-hand sides (F, 3), loss and pixel count over all views."""
    size = len(prepared[0].distance)
    focal, pixel = views[0].camera.focal(size), views[0].camera.pixel(size)
    gate = options.gate_pixels * gate_scale * pixel

    def seen(view: View) -> tuple[F64, F64, float, int, F64, I32]:
        points = project(vertices, view.camera, size)
        face, depth, bary = rasteriser.rasterize(points, faces, size)
        blocks, rhs, turn = np.zeros((len(faces), 6)), np.zeros((len(faces), 3)), view.camera.rotation
        loss, used = 0.0, 0
        if view.depth is not None:
            loss, used = jacobian.depth_terms(
                face, depth, bary, view.depth, vertices, faces, normals, turn, focal, gate, 2.0 * pixel, blocks, rhs
            )
        return blocks, rhs, loss, used, points, face

    def outlined(k: int) -> tuple[float, int]:
        blocks, rhs, _, _, points, face = parts[k]
        turn, away, near = views[k].camera.rotation, prepared[k].distance, 6.0 * gate_scale
        weight = options.silhouette
        return jacobian.outline_terms(
            edges, wings, points, faces, normals, turn, focal, face, away, near, weight, measured, blocks, rhs
        )

    with ThreadPoolExecutor() as pool:
        parts = list(pool.map(seen, views))
        measured = np.logical_or.reduce([part[0].any(1) for part in parts])
        more = list(pool.map(outlined, range(len(views))))
    blocks, rhs = parts[0][0], parts[0][1]
    for other in parts[1:]:
        blocks += other[0]
        rhs += other[1]
    return (
        blocks,
        rhs,
        sum(p[2] for p in parts) + sum(m[0] for m in more),
        sum(p[3] for p in parts) + sum(m[1] for m in more),
    )


def _assemble(blocks: F64, rhs: F64, faces: I32, count: int) -> tuple[sparse.csr_matrix, F64]:
    """Per-face blocks to a sparse (V, V) matrix and a (V,) right-hand side."""
    pairs = ((0, 0, 0), (0, 1, 1), (0, 2, 2), (1, 0, 1), (1, 1, 3), (1, 2, 4), (2, 0, 2), (2, 1, 4), (2, 2, 5))
    i = np.concatenate([faces[:, a] for a, _, _ in pairs])
    j = np.concatenate([faces[:, b] for _, b, _ in pairs])
    x = np.concatenate([blocks[:, c] for _, _, c in pairs])
    matrix = sparse.coo_matrix((x, (i, j)), shape=(count, count)).tocsr()
    vector = np.zeros(count)
    for k in range(3):
        vector += np.bincount(faces[:, k], weights=rhs[:, k], minlength=count)
    return matrix, vector


def _conjugate_gradient(data: sparse.csr_matrix, b: sparse.csr_matrix, lam: float, mu: F64, rhs: F64, its: int) -> F64:
    """Solve (data + lam B'B + mu I) d = rhs, Jacobi preconditioned, from zero."""
    bt = b.T.tocsr()
    diagonal = data.diagonal() + lam * np.asarray(b.multiply(b).sum(0)).ravel() + mu
    x = np.zeros_like(rhs)
    r = rhs.copy()
    z = r / diagonal
    p = z.copy()
    rz = float(r @ z)
    start = rz
    for _ in range(its):
        q = data @ p + lam * (bt @ (b @ p)) + mu * p
        alpha = rz / float(p @ q)
        x += alpha * p
        r -= alpha * q
        z = r / diagonal
        new = float(r @ z)
        if new < 1e-10 * start:
            break
        p = z + (new / rz) * p
        rz = new
    return x


class Solver(Protocol):
    """Linearises and solves for one topology."""

    def solve(
        self, vertices: F64, normals: F64, gate: float, smooth: float, bent: F64 | None = None
    ) -> tuple[F64, float, int]:
        """Motion (V,) along the normals, summed weighted squares before it, and the number of residuals.

        gate: scale of the distances beyond which things differ; smooth: lambda relative to the mean data weight;
        bent (V,): the share of its present curvature that a vertex may keep.
        """


class _OnHost:
    """The solver in NumPy and Numba."""

    def __init__(
        self,
        faces: I32,
        views: list[View],
        prepared: list[Silhouette],
        options: GeometryOptions,
        rasteriser: Rasteriser,
        held: F64,
    ) -> None:
        self.faces, self.views, self.prepared = faces, views, prepared
        self.options, self.rasteriser, self.held = options, rasteriser, held
        self.edges, self.wings = edge_table(faces)

    def solve(
        self, vertices: F64, normals: F64, gate: float, smooth: float, bent: F64 | None = None
    ) -> tuple[F64, float, int]:
        """See Solver."""
        blocks, rhs, loss, used = _normal_equations(
            vertices,
            self.faces,
            normals,
            self.views,
            self.prepared,
            self.edges,
            self.wings,
            self.options,
            gate,
            self.rasteriser,
        )
        data, vector = _assemble(blocks, rhs, self.faces, len(vertices))
        bend = _Smoothness(vertices, self.edges, normals)
        mean_weight = max(float(data.diagonal().mean()), 1e-12)
        lam = smooth * mean_weight
        kept = self.held if bent is None else np.maximum(self.held, bent)
        load = vector - lam * (bend.matrix.T @ (bend.curvature * (1.0 - kept)))
        mu = mean_weight * (1e-4 + HOLD * self.held)
        step = _conjugate_gradient(data, bend.matrix, lam, mu, load, self.options.cg_iterations)
        return step, loss, used


def _solvers(
    views: list[View],
    prepared: list[Silhouette],
    options: GeometryOptions,
    rasteriser: Rasteriser,
    held: F64,
) -> Callable[[I32], Solver]:
    """What makes the solver of a mesh: on the rasteriser's device where it has one."""
    if isinstance(rasteriser, TensorRasteriser):
        from recon3d_runner.engines.nvdiffrec.on_device.geometry import OnDevice, Targets

        images = Targets.of(views, prepared, rasteriser.device)
        return lambda faces: OnDevice(faces, edge_table(faces), images, options, rasteriser, held, HOLD)
    return lambda faces: _OnHost(faces, views, prepared, options, rasteriser, held)


def refine(
    vertices: F64,
    faces: I32,
    views: list[View],
    prepared: list[Silhouette],
    options: GeometryOptions,
    rasteriser: Rasteriser,
    run: Run,
    held: F64 | None = None,
) -> tuple[F64, I32, list[float]]:
    """Run pass 1. Returns vertices, faces (edges may have been flipped) and the loss per iteration.

    held: (V,) 1 where the surface keeps place and curvature unless the data say otherwise, 0 where it flattens.

    Where a step leaves the finite numbers, the pass goes on from the last good surface with CALMER times the
    smoothing, PATIENCE times at most; then FloatingPointError.
    """
    losses: list[float] = []
    make = _solvers(views, prepared, options, rasteriser, np.zeros(len(vertices)) if held is None else held)
    solver = make(faces)
    pixel = views[0].camera.pixel(len(prepared[0].distance))
    ratio = options.smooth_end / options.smooth
    calm, failures = 1.0, 0
    for it in range(options.iterations):
        t = it / max(1, options.iterations - 1)
        normals = vertex_normals(vertices, faces)
        bent = creases(normals, faces, *options.crease) if t >= options.crease_after else None
        smooth = calm * options.smooth * ratio**t
        step, loss, used = solver.solve(vertices, normals, max(0.25, 1.0 - 1.5 * t), smooth, bent)
        if not (np.isfinite(step).all() and np.isfinite(loss)):
            failures += 1
            if failures > PATIENCE:
                raise FloatingPointError("the geometry pass left the finite numbers")
            calm *= CALMER
            run.warn("geometry_restarted", "The geometry pass left the finite numbers and went on more smoothly.")
            continue
        limit = 3.0 * pixel
        vertices = vertices + np.clip(step, -limit, limit)[:, None] * normals
        losses.append(loss / max(1, used) / pixel**2)
        run.tick((it + 1) / options.iterations, iteration=it + 1, total=options.iterations, loss=losses[-1])
        if it % options.improve_every == options.improve_every - 1 and t < 0.66:
            normals = vertex_normals(vertices, faces)
            vertices = relax(vertices, faces, normals, 0.3)
            faces = flip(vertices, faces, passes=2, flat=0.95)
            solver = make(faces)
        elif float(np.abs(step).mean()) < options.tolerance * pixel and t > 0.3:
            break
    return vertices, faces, losses
