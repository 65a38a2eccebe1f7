"""Derivatives of rendered depth and silhouette with respect to vertex motion along given directions.

Rendering is z-buffered (`kernels.rasterize`); what follows is its exact first order. At a covered pixel the
surface point is where the pixel's ray meets the face's plane: moving the three corners by d_k along unit
directions n_k moves the plane by sum_k b_k d_k (n_k . n) along its normal n. At the outline a point of a
contour edge moves with the edge, and the image's coverage changes by its motion across the outline.

The kernels add squared residuals to the normal equations of a Gauss-Newton step: per face a symmetric
3 x 3 block (a00 a01 a02 a11 a12 a22) and a right-hand side for its three corners' d.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recon3d_runner.types import F32, F64, I32, Bool

BESIDE = 1.5
"""Pixels outside a contour edge at which it has the background beside it."""
APART = 0.25
"""Pixels by which another contour edge must be farther out to be the outline in its place."""
SPOTS = 8
"""Points of a contour edge at which it is looked how far out it comes."""


@njit(cache=True, nogil=True)
def depth_terms(
    face: I32,
    depth: F32,
    bary: F32,
    observed: F32,
    vertices: F64,
    faces: I32,
    directions: F64,
    rotation: F64,
    focal: float,
    gate: float,
    huber: float,
    blocks: F64,
    rhs: F64,
) -> tuple[float, int]:
    """Point-to-plane depth residuals of one view, added to `blocks` (F, 6) and `rhs` (F, 3).

    observed (n, n): z-depth, NaN where there is none; gate: largest |z| difference that counts;
    huber: residual (world units along the normal) beyond which weights fall as 1/r.
    Returns the weighted sum of squares and the number of pixels.
    """
    size = face.shape[0]
    total = 0.0
    used = 0
    for j in range(size):
        for i in range(size):
            f = face[j, i]
            if f < 0:
                continue
            z = observed[j, i]
            if np.isnan(z):
                continue
            dz = depth[j, i] - z
            if abs(dz) > gate:
                continue
            p0, p1, p2 = faces[f, 0], faces[f, 1], faces[f, 2]
            ux = vertices[p1, 0] - vertices[p0, 0]
            uy = vertices[p1, 1] - vertices[p0, 1]
            uz = vertices[p1, 2] - vertices[p0, 2]
            vx = vertices[p2, 0] - vertices[p0, 0]
            vy = vertices[p2, 1] - vertices[p0, 1]
            vz = vertices[p2, 2] - vertices[p0, 2]
            nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
            length = np.sqrt(nx * nx + ny * ny + nz * nz)
            if length == 0.0:
                continue
            nx, ny, nz = nx / length, ny / length, nz / length
            # The pixel's ray with unit z in the camera frame, turned to the world.
            rx, ry = (i + 0.5 - size / 2) / focal, (j + 0.5 - size / 2) / focal
            dx = rotation[0, 0] * rx + rotation[1, 0] * ry + rotation[2, 0]
            dy = rotation[0, 1] * rx + rotation[1, 1] * ry + rotation[2, 1]
            dzw = rotation[0, 2] * rx + rotation[1, 2] * ry + rotation[2, 2]
            slope = nx * dx + ny * dy + nz * dzw
            if slope >= -0.02:
                continue
            # Residual along the normal: how far the surface lies outside the observed point.
            weight = 1.0
            r = dz * slope
            if abs(r) > huber:
                weight *= huber / abs(r)
            b1, b2 = bary[j, i, 0], bary[j, i, 1]
            b0 = 1.0 - b1 - b2
            j0 = b0 * (directions[p0, 0] * nx + directions[p0, 1] * ny + directions[p0, 2] * nz)
            j1 = b1 * (directions[p1, 0] * nx + directions[p1, 1] * ny + directions[p1, 2] * nz)
            j2 = b2 * (directions[p2, 0] * nx + directions[p2, 1] * ny + directions[p2, 2] * nz)
            blocks[f, 0] += weight * j0 * j0
            blocks[f, 1] += weight * j0 * j1
            blocks[f, 2] += weight * j0 * j2
            blocks[f, 3] += weight * j1 * j1
            blocks[f, 4] += weight * j1 * j2
            blocks[f, 5] += weight * j2 * j2
            # d(surface along n) must cancel r: the point at depth z + dz lies dz * slope along n from z.
            rhs[f, 0] -= weight * j0 * r
            rhs[f, 1] -= weight * j1 * r
            rhs[f, 2] -= weight * j2 * r
            total += weight * r * r
            used += 1
    return total, used


@njit(cache=True, nogil=True)
def _sample(image: F32, u: float, v: float) -> tuple[float, float, float]:
    """Bilinear value and gradient of `image` at pixel position (u, v), centres at +0.5."""
    n = image.shape[0]
    x, y = u - 0.5, v - 0.5
    i = min(max(int(np.floor(x)), 0), n - 2)
    j = min(max(int(np.floor(y)), 0), n - 2)
    fx, fy = x - i, y - j
    a, b, c, d = image[j, i], image[j, i + 1], image[j + 1, i], image[j + 1, i + 1]
    value = (1 - fy) * ((1 - fx) * a + fx * b) + fy * ((1 - fx) * c + fx * d)
    gx = (1 - fy) * (b - a) + fy * (d - c)
    gy = (1 - fx) * (c - a) + fx * (d - b)
    return value, gx, gy


@njit(cache=True, nogil=True)
def _front(edges: I32, wings: I32, points: F64, faces: I32, face: I32) -> I32:
    """(E,) the face in front of each contour edge beside which the rendered image shows background; -1 elsewhere."""
    size = face.shape[0]
    out = np.full(len(edges), -1, np.int32)
    for e in range(len(edges)):
        facing = 0
        front = -1
        for s in range(2):
            f = wings[e, s]
            p0, p1, p2 = faces[f, 0], faces[f, 1], faces[f, 2]
            ax, ay = points[p1, 0] - points[p0, 0], points[p1, 1] - points[p0, 1]
            bx, by = points[p2, 0] - points[p0, 0], points[p2, 1] - points[p0, 1]
            # Image y points down, so that counter-clockwise from outside is negative here.
            if ax * by - ay * bx < 0.0:
                facing += 1
                front = f
        if facing != 1:
            continue
        p, q = edges[e, 0], edges[e, 1]
        u, v = (points[p, 0] + points[q, 0]) / 2, (points[p, 1] + points[q, 1]) / 2
        if points[p, 2] <= 0.0 or points[q, 2] <= 0.0 or u < 2.0 or v < 2.0 or u > size - 2.0 or v > size - 2.0:
            continue
        ox, oy = _outward(points, faces[front], p, q)
        i, j = int(u + BESIDE * ox), int(v + BESIDE * oy)
        if ox * ox + oy * oy > 0.0 and 0 <= i < size and 0 <= j < size and face[j, i] < 0:
            out[e] = front
    return out


@njit(cache=True, nogil=True)
def _outward(points: F64, corners: I32, p: int, q: int) -> tuple[float, float]:
    """Unit normal in the image of the edge from p to q, away from its face's third corner; zero for none."""
    ex, ey = points[q, 0] - points[p, 0], points[q, 1] - points[p, 1]
    length = np.sqrt(ex * ex + ey * ey)
    if length < 1e-9:
        return 0.0, 0.0
    apex = corners[0]
    for k in range(3):
        if corners[k] != p and corners[k] != q:
            apex = corners[k]
    ox, oy = -ey / length, ex / length
    if ox * (points[apex, 0] - points[p, 0]) + oy * (points[apex, 1] - points[p, 1]) > 0.0:
        return -ox, -oy
    return ox, oy


@njit(cache=True, nogil=True)
def _nearest(distance: F32, u: float, v: float) -> tuple[float, float, float]:
    """Distance at a pixel position, and the place on the outline nearest to it."""
    value, gx, gy = _sample(distance, u, v)
    g = max(np.sqrt(gx * gx + gy * gy), 1e-9)
    return value, u - value * gx / g, v - value * gy / g


@njit(cache=True, nogil=True)
def _reach(edges: I32, front: I32, points: F64, distance: F32) -> F32:
    """(n, n) the farthest out, in `distance`, that contour edges come by the outline's pixel nearest to them."""
    out = np.full(distance.shape, -np.inf, np.float32)
    top = distance.shape[0] - 1
    for e in range(len(edges)):
        if front[e] < 0:
            continue
        p, q = edges[e, 0], edges[e, 1]
        for s in range(SPOTS):
            t = (s + 0.5) / SPOTS
            u, v = points[p, 0] + t * (points[q, 0] - points[p, 0]), points[p, 1] + t * (points[q, 1] - points[p, 1])
            value, x, y = _nearest(distance, u, v)
            i, j = min(max(int(x), 0), top), min(max(int(y), 0), top)
            out[j, i] = max(out[j, i], value)
    return out


@njit(cache=True, nogil=True)
def _behind(reach: F32, distance: F32, u: float, v: float) -> float:
    """Pixels by which contour edges come farther out than the position, at most half a pixel beside it."""
    value, x, y = _nearest(distance, u, v)
    top = distance.shape[0] - 2
    i, j = min(max(int(x - 0.5), 0), top), min(max(int(y - 0.5), 0), top)
    return float(max(reach[j, i], reach[j, i + 1], reach[j + 1, i], reach[j + 1, i + 1]) - value)


@njit(cache=True, nogil=True)
def outline_terms(
    edges: I32,
    wings: I32,
    points: F64,
    faces: I32,
    directions: F64,
    rotation: F64,
    focal: float,
    face: I32,
    distance: F32,
    gate: float,
    strength: float,
    measured: Bool,
    blocks: F64,
    rhs: F64,
) -> tuple[float, int]:
    """Silhouette residuals of one view: contour edges must lie on the observed outline.

    edges (E, 2), wings (E, 2): the two faces of every edge; points (V, 3): projected vertices; face (n, n):
    the rasterised image; distance (n, n): signed pixel distance to the observed outline, positive outside.
    A contour edge (one wing faces the camera, one does not) counts when the background lies right beside it
    in the rendered image, no other such edge lies farther out there, and the outline is within `gate` pixels.
    Weights: `strength` per pixel of length. A surface seen edge-on has many contour edges within a pixel, by its
    noise, and only the outermost is what the view shows: were the others pulled to the outline, so were the surface.
    Where depth has not `measured` (F,) the faces, all count: nothing else says where a hidden wall is.
    """
    size = distance.shape[0]
    total = 0.0
    used = 0
    fronts = _front(edges, wings, points, faces, face)
    reach = _reach(edges, fronts, points, distance)
    for e in range(edges.shape[0]):
        front = fronts[e]
        if front < 0:
            continue
        p, q = edges[e, 0], edges[e, 1]
        u = (points[p, 0] + points[q, 0]) / 2
        v = (points[p, 1] + points[q, 1]) / 2
        z = (points[p, 2] + points[q, 2]) / 2
        value, gx, gy = _sample(distance, u, v)
        known = measured[wings[e, 0]] or measured[wings[e, 1]]
        if abs(value) > gate or (known and _behind(reach, distance, u, v) > APART):
            continue
        ox, oy = _outward(points, faces[front], p, q)
        length = np.hypot(points[q, 0] - points[p, 0], points[q, 1] - points[p, 1])
        g = np.sqrt(gx * gx + gy * gy)
        if g < 0.3 or (gx * ox + gy * oy) < 0.5 * g:
            continue
        r = value * z / focal
        # Pixels that the edge's middle moves per world unit of an end's motion, times z / focal: all in world
        # units. An end moves in the image as its own depth and ray say, and the middle half as far.
        jac = np.zeros(2)
        for k in range(2):
            w = edges[e, k]
            rx, ry = (points[w, 0] - size / 2) / focal, (points[w, 1] - size / 2) / focal
            cx = (
                rotation[0, 0] * directions[w, 0]
                + rotation[0, 1] * directions[w, 1]
                + rotation[0, 2] * directions[w, 2]
            )
            cy = (
                rotation[1, 0] * directions[w, 0]
                + rotation[1, 1] * directions[w, 1]
                + rotation[1, 2] * directions[w, 2]
            )
            cz = (
                rotation[2, 0] * directions[w, 0]
                + rotation[2, 1] * directions[w, 1]
                + rotation[2, 2] * directions[w, 2]
            )
            jac[k] = 0.5 * z / points[w, 2] * (gx * (cx - rx * cz) + gy * (cy - ry * cz))
        weight = strength * length
        a, b = -1, -1
        for k in range(3):
            if faces[front, k] == p:
                a = k
            elif faces[front, k] == q:
                b = k
        for k in range(2):
            rhs[front, a if k == 0 else b] -= weight * jac[k] * r
        diag = (0, 3, 5)
        blocks[front, diag[a]] += weight * jac[0] * jac[0]
        blocks[front, diag[b]] += weight * jac[1] * jac[1]
        low, high = min(a, b), max(a, b)
        blocks[front, 1 if (low == 0 and high == 1) else (2 if low == 0 else 4)] += weight * jac[0] * jac[1]
        total += weight * r * r
        used += 1
    return total, used
