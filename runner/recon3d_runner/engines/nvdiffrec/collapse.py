"""Fewer triangles on a closed manifold by quadric edge collapse.

Every pass works on independent neighbourhoods: no collapse moves or removes what a later one looks at, since it locks
the vertices around its edge, so that the adjacency built at the start of the pass stays true. Collapses obey the link
condition (Dey et al. 1999), so that a closed manifold stays one and keeps its genus. Costs are quadrics (Garland &
Heckbert 1997).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recon3d_runner.bands import in_bands
from recon3d_runner.engines.nvdiffrec.level_set import compact
from recon3d_runner.engines.nvdiffrec.remesh import face_normal, incident
from recon3d_runner.surface import face_normals
from recon3d_runner.types import F64, I32, I64


@njit(cache=True, nogil=True)
def _planes(vertices: F64, faces: I32, first: int, last: int, out: F64) -> None:
    """Set rows [first, last) of `out` (F, 5): unit normal, offset and a sixth of twice the area."""
    for f in range(first, last):
        a = faces[f, 0]
        nx, ny, nz = face_normal(vertices, a, faces[f, 1], faces[f, 2])
        length = np.sqrt(nx * nx + ny * ny + nz * nz)
        if length == 0.0:
            out[f] = 0.0
            continue
        nx, ny, nz = nx / length, ny / length, nz / length
        out[f, 0], out[f, 1], out[f, 2] = nx, ny, nz
        out[f, 3] = -(nx * vertices[a, 0] + ny * vertices[a, 1] + nz * vertices[a, 2])
        out[f, 4] = length / 6


@njit(cache=True, nogil=True)
def _sum_around(planes: F64, start: I32, around: I32, first: int, last: int, q: F64) -> None:
    """Set rows [first, last) of `q` (V, 10): A (6), b (3), c of the planes around a vertex, weighted by area."""
    for v in range(first, last):
        q[v] = 0.0
        for s in range(start[v], start[v + 1]):
            nx, ny, nz, d, w = planes[around[s]]
            q[v, 0] += w * nx * nx
            q[v, 1] += w * nx * ny
            q[v, 2] += w * nx * nz
            q[v, 3] += w * ny * ny
            q[v, 4] += w * ny * nz
            q[v, 5] += w * nz * nz
            q[v, 6] += w * nx * d
            q[v, 7] += w * ny * d
            q[v, 8] += w * nz * d
            q[v, 9] += w * d * d


def _quadrics(vertices: F64, faces: I32, start: I32, around: I32) -> F64:
    """(V, 10) area-weighted plane quadrics."""
    planes, q = np.empty((len(faces), 5)), np.empty((len(vertices), 10))
    in_bands(lambda first, last: _planes(vertices, faces, first, last, planes), len(faces))
    in_bands(lambda first, last: _sum_around(planes, start, around, first, last, q), len(vertices))
    return q


@njit(cache=True, nogil=True)
def _best_point(q: F64, mid: F64, pull: float, out: F64) -> float:
    """Minimise the quadric plus `pull` |x - mid|^2 into `out`; returns its value."""
    a00, a01, a02 = q[0] + pull, q[1], q[2]
    a11, a12, a22 = q[3] + pull, q[4], q[5] + pull
    r0 = -q[6] + pull * mid[0]
    r1 = -q[7] + pull * mid[1]
    r2 = -q[8] + pull * mid[2]
    c00 = a11 * a22 - a12 * a12
    c01 = a02 * a12 - a01 * a22
    c02 = a01 * a12 - a02 * a11
    det = a00 * c00 + a01 * c01 + a02 * c02
    if det <= 0.0:
        out[:] = mid
    else:
        c11 = a00 * a22 - a02 * a02
        c12 = a01 * a02 - a00 * a12
        c22 = a00 * a11 - a01 * a01
        out[0] = (c00 * r0 + c01 * r1 + c02 * r2) / det
        out[1] = (c01 * r0 + c11 * r1 + c12 * r2) / det
        out[2] = (c02 * r0 + c12 * r1 + c22 * r2) / det
    x, y, z = out[0], out[1], out[2]
    value = (
        q[0] * x * x
        + 2 * q[1] * x * y
        + 2 * q[2] * x * z
        + q[3] * y * y
        + 2 * q[4] * y * z
        + q[5] * z * z
        + 2 * (q[6] * x + q[7] * y + q[8] * z)
        + q[9]
    )
    return float(max(value, 0.0))


@njit(cache=True, nogil=True)
def _edge_costs(
    vertices: F64, faces: I32, q: F64, pull: float, length_weight: float, first: int, last: int
) -> tuple[F64, I32]:
    """Cost and (f, k) code of every edge once, from the face where its first corner is the smaller index.

    Looks at the faces [first, last).
    """
    cost = np.empty((last - first) * 3)
    code = np.empty((last - first) * 3, np.int32)
    m = 0
    point = np.empty(3)
    mid = np.empty(3)
    for f in range(first, last):
        for k in range(3):
            u, v = faces[f, k], faces[f, (k + 1) % 3]
            if u > v:
                continue
            length2 = 0.0
            for c in range(3):
                mid[c] = (vertices[u, c] + vertices[v, c]) / 2
                length2 += (vertices[u, c] - vertices[v, c]) ** 2
            cost[m] = _best_point(q[u] + q[v], mid, pull, point) + length_weight * length2
            code[m] = 3 * f + k
            m += 1
    return cost[:m], code[:m]


@njit(cache=True, nogil=True)
def _collapse_pass(
    vertices: F64, faces: I32, start: I32, around: I32, q: F64, order: I32, budget: int, pull: float, longest: float
) -> tuple[I32, int]:
    """Collapse edges in `order`, at most `budget`; moves vertices in place. start, around: `incident`.

    Returns the vertex map (V,) and the number of collapses.
    """
    count = vertices.shape[0]
    target = np.arange(count).astype(np.int32)
    locked = np.zeros(count, np.bool_)
    lost = np.zeros(count, np.int32)
    opposite = np.zeros(2, np.int32)
    mark = np.full(count, -1, np.int32)
    mid = np.empty(3)
    point = np.empty(3)
    done = 0
    for e in range(order.shape[0]):
        if done >= budget:
            break
        f, k = order[e] // 3, order[e] % 3
        u, v = faces[f, k], faces[f, (k + 1) % 3]
        if locked[u] or locked[v]:
            continue
        for c in range(3):
            mid[c] = (vertices[u, c] + vertices[v, c]) / 2
        _best_point(q[u] + q[v], mid, pull, point)
        # Link condition: u and v share exactly their edge's two opposite vertices.
        good = True
        for s in range(start[u], start[u + 1]):
            for c in range(3):
                mark[faces[around[s], c]] = u
        shared = 0
        for s in range(start[v], start[v + 1]):
            for c in range(3):
                w = faces[around[s], c]
                if w != u and w != v and mark[w] == u:
                    shared += 1
                    if start[w + 1] - start[w] - lost[w] <= 3:
                        good = False  # it would be left with two faces, back to back
                    mark[w] = -1
                    opposite[shared % 2] = w
        if not good or shared != 2:
            for s in range(start[u], start[u + 1]):
                for c in range(3):
                    mark[faces[around[s], c]] = -1
            continue
        # No face may turn over, vanish or become a sliver.
        for which in range(2):
            if not good:
                break
            w, other = (u, v) if which == 0 else (v, u)
            for s in range(start[w], start[w + 1]):
                t = around[s]
                a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
                if a == other or b == other or c == other:
                    continue
                ox, oy, oz = face_normal(vertices, a, b, c)
                sx, sy, sz = vertices[w, 0], vertices[w, 1], vertices[w, 2]
                vertices[w] = point
                nx, ny, nz = face_normal(vertices, a, b, c)
                longest2 = 0.0
                for p, r in ((a, b), (b, c), (c, a)):
                    d = 0.0
                    for x in range(3):
                        d += (vertices[p, x] - vertices[r, x]) ** 2
                    longest2 = max(longest2, d)
                vertices[w, 0], vertices[w, 1], vertices[w, 2] = sx, sy, sz
                dot = ox * nx + oy * ny + oz * nz
                old = np.sqrt(ox * ox + oy * oy + oz * oz)
                new = np.sqrt(nx * nx + ny * ny + nz * nz)
                if old > 0.0 and (dot < 0.3 * old * new):
                    good = False
                # A sliver is accepted only where one already was.
                sliver = new < 0.08 * longest2 and not (new > 0.0 and old < 0.08 * longest2)
                if sliver or longest2 > longest * longest:
                    good = False
                if not good:
                    break
        for s in range(start[u], start[u + 1]):
            for c in range(3):
                mark[faces[around[s], c]] = -1
        if not good:
            continue
        for w in (u, v):
            for s in range(start[w], start[w + 1]):
                for c in range(3):
                    locked[faces[around[s], c]] = True
        lost[opposite[0]] += 1
        lost[opposite[1]] += 1
        vertices[u] = point
        q[u] += q[v]
        target[v] = u
        done += 1
    return target, done


def _all_edge_costs(vertices: F64, faces: I32, q: F64, pull: float, length_weight: float) -> tuple[F64, I32]:
    """`_edge_costs` of all faces, parts of them side by side."""

    def one(first: int, last: int) -> tuple[F64, I32]:
        return _edge_costs(vertices, faces, q, pull, length_weight, first, last)

    found = in_bands(one, len(faces))
    return np.concatenate([cost for cost, _ in found]), np.concatenate([code for _, code in found])


def _by_cost(cost: F64) -> I64:
    """Their numbers in rising order, to one in a hundred; as dear ones stay in their own order.

    The upper half of a positive number in single precision rises with it, and so few digits are sorted by counting.
    """
    high = np.maximum(cost, 0).astype(np.float32).view(np.uint32) >> np.uint32(16)
    return np.argsort(high.astype(np.uint16), kind="stable")


def decimate(vertices: F64, faces: I32, max_faces: int, uniform: float = 1e-3) -> tuple[F64, I32]:
    """Collapse edges until at most `max_faces` are left (or nothing more can go without harm).

    uniform: weight of squared edge length beside the quadric error, in units of squared mean edge length:
    it spreads triangles over flat areas.
    """
    vertices, faces = vertices.copy(), faces.copy()
    area = float(np.linalg.norm(face_normals(vertices, faces), axis=1).sum() / 2)
    longest = 4.0 * float(np.sqrt(area / max_faces * 4 / np.sqrt(3)))
    while len(faces) > max_faces:
        start, around = incident(faces, len(vertices))
        q = _quadrics(vertices, faces, start, around)
        mean2 = area / len(faces) * 4 / np.sqrt(3)
        pull = 1e-3 * area / len(vertices)
        cost, code = _all_edge_costs(vertices, faces, q, pull, uniform * mean2)
        # The cheapest third is enough for one pass and keeps the order honest.
        order = code[_by_cost(cost)[: max(1, len(cost) // 3)]]
        budget = max(1, (len(faces) - max_faces + 1) // 2)
        target, done = _collapse_pass(vertices, faces, start, around, q, order, budget, pull, longest)
        if done == 0:
            break
        vertices, faces = compact(vertices, target[faces])
    return vertices, faces
