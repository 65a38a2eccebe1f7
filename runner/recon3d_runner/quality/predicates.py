"""Exact signs of orientation determinants of float64 points.

A float64 determinant with a forward error bound decides almost every case (J. R. Shewchuk, "Adaptive precision
floating-point arithmetic and fast robust geometric predicates", 1997). Where it cannot, the determinant is
expanded into products whose rounding errors are kept, and the products are summed without error. Exact as long
as no product under- or overflows (coordinates within about 1e-90 .. 1e100, or zero).

A change here needs the callers' numba caches rebuilt: numba watches a kernel's own file only.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from recon3d_runner.quality.jit import kernel
from recon3d_runner.types import F64

EPSILON: Final = 2.0**-53
SPLITTER: Final = 2.0**27 + 1.0
ORIENT2D_BOUND: Final = (3.0 + 16.0 * EPSILON) * EPSILON
ORIENT3D_BOUND: Final = (7.0 + 56.0 * EPSILON) * EPSILON


@kernel
def two_product(a: float, b: float) -> tuple[float, float]:
    """(p, e) with p + e = a b exactly and p the rounded product."""
    p = a * b
    t = SPLITTER * a
    a_high = t - (t - a)
    a_low = a - a_high
    t = SPLITTER * b
    b_high = t - (t - b)
    b_low = b - b_high
    return p, a_low * b_low - (((p - a_high * b_high) - a_low * b_high) - a_high * b_low)


@kernel
def grow(expansion: F64, size: int, value: float) -> int:
    """Add `value` to the first `size` entries (non-overlapping, growing) without error; returns the new size."""
    kept = 0
    for k in range(size):
        e = expansion[k]
        total = value + e
        virtual = total - value
        error = (value - (total - virtual)) + (e - virtual)
        value = total
        if error != 0.0:
            expansion[kept] = error
            kept += 1
    if value != 0.0:
        expansion[kept] = value
        kept += 1
    return kept


@kernel
def grow_product3(expansion: F64, size: int, a: float, b: float, c: float) -> int:
    """Add a b c to the expansion without error."""
    high, low = two_product(a, b)
    p, e = two_product(low, c)
    size = grow(expansion, size, e)
    size = grow(expansion, size, p)
    p, e = two_product(high, c)
    size = grow(expansion, size, e)
    return grow(expansion, size, p)


@kernel
def grow_determinant(expansion: F64, size: int, a: F64, b: F64, c: F64, sign: float) -> int:
    """Add sign * det[a; b; c] to the expansion without error."""
    for x, y, z in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        size = grow_product3(expansion, size, sign * a[x], b[y], c[z])
        size = grow_product3(expansion, size, -sign * a[x], b[z], c[y])
    return size


@kernel
def is_exact_difference(a: float, b: float, difference: float) -> bool:
    """Whether `difference`, the rounded a - b, has no rounding error."""
    virtual = a - difference
    return bool((a - (difference + virtual)) + (virtual - b) == 0.0)


@kernel
def orient3d(a: F64, b: F64, c: F64, d: F64) -> int:
    """Sign (-1, 0, 1) of det[a - d; b - d; c - d]: on which side of the plane a, b, c the point d lies, exactly."""
    ax, ay, az = a[0] - d[0], a[1] - d[1], a[2] - d[2]
    bx, by, bz = b[0] - d[0], b[1] - d[1], b[2] - d[2]
    cx, cy, cz = c[0] - d[0], c[1] - d[1], c[2] - d[2]
    p1, p2 = bx * cy, cx * by
    q1, q2 = cx * ay, ax * cy
    r1, r2 = ax * by, bx * ay
    determinant = az * (p1 - p2) + bz * (q1 - q2) + cz * (r1 - r2)
    permanent = (abs(p1) + abs(p2)) * abs(az) + (abs(q1) + abs(q2)) * abs(bz) + (abs(r1) + abs(r2)) * abs(cz)
    bound = ORIENT3D_BOUND * permanent
    if determinant > bound:
        return 1
    if determinant < -bound:
        return -1
    if permanent == 0.0:
        return 0
    return orient3d_exact(a, b, c, d)


@kernel
def orient3d_exact(a: F64, b: F64, c: F64, d: F64) -> int:
    """orient3d without the float64 shortcut."""
    expansion = np.empty(100)
    exact = True
    e, f, g = np.empty(3), np.empty(3), np.empty(3)
    for k in range(3):
        e[k], f[k], g[k] = a[k] - d[k], b[k] - d[k], c[k] - d[k]
        exact = (
            exact
            and is_exact_difference(a[k], d[k], e[k])
            and is_exact_difference(b[k], d[k], f[k])
            and is_exact_difference(c[k], d[k], g[k])
        )
    if exact:  # always so for float32 coordinates of similar size
        size = grow_determinant(expansion, 0, e, f, g, 1.0)
    else:
        size = grow_determinant(expansion, 0, a, b, c, 1.0)
        size = grow_determinant(expansion, size, a, b, d, -1.0)
        size = grow_determinant(expansion, size, a, c, d, 1.0)
        size = grow_determinant(expansion, size, b, c, d, -1.0)
    return sign_of(expansion, size)


@kernel
def sign_of(expansion: F64, size: int) -> int:
    """The sign of an expansion is that of its largest entry."""
    if size == 0:
        return 0
    return 1 if expansion[size - 1] > 0.0 else -1


@kernel
def orient2d(ax: float, ay: float, bx: float, by: float, cx: float, cy: float) -> int:
    """Sign (-1, 0, 1) of the signed area of the triangle a, b, c: 1 when counter-clockwise in x right, y up."""
    left = (ax - cx) * (by - cy)
    right = (ay - cy) * (bx - cx)
    determinant = left - right
    bound = ORIENT2D_BOUND * (abs(left) + abs(right))
    if determinant > bound:
        return 1
    if determinant < -bound:
        return -1
    if bound == 0.0:
        return 0
    expansion = np.empty(12)
    size = 0
    for u, v in ((ax, by), (bx, cy), (cx, ay), (-ay, bx), (-by, cx), (-cy, ax)):
        p, e = two_product(u, v)
        size = grow(expansion, size, e)
        size = grow(expansion, size, p)
    return sign_of(expansion, size)
