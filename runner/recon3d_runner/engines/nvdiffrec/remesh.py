"""Better triangles on a closed manifold: Delaunay edge flips and tangential smoothing.

Every pass works on independent neighbourhoods: an operation locks the vertices that it looked at, so that the
adjacency built at the start of the pass stays true.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recon3d_runner.types import F64, I32, Bool


@njit(cache=True, nogil=True)
def incident(table: I32, count: int) -> tuple[I32, I32]:
    """CSR: the rows of a table of vertices, faces (F, 3) or edges (E, 2), in which each of `count` vertices stands."""
    start = np.zeros(count + 1, np.int32)
    for row in range(table.shape[0]):
        for k in range(table.shape[1]):
            start[table[row, k] + 1] += 1
    for v in range(count):
        start[v + 1] += start[v]
    fill = start[:-1].copy()
    out = np.empty(table.size, np.int32)
    for row in range(table.shape[0]):
        for k in range(table.shape[1]):
            v = table[row, k]
            out[fill[v]] = row
            fill[v] += 1
    return start, out


def edge_table(faces: I32) -> tuple[I32, I32]:
    """(E, 2) vertices and (E, 2) faces of every edge of a closed manifold."""
    edges, wings = np.empty((3 * len(faces) // 2, 2), np.int32), np.empty((3 * len(faces) // 2, 2), np.int32)
    _pair_up(faces, int(faces.max()) + 1, edges, wings)
    return edges, wings


@njit(cache=True, nogil=True)
def _pair_up(faces: I32, count: int, edges: I32, wings: I32) -> None:
    """Sort the half edges by their lower vertex, then by their higher one: each is there twice."""
    start = np.zeros(count + 1, np.int64)
    for f in range(len(faces)):
        for k in range(3):
            start[min(faces[f, k], faces[f, (k + 1) % 3]) + 1] += 1
    for v in range(count):
        start[v + 1] += start[v]
    fill = start[:-1].copy()
    high, owner = np.empty(3 * len(faces), np.int32), np.empty(3 * len(faces), np.int32)
    for k in range(3):
        for f in range(len(faces)):
            u, v = faces[f, k], faces[f, (k + 1) % 3]
            low, top = min(u, v), max(u, v)
            at = fill[low]
            fill[low] += 1
            while at > start[low] and high[at - 1] > top:
                high[at], owner[at] = high[at - 1], owner[at - 1]
                at -= 1
            high[at], owner[at] = top, f
    for v in range(count):
        for at in range(start[v], start[v + 1]):
            edges[at // 2, 0], edges[at // 2, 1] = v, high[at]
            wings[at // 2, at % 2] = owner[at]


@njit(cache=True, nogil=True)
def face_neighbours(wings: I32, count: int) -> I32:
    """(F, 3) the faces across each of `count` faces' edges, in the order of the edges; wings: of `edge_table`."""
    out, fill = np.empty((count, 3), np.int32), np.zeros(count, np.int32)
    for e in range(len(wings)):
        for side in range(2):
            f = wings[e, side]
            out[f, fill[f]] = wings[e, 1 - side]
            fill[f] += 1
    return out


@njit(cache=True, nogil=True)
def face_normal(vertices: F64, a: int, b: int, c: int) -> tuple[float, float, float]:
    """Cross product of two edges: twice the area long, outward for counter-clockwise corners."""
    ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
    vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
    return uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx


@njit(cache=True, nogil=True)
def _opposite(faces: I32, start: I32, around: I32, f: int, u: int, v: int) -> tuple[int, int]:
    """The other face on edge (u, v) and its third corner; -1 if there is none."""
    for s in range(start[u], start[u + 1]):
        g = around[s]
        if g == f:
            continue
        for k in range(3):
            if faces[g, k] == v and faces[g, (k + 1) % 3] == u:
                return g, faces[g, (k + 2) % 3]
    return -1, -1


@njit(cache=True, nogil=True)
def _flip_pass(vertices: F64, faces: I32, flat: float, changed: Bool) -> int:
    """Flip edges that are not Delaunay where the two faces' normals agree to cos >= `flat`; in place.

    Only faces around `changed` vertices (V,) are looked at; afterwards it holds those that this pass has changed.
    """
    count = vertices.shape[0]
    start, around = incident(faces, count)
    near = changed.copy()
    for f in range(faces.shape[0]):
        if changed[faces[f, 0]] or changed[faces[f, 1]] or changed[faces[f, 2]]:
            near[faces[f, 0]] = near[faces[f, 1]] = near[faces[f, 2]] = True
    locked = changed
    locked[:] = False
    flips = 0
    for f in range(faces.shape[0]):
        # An edge's two apexes count as well, and the farther one is another face's.
        if not (near[faces[f, 0]] or near[faces[f, 1]] or near[faces[f, 2]]):
            continue
        for k in range(3):
            u, v, w = faces[f, k], faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
            if u > v or locked[u] or locked[v] or locked[w]:
                continue
            g, x = _opposite(faces, start, around, f, u, v)
            if g < 0 or locked[x] or x == w:
                continue
            # Delaunay: opposite angles sum to more than pi <=> sum of cotangents is negative.
            total = 0.0
            for side in range(2):
                apex = w if side == 0 else x
                dot = 0.0
                for c in range(3):
                    dot += (vertices[u, c] - vertices[apex, c]) * (vertices[v, c] - vertices[apex, c])
                nx, ny, nz = face_normal(vertices, apex, u, v)
                total += dot / max(np.sqrt(nx * nx + ny * ny + nz * nz), 1e-30)
            if total >= -1e-6:
                continue
            ax, ay, az = face_normal(vertices, u, v, w)
            bx, by, bz = face_normal(vertices, v, u, x)
            la = np.sqrt(ax * ax + ay * ay + az * az)
            lb = np.sqrt(bx * bx + by * by + bz * bz)
            if la == 0.0 or lb == 0.0 or ax * bx + ay * by + az * bz < flat * la * lb:
                continue
            cx, cy, cz = face_normal(vertices, w, x, v)
            dx, dy, dz = face_normal(vertices, x, w, u)
            sx, sy, sz = ax / la + bx / lb, ay / la + by / lb, az / la + bz / lb
            if cx * sx + cy * sy + cz * sz <= 0.0 or dx * sx + dy * sy + dz * sz <= 0.0:
                continue
            # The new edge must not exist already.
            exists = False
            for s in range(start[w], start[w + 1]):
                for c in range(3):
                    if faces[around[s], c] == x:
                        exists = True
            if exists or start[u + 1] - start[u] <= 3 or start[v + 1] - start[v] <= 3:
                continue
            faces[f, 0], faces[f, 1], faces[f, 2] = w, x, v
            faces[g, 0], faces[g, 1], faces[g, 2] = x, w, u
            locked[u] = locked[v] = locked[w] = locked[x] = True
            flips += 1
            break
    return flips


def flip(vertices: F64, faces: I32, passes: int = 8, flat: float = 0.9) -> I32:
    """Flip towards Delaunay until nothing changes or `passes` are done."""
    faces, changed = faces.copy(), np.ones(len(vertices), np.bool_)
    for _ in range(passes):
        if _flip_pass(vertices, faces, flat, changed) == 0:
            break
    return faces


def relax(vertices: F64, faces: I32, normals: F64, amount: float, fixed: Bool | None = None) -> F64:
    """Move every vertex towards its neighbours' mean within its tangent plane by `amount` of the way."""
    mean = np.zeros_like(vertices)
    weight = np.zeros(len(vertices))
    for k in range(3):
        i, j = faces[:, k], faces[:, (k + 1) % 3]
        for axis in range(3):
            mean[:, axis] += np.bincount(i, weights=vertices[j, axis], minlength=len(vertices))
        weight += np.bincount(i, minlength=len(vertices))
    move = mean / np.maximum(weight, 1)[:, None] - vertices
    move -= (move * normals).sum(1, keepdims=True) * normals
    if fixed is not None:
        move[fixed] = 0
    return vertices + amount * move
