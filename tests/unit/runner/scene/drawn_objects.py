"""Procedural objects with known geometry, and colours that differ from place to place and from side to side."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import trimesh
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
Paint = Callable[[F64], F64]


@dataclass(frozen=True)
class Drawn:
    """A closed triangle mesh within the unit ball around the origin, and its paint."""

    vertices: F64
    faces: I32
    paint: Paint
    """(..., 3) world positions to (..., 3) sRGB in [0, 1]."""


def waves(points: F64) -> F64:
    """Smooth colours without any symmetry, far from white."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    return np.stack(
        [
            0.45 + 0.3 * np.sin(7 * x + 2 * y + 0.3) + 0.1 * x,
            0.45 + 0.3 * np.sin(6 * y - 3 * z + 1.1) - 0.1 * z,
            0.45 + 0.3 * np.sin(5 * z + 4 * x + 2.0) + 0.1 * y,
        ],
        axis=-1,
    ).clip(0.02, 0.92)


def sides(points: F64) -> F64:
    """Another colour on every side: red grows with x, green with y, blue with z."""
    return (0.5 + 0.4 * points).clip(0.05, 0.9)


def _fitted(vertices: F64, faces: Iterable[Iterable[int]], paint: Paint = waves) -> Drawn:
    """Scaled into the unit ball, its bounding box around the origin."""
    vertices = np.asarray(vertices, np.float64)
    vertices = vertices - (vertices.min(0) + vertices.max(0)) / 2
    vertices = vertices / np.linalg.norm(vertices, axis=1).max()
    return Drawn(vertices, np.ascontiguousarray(faces, np.int32), paint)


def blob(subdivisions: int = 5) -> Drawn:
    """Genus 0: a lumpy ball unlike any of its mirror images."""
    ball = trimesh.creation.icosphere(subdivisions=subdivisions)
    v = np.array(ball.vertices)
    x, y, z = v.T
    lump = 1 + 0.18 * np.sin(3 * x + 1) * np.cos(2 * y) + 0.14 * np.sin(4 * z + 2 * y) + 0.2 * x * y + 0.1 * z * x
    return _fitted(v * lump[:, None] * (1.0, 0.8, 0.9), ball.faces)


def sphere(subdivisions: int = 5) -> Drawn:
    """Every view of it is the same disc."""
    ball = trimesh.creation.icosphere(subdivisions=subdivisions)
    return _fitted(np.array(ball.vertices), ball.faces)


def egg(paint: Paint = waves) -> Drawn:
    """An ellipsoid: every view is its own mirror image, and only colours tell which way it is."""
    ball = sphere()
    return Drawn(ball.vertices * (1.0, 0.8, 0.6), ball.faces, paint)


def box(extents: tuple[float, float, float] = (1.0, 0.7, 0.45)) -> Drawn:
    """Genus 0: flat sides that no 8-bit depth step may turn into terraces."""
    made = trimesh.creation.box(extents=extents)
    return _fitted(np.array(made.vertices), made.faces)


def torus(tilt: float = 0.5) -> Drawn:
    """Genus 1: an uneven, tilted ring."""
    ring = trimesh.creation.torus(0.7, 0.25, major_sections=96, minor_sections=48)
    v = np.array(ring.vertices) * (1.0, 0.75, 1.0)
    v[:, 2] += 0.15 * v[:, 0] * v[:, 1] + 0.1 * v[:, 0]
    c, s = np.cos(tilt), np.sin(tilt)
    return _fitted(v @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]), ring.faces)


def sheet(thickness: float = 0.04) -> Drawn:
    """Genus 0: a bent plate, much thinner than it is wide, on a block."""
    n = 48
    grid = np.linspace(-1, 1, n)
    a, b = np.meshgrid(grid, 0.7 * grid, indexing="ij")
    bent = 0.15 * np.sin(2 * a + 0.4) + 0.1 * b
    upper = np.stack([a, b, bent + thickness / 2], -1).reshape(-1, 3)
    lower = np.stack([a, b, bent - thickness / 2], -1).reshape(-1, 3)
    faces = []
    base = n * n
    for i in range(n - 1):
        for j in range(n - 1):
            p, q, r, s = i * n + j, (i + 1) * n + j, (i + 1) * n + j + 1, i * n + j + 1
            faces += [(p, q, r), (p, r, s), (base + p, base + r, base + q), (base + p, base + s, base + r)]
    rim = [(i * n, (i + 1) * n) for i in range(n - 1)]
    rim += [((n - 1) * n + j, (n - 1) * n + j + 1) for j in range(n - 1)]
    rim += [((i + 1) * n + n - 1, i * n + n - 1) for i in range(n - 1)]
    rim += [(j + 1, j) for j in range(n - 1)]
    for p, q in rim:
        faces += [(p, base + p, base + q), (p, base + q, q)]
    return _fitted(np.concatenate([upper, lower]), faces)


def cells(filled: set[tuple[int, int, int]], size: tuple[float, float, float] = (1, 1, 1)) -> Drawn:
    """The surface of a set of grid cells: closed and exact, with sharp edges."""
    corner: dict[tuple[int, int, int], int] = {}
    faces: list[tuple[int, int, int]] = []

    def number(p: tuple[int, int, int]) -> int:
        return corner.setdefault(p, len(corner))

    for cell in sorted(filled):
        for axis in range(3):
            for sign in (0, 1):
                beside = list(cell)
                beside[axis] += 2 * sign - 1
                if tuple(beside) in filled:
                    continue
                u, v = (axis + 1) % 3, (axis + 2) % 3
                ring = []
                for du, dv in ((0, 0), (1, 0), (1, 1), (0, 1)):
                    p = list(cell)
                    p[axis] += sign
                    p[u] += du
                    p[v] += dv
                    ring.append(number((p[0], p[1], p[2])))
                a, b, c, d = ring if sign else ring[::-1]
                faces += [(a, b, c), (a, c, d)]
    return _fitted(np.array(list(corner), float) * size, faces)


def l_block() -> Drawn:
    """Genus 1: an L with a foot and a square hole through its upright; no two sides are alike."""
    foot = {(x, y, z) for x in range(6) for y in range(3) for z in range(2)}
    upright = {(x, y, z) for x in range(2) for y in range(4) for z in range(2, 7)}
    return cells((foot | upright) - {(x, 1, 4) for x in range(2)}, (0.9, 1.1, 1.0))


def soft_box(extents: tuple[float, float, float], radius: float) -> Drawn:
    """Genus 0: a box with rounded edges. What looks like a corner is none, and no outline ends a flat side."""
    unit = np.array(sphere(5).vertices)
    half = np.array(extents) / 2 - radius
    # The ball's eight parts, drawn apart.
    return _fitted(radius * unit + half * np.where(unit >= 0, 1, -1), sphere(5).faces)


def fins(extents: tuple[float, float, float] = (1.0, 0.7, 0.6)) -> Drawn:
    """Genus 0: a slab with upright fins, one of them shorter."""
    slab = {(x, y, z) for x in range(10) for y in range(9) for z in range(3)}
    upright = {(x, y, z) for x in range(1, 9 if extents[0] > 0.8 else 7) for y in (1, 4, 7) for z in range(3, 6)}
    return cells((slab | upright) - {(x, 7, z) for x in range(5, 9) for z in range(3, 6)}, extents)


def cylinder(width: float) -> Drawn:
    """Genus 0: round about one axis, its height against its width."""
    made = trimesh.creation.cylinder(width / 2, 1.0, sections=192)
    return _fitted(np.array(made.vertices), made.faces)
