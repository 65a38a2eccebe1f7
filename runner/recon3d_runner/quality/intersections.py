"""Self-intersections of a triangle mesh, decided exactly.

Two closed faces intersect when they share a point that their shared vertices and edge do not explain:

- no shared vertex: any common point, a touch included;
- one shared vertex: any other common point;
- one shared edge: they lie in one plane, on the same side of the edge (a fold-over);
- three shared vertices: always (a duplicate).

Signs come from exact predicates, so flat walls give no false positives and nothing depends on a tolerance. Faces
without area are left out (mesh_checks counts them). Vertices at one position must be one vertex: weld first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from recon3d_runner.quality import bvh
from recon3d_runner.quality.jit import kernel
from recon3d_runner.quality.predicates import orient2d, orient3d
from recon3d_runner.types import F64, I32, U8

LIMIT: Final = 1_000_000


@dataclass(frozen=True)
class Intersections:
    """What self_intersections found."""

    pairs: I32
    """(K, 2) face numbers, the smaller first, sorted."""
    complete: bool
    """False when the search stopped at the limit."""


def self_intersections(vertices: F64, faces: I32, *, limit: int = LIMIT) -> Intersections:
    """All pairs of intersecting faces of (V, 3) vertices, (F, 3) faces; stops once `limit` pairs are found."""
    corners = np.ascontiguousarray(vertices, np.float64)[faces]
    kept = np.flatnonzero(_has_area(corners)).astype(np.int32)
    if len(kept) < 2:
        return Intersections(np.empty((0, 2), np.int32), True)
    corners, named = np.ascontiguousarray(corners[kept]), np.ascontiguousarray(faces[kept], np.int32)
    found: list[I32] = []
    count, complete = 0, True
    tree = bvh.build(*_bounds(corners))
    for hit in bvh.judged_pairs(tree, lambda pairs: pairs[_intersect(corners, named, pairs).astype(bool)]):
        found.append(hit)
        count += len(hit)
        if count >= limit:
            complete = False
            break
    both = np.sort(kept[np.concatenate(found)], axis=1)
    return Intersections(both[np.lexsort((both[:, 1], both[:, 0]))], complete)


@kernel
def _bounds(corners: F64) -> tuple[F64, F64]:
    """Smallest and largest coordinates (N, 3) of each face's corners."""
    low, high = corners[:, 0].copy(), corners[:, 0].copy()
    for k in range(len(corners)):
        for j in range(1, 3):
            for axis in range(3):
                low[k, axis] = min(low[k, axis], corners[k, j, axis])
                high[k, axis] = max(high[k, axis], corners[k, j, axis])
    return low, high


@kernel
def _has_area(corners: F64) -> U8:
    """1 per face whose corners are not on one line, exactly: some axis projection has area."""
    out = np.empty(len(corners), np.uint8)
    for k in range(len(corners)):
        out[k] = _plane_axis(corners[k]) >= 0
    return out


@kernel
def _plane_axis(t: F64) -> int:
    """The axis to drop so that the triangle keeps an area in the other two, -1 where it has none."""
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        if orient2d(t[0, u], t[0, v], t[1, u], t[1, v], t[2, u], t[2, v]) != 0:
            return axis
    return -1


@kernel
def _intersect(corners: F64, faces: I32, pairs: I32) -> U8:
    """1 per pair of faces that intersect."""
    out = np.zeros(len(pairs), np.uint8)
    shared_a, shared_b = np.zeros(3, np.int64), np.zeros(3, np.int64)
    for k in range(len(pairs)):
        a, b = pairs[k, 0], pairs[k, 1]
        shared = 0
        for i in range(3):
            for j in range(3):
                if faces[a, i] == faces[b, j]:
                    shared_a[min(shared, 2)], shared_b[min(shared, 2)] = i, j
                    shared += 1
        s, t = corners[a], corners[b]
        if shared == 0:
            out[k] = _disjoint_pair(s, t)
        elif shared == 1:
            out[k] = _vertex_pair(s, t, shared_a[0], shared_b[0])
        elif shared == 2:
            out[k] = _edge_pair(s, t, 3 - shared_a[0] - shared_a[1], 3 - shared_b[0] - shared_b[1])
        else:
            out[k] = 1
    return out


@kernel
def _disjoint_pair(s: F64, t: F64) -> bool:
    """Two triangles meet exactly when an edge of one meets the other."""
    a, b, c = orient3d(t[0], t[1], t[2], s[0]), orient3d(t[0], t[1], t[2], s[1]), orient3d(t[0], t[1], t[2], s[2])
    if abs(a + b + c) == 3:
        return False
    d, e, f = orient3d(s[0], s[1], s[2], t[0]), orient3d(s[0], s[1], s[2], t[1]), orient3d(s[0], s[1], s[2], t[2])
    if abs(d + e + f) == 3:
        return False
    return (
        _segment_meets(s[0], s[1], a, b, t)
        or _segment_meets(s[1], s[2], b, c, t)
        or _segment_meets(s[2], s[0], c, a, t)
        or _segment_meets(t[0], t[1], d, e, s)
        or _segment_meets(t[1], t[2], e, f, s)
        or _segment_meets(t[2], t[0], f, d, s)
    )


@kernel
def _vertex_pair(s: F64, t: F64, i: int, j: int) -> bool:
    """Triangles sharing corner i of s, j of t. A second common point would put one on an opposite edge.

    The common part is convex and holds the shared corner. Follow it away from there: it ends where it leaves one
    of the triangles, and a ray from a corner leaves a triangle through the opposite edge.
    """
    p, q = s[(i + 1) % 3], s[(i + 2) % 3]
    a, b = orient3d(t[0], t[1], t[2], p), orient3d(t[0], t[1], t[2], q)
    if a * b <= 0 and _segment_meets(p, q, a, b, t):
        return True
    p, q = t[(j + 1) % 3], t[(j + 2) % 3]
    a, b = orient3d(s[0], s[1], s[2], p), orient3d(s[0], s[1], s[2], q)
    return a * b <= 0 and _segment_meets(p, q, a, b, s)


@kernel
def _edge_pair(s: F64, t: F64, i: int, j: int) -> bool:
    """Triangles sharing the edge opposite corner i of s and corner j of t: only a fold-over intersects."""
    if orient3d(s[0], s[1], s[2], t[j]) != 0:
        return False
    axis = _plane_axis(s)
    u, v = (axis + 1) % 3, (axis + 2) % 3
    p, q = s[(i + 1) % 3], s[(i + 2) % 3]
    return orient2d(p[u], p[v], q[u], q[v], s[i, u], s[i, v]) == orient2d(p[u], p[v], q[u], q[v], t[j, u], t[j, v])


@kernel
def _segment_meets(p: F64, q: F64, p_side: int, q_side: int, t: F64) -> bool:
    """Whether the closed segment p q meets the closed triangle t, given the sides of its ends."""
    if p_side == 0 and q_side == 0:
        return _segment_meets_flat(p, q, t)
    if p_side * q_side > 0:
        return False
    a, b, c = orient3d(p, q, t[0], t[1]), orient3d(p, q, t[1], t[2]), orient3d(p, q, t[2], t[0])
    return (a >= 0 and b >= 0 and c >= 0) or (a <= 0 and b <= 0 and c <= 0)


@kernel
def _segment_meets_flat(p: F64, q: F64, t: F64) -> bool:
    """The same for a segment in the triangle's plane."""
    axis = _plane_axis(t)
    u, v = (axis + 1) % 3, (axis + 2) % 3
    inside_p = outside_p = inside_q = outside_q = False
    for k in range(3):
        a, b = t[k], t[(k + 1) % 3]
        side_p = orient2d(a[u], a[v], b[u], b[v], p[u], p[v])
        side_q = orient2d(a[u], a[v], b[u], b[v], q[u], q[v])
        inside_p, outside_p = inside_p or side_p > 0, outside_p or side_p < 0
        inside_q, outside_q = inside_q or side_q > 0, outside_q or side_q < 0
        if side_p == 0 and side_q == 0:  # along the edge's line: do the ranges meet?
            w = u if abs(a[u] - b[u]) >= abs(a[v] - b[v]) else v
            if max(p[w], q[w]) >= min(a[w], b[w]) and min(p[w], q[w]) <= max(a[w], b[w]):
                return True
        elif side_p * side_q <= 0:
            side_a = orient2d(p[u], p[v], q[u], q[v], a[u], a[v])
            side_b = orient2d(p[u], p[v], q[u], q[v], b[u], b[v])
            if side_a * side_b <= 0:
                return True
    return not (inside_p and outside_p) or not (inside_q and outside_q)
