"""First texture: every texel takes its colour from the views that see it, weighted by how well they do.

Which view sees what, sight.py says. Texels that no view sees get the harmonic extension of the seen colours over the
mesh (Laplace's equation on the vertices), then the gutters take their nearest texel's colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy import sparse
from scipy.sparse.linalg import cg

from recon3d_runner.bands import in_bands
from recon3d_runner.engines.nvdiffrec.gutters import Gutters, gutters, spread
from recon3d_runner.engines.nvdiffrec.remesh import edge_table
from recon3d_runner.engines.nvdiffrec.sight import GRAZING, Sight
from recon3d_runner.engines.nvdiffrec.unwrap import Atlas
from recon3d_runner.raster.cpu import rasterize
from recon3d_runner.raster.kernels import within
from recon3d_runner.surface import vertex_normals
from recon3d_runner.types import F32, F64, I32, Bool

POWER = 4
"""Weights fall with this power of the viewing cosine."""


@dataclass(frozen=True)
class TexelMap:
    """Which surface point every texel shows."""

    face: I32
    """(T, T) face, -1 in the gutters."""
    bary: F32
    """(T, T, 2) weights of corners 1 and 2."""


def texel_map(atlas: Atlas) -> TexelMap:
    """Rasterise the atlas in texture space."""
    points = np.concatenate([atlas.uv * atlas.size, np.ones((len(atlas.uv), 1))], 1)
    face, _, bary = rasterize(points, atlas.uv_faces, atlas.size)
    return TexelMap(face, bary)


@njit(cache=True, nogil=True)
def _gather(
    face: I32,
    bary: F32,
    first: int,
    last: int,
    vertices: F64,
    faces: I32,
    normals: F64,
    rotation: F64,
    translation: F64,
    centre: F64,
    focal: float,
    depth: F32,
    trust: F32,
    rgb: F32,
    power: int,
    colour: F32,
    weight: F32,
) -> None:
    """Add one view's colours, weighted, to texel rows [first, last)."""
    size = depth.shape[0]
    half = size / 2
    for j in range(first, last):
        for i in range(face.shape[1]):
            f = face[j, i]
            if f < 0:
                continue
            b1, b2 = bary[j, i, 0], bary[j, i, 1]
            x = within(vertices, faces, f, b1, b2, 0)
            y = within(vertices, faces, f, b1, b2, 1)
            z = within(vertices, faces, f, b1, b2, 2)
            nx = within(normals, faces, f, b1, b2, 0)
            ny = within(normals, faces, f, b1, b2, 1)
            nz = within(normals, faces, f, b1, b2, 2)
            rx, ry, rz = centre[0] - x, centre[1] - y, centre[2] - z
            length = np.sqrt((nx * nx + ny * ny + nz * nz) * (rx * rx + ry * ry + rz * rz))
            if length == 0.0:
                continue
            cosine = (nx * rx + ny * ry + nz * rz) / length
            if cosine < GRAZING:
                continue
            cz = rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] * z + translation[2]
            if cz <= 0.0:
                continue
            u = focal * (rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] * z + translation[0]) / cz + half
            v = focal * (rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] * z + translation[1]) / cz + half
            a, b = int(np.floor(u - 0.5)), int(np.floor(v - 0.5))
            if a < 0 or b < 0 or a >= size - 1 or b >= size - 1:
                continue
            pixel = cz / focal
            slope = min(np.sqrt(1.0 / (cosine * cosine) - 1.0), 12.0)
            room = (0.75 + 1.5 * slope) * pixel
            least = 1.0
            visible = True
            for d in range(2):
                for e in range(2):
                    zb = depth[b + d, a + e]
                    if np.isnan(zb) or cz > zb + room:
                        visible = False
                    least = min(least, trust[b + d, a + e])
            if not visible or least <= 0.0:
                continue
            w = np.float32(least * cosine**power)
            fu, fv = np.float32(u - 0.5 - a), np.float32(v - 0.5 - b)
            weight[j, i] += w
            for k in range(3):
                top = rgb[b, a, k] * (1 - fu) + rgb[b, a + 1, k] * fu
                low = rgb[b + 1, a, k] * (1 - fu) + rgb[b + 1, a + 1, k] * fu
                colour[j, i, k] += w * (top * (1 - fv) + low * fv)


def gather(texels: TexelMap, vertices: F64, faces: I32, sights: Sequence[Sight], power: int = POWER) -> tuple[F32, F32]:
    """(T, T, 3) mean colour and (T, T) summed weight (0: no view sees the texel)."""
    size = texels.face.shape[0]
    colour = np.zeros((size, size, 3), np.float32)
    weight = np.zeros((size, size), np.float32)
    normals = vertex_normals(vertices, faces)

    def band(first: int, last: int) -> None:
        for s in sights:
            c = s.view.camera
            _gather(
                texels.face,
                texels.bary,
                first,
                last,
                vertices,
                faces,
                normals,
                c.rotation,
                c.translation,
                c.centre,
                c.focal(s.depth.shape[0]),
                s.depth,
                s.trust,
                s.view.rgb,
                power,
                colour,
                weight,
            )

        _divide(colour, weight, first, last)

    in_bands(band, size)
    return colour, weight


@njit(cache=True, nogil=True)
def _divide(colour: F32, weight: F32, first: int, last: int) -> None:
    """Sums to means in rows [first, last)."""
    for j in range(first, last):
        for i in range(weight.shape[1]):
            if weight[j, i] > 0:
                for k in range(3):
                    colour[j, i, k] /= weight[j, i]


@njit(cache=True, nogil=True)
def _to_vertices(face: I32, bary: F32, faces: I32, colour: F32, weight: F32, total: F64, mass: F64) -> None:
    """Splat seen texels onto the corners of their faces."""
    for j in range(face.shape[0]):
        for i in range(face.shape[1]):
            f = face[j, i]
            if f < 0 or weight[j, i] <= 0.0:
                continue
            b1, b2 = bary[j, i, 0], bary[j, i, 1]
            for c in range(3):
                w = 1.0 - b1 - b2 if c == 0 else (b1 if c == 1 else b2)
                mass[faces[f, c]] += w
                for k in range(3):
                    total[faces[f, c], k] += w * colour[j, i, k]


def _summed(texels: TexelMap, faces: I32, count: int, colour: F32, weight: F32, rows: slice) -> tuple[F64, F64]:
    """What `_to_vertices` adds up in some rows."""
    total, mass = np.zeros((count, 3)), np.zeros(count)
    _to_vertices(texels.face[rows], texels.bary[rows], faces, colour[rows], weight[rows], total, mass)
    return total, mass


@njit(cache=True, nogil=True)
def _from_vertices(face: I32, bary: F32, faces: I32, vertex: F64, unseen: Bool, colour: F32) -> None:
    """Interpolate vertex colours into unseen texels."""
    for j in range(face.shape[0]):
        for i in range(face.shape[1]):
            if not unseen[j, i]:
                continue
            for k in range(3):
                colour[j, i, k] = within(vertex, faces, face[j, i], bary[j, i, 0], bary[j, i, 1], k)


def vertex_colours(texels: TexelMap, faces: I32, count: int, colour: F32, weight: F32) -> F64:
    """(V, 3) colours: means of seen texels, extended harmonically over the mesh to vertices that see none."""
    total, mass = np.zeros((count, 3)), np.zeros(count)
    for part in in_bands(lambda *rows: _summed(texels, faces, count, colour, weight, slice(*rows)), len(colour)):
        total += part[0]
        mass += part[1]
    known = mass > 0.2
    out = np.zeros((count, 3))
    out[known] = total[known] / mass[known][:, None]
    if known.all() or not known.any():
        return out
    edges, _ = edge_table(faces)
    i = np.concatenate([edges[:, 0], edges[:, 1]])
    j = np.concatenate([edges[:, 1], edges[:, 0]])
    laplacian = sparse.csgraph.laplacian(sparse.coo_matrix((np.ones(len(i)), (i, j)), shape=(count, count)).tocsr())
    laplacian = laplacian.tocsr()
    free = ~known
    system = laplacian[free][:, free] + 1e-9 * sparse.identity(int(free.sum()))
    load = -laplacian[free][:, known] @ out[known]
    inverse = sparse.diags(1.0 / system.diagonal())
    for k in range(3):
        guess = np.full(int(free.sum()), out[known, k].mean())
        out[free, k], _ = cg(system, load[:, k], x0=guess, rtol=1e-4, maxiter=500, M=inverse)
    return np.clip(out, 0, 1)


def fill_like(
    own: F64 | None, texels: TexelMap, faces: I32, count: int, colour: F32, weight: F32, plan: Gutters
) -> tuple[F32, Bool]:
    """As `fill`, but with what somebody else says of the vertices' colours, `own` (V, 3), where no view sees.

    Exposure may differ: what `own` is off by at the seen texels is extended harmonically, so that no seam shows.
    """
    if own is None:
        return fill(texels, faces, count, colour, weight, plan)
    inside = texels.face >= 0
    pair = texels.bary[inside]
    corners = own[faces[texels.face[inside]]]
    said = np.zeros_like(colour)
    said[inside] = (corners * np.concatenate([1 - pair.sum(1, keepdims=True), pair], 1)[..., None]).sum(1)
    # The extension clips to [0, 1], where differences become their halves around the middle.
    difference, unseen = fill(texels, faces, count, 0.5 + 0.5 * (colour - said), weight, plan)
    whole = np.where(inside[..., None], said + 2 * (difference - 0.5), 0).astype(np.float32)
    whole = np.where((inside & ~unseen)[..., None], colour, np.clip(whole, 0, 1)).astype(np.float32)
    return spread(whole, plan), unseen


def fill(
    texels: TexelMap, faces: I32, count: int, colour: F32, weight: F32, plan: Gutters | None = None
) -> tuple[F32, Bool]:
    """Colour unseen texels harmonically and the gutters from nearby, in place. Returns `colour` and the unseen mask.

    `plan` is the gutters' of these texels, where the caller has it.
    """
    unseen = (texels.face >= 0) & (weight <= 0)
    if unseen.any():
        vertex = vertex_colours(texels, faces, count, colour, weight)

        def band(first: int, last: int) -> None:
            rows = slice(first, last)
            _from_vertices(texels.face[rows], texels.bary[rows], faces, vertex, unseen[rows], colour[rows])

        in_bands(band, len(colour))
    return spread(colour, gutters(texels.face >= 0) if plan is None else plan), unseen
