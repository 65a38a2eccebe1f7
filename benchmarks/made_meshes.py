"""Closed meshes with paint for the alignment's test bench, and what a generative model would make of them.

Every shape is a function of a seed. Some are lopsided, many have the symmetries that real objects have (two sides
alike, a body of revolution), so that only colours or a handle tell one turn from another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from recon3d_runner.engines.reconviagen.similarity import rotation_of
from scipy import sparse

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]


@dataclass(frozen=True)
class Made:
    """A closed mesh within the unit ball and its colours."""

    name: str
    vertices: F64
    faces: I32
    colours: F64
    """(V, 3) sRGB in [0, 1]."""


def paint(points: F64, rng: np.random.Generator) -> F64:
    """Patches and gradients, the same on no two sides."""
    colour = np.full(points.shape, 0.5)
    for _ in range(6):
        wave, phase = rng.normal(size=3) * 3.0, rng.uniform(0, 2 * np.pi)
        colour += np.sin(points @ wave + phase)[:, None] * rng.normal(size=3) * 0.1
    for _ in range(4):
        place = rng.normal(size=3)
        near = np.linalg.norm(points - 0.7 * place / np.linalg.norm(place), axis=1) < 0.45
        colour[near] = 0.3 * colour[near] + 0.7 * rng.uniform(0.1, 0.9, 3)
    return np.clip(colour, 0.03, 0.93)


def _ball(rng: np.random.Generator) -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(subdivisions=5)
    v = np.array(mesh.vertices)
    radius = np.ones(len(v))
    for _ in range(5):
        radius += 0.1 * np.sin(v @ rng.normal(size=3) * 2 + rng.uniform(0, 6))
    return trimesh.Trimesh(v * radius[:, None] * rng.uniform(0.6, 1, 3), mesh.faces, process=False)


def _joined(parts: list[trimesh.Trimesh]) -> trimesh.Trimesh:
    return trimesh.util.concatenate(parts)


def _at(mesh: trimesh.Trimesh, *place: float) -> trimesh.Trimesh:
    mesh.apply_translation(place)
    return mesh


def _box(*extents: float) -> trimesh.Trimesh:
    return trimesh.creation.box(extents=extents)


def _furniture(rng: np.random.Generator) -> trimesh.Trimesh:
    """A table or a chair: mirror images of itself left and right, a table front and back too."""
    w, d, h = rng.uniform(0.8, 1.4), rng.uniform(0.6, 1.0), rng.uniform(0.6, 1.0)
    leg = rng.uniform(0.08, 0.14)
    parts = [_at(_box(w, d, 0.1), 0, 0, h)]
    parts += [_at(_box(leg, leg, h), x * (w - leg) / 2, y * (d - leg) / 2, h / 2) for x in (-1, 1) for y in (-1, 1)]
    if rng.random() < 0.6:
        parts.append(_at(_box(w, 0.08, 0.7), 0, d / 2 - 0.04, h + 0.4))
    return _joined(parts)


def _figure(rng: np.random.Generator) -> trimesh.Trimesh:
    """A toy animal: body, head, ears, legs, alike left and right."""

    def egg(x: float, y: float, z: float, *radii: float) -> trimesh.Trimesh:
        mesh = trimesh.creation.icosphere(subdivisions=4)
        mesh.apply_scale(radii)
        return _at(mesh, x, y, z)

    long, high = rng.uniform(0.5, 0.8), rng.uniform(0.3, 0.45)
    parts = [egg(0, 0, 0.6, long, 0.35, high), egg(long, 0, 0.95, 0.3, 0.27, 0.28)]
    parts += [egg(long - 0.05, s * 0.18, 1.25, 0.08, 0.06, rng.uniform(0.12, 0.25)) for s in (-1, 1)]
    parts += [egg(x * long * 0.6, s * 0.2, 0.2, 0.1, 0.1, 0.35) for x in (-1, 1) for s in (-1, 1)]
    parts.append(egg(-long - 0.1, 0, 0.8, 0.25, 0.06, 0.06))
    return _joined(parts)


def _vase(rng: np.random.Generator) -> trimesh.Trimesh:
    """A body of revolution; every second one has a handle, else colours alone fix its turn."""
    z = np.linspace(0, 1.6, 40)
    r = 0.35 + 0.15 * np.sin(rng.uniform(2, 5) * z + rng.uniform(0, 6)) + 0.05 * np.sin(9 * z)
    profile = np.column_stack([np.concatenate([[0], np.maximum(r, 0.1), [0]]), np.concatenate([[0], z, [1.6]])])
    body = trimesh.creation.revolve(profile, sections=96)
    if rng.random() < 0.5:
        ring = trimesh.creation.torus(0.3, 0.06, major_sections=64, minor_sections=16)
        ring.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, [1, 0, 0]))
        return _joined([body, _at(ring, 0.45, 0, 0.8)])
    return body


def _knot(rng: np.random.Generator) -> trimesh.Trimesh:
    """A tube along a closed curve."""
    p, q = ((2, 3), (3, 2), (2, 5), (1, 2))[int(rng.integers(4))]
    t = np.linspace(0, 2 * np.pi, 240, endpoint=False)
    swing = rng.uniform(0.25, 0.35)
    path = np.column_stack(
        [
            (0.7 + swing * np.cos(q * t)) * np.cos(p * t),
            (0.7 + swing * np.cos(q * t)) * np.sin(p * t),
            swing * np.sin(q * t),
        ]
    ) * rng.uniform(0.7, 1.1, 3)
    ahead = np.roll(path, -1, 0) - np.roll(path, 1, 0)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    side = np.cross(ahead, path + [0, 0, 3.0])
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    up = np.cross(ahead, side)
    a = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = np.cos(a)[None, :, None] * side[:, None] + np.sin(a)[None, :, None] * up[:, None]
    v = (path[:, None] + 0.12 * ring).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(240), np.arange(24), indexing="ij")
    n = lambda i, j: (i % 240) * 24 + j % 24  # noqa: E731 - a name for an index
    quads = np.stack([n(i, j), n(i, j + 1), n(i + 1, j + 1), n(i + 1, j)], -1).reshape(-1, 4)
    return trimesh.Trimesh(v, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]), process=False)


def _cells(rng: np.random.Generator) -> trimesh.Trimesh:
    """A heap of blocks on a grid."""
    filled = {(0, 0, 0)}
    while len(filled) < 14:
        x, y, z = sorted(filled)[int(rng.integers(len(filled)))]
        d = int(rng.integers(6))
        step = [0, 0, 0]
        step[d // 2] = 1 - 2 * (d % 2)
        filled.add((x + step[0], y + step[1], z + step[2]))
    # A hair apart, so that no two blocks share an edge.
    return _joined([_at(_box(1.001, 1.001, 1.001), *cell) for cell in sorted(filled)])


def _block(rng: np.random.Generator) -> trimesh.Trimesh:
    """A painted box: four turns show the same shape."""
    return _box(*rng.uniform(0.5, 1.2, 3))


def _gear(rng: np.random.Generator) -> trimesh.Trimesh:
    """A toothed wheel with a hub on one side."""
    teeth = int(rng.integers(8, 16))
    hub = trimesh.creation.cylinder(0.3, 0.5, sections=64)
    wheel = trimesh.creation.cylinder(0.8, 0.3, sections=96)
    parts = [wheel, _at(hub, 0, 0, 0.25)]
    for k in range(teeth):
        tooth = _at(_box(0.3, 0.16, 0.28), 0.85, 0, 0)
        tooth.apply_transform(trimesh.transformations.rotation_matrix(2 * np.pi * k / teeth, [0, 0, 1]))
        parts.append(tooth)
    return _joined(parts)


KINDS: dict[str, Callable[[np.random.Generator], Any]] = {
    "ball": _ball,
    "furniture": _furniture,
    "figure": _figure,
    "vase": _vase,
    "knot": _knot,
    "cells": _cells,
    "block": _block,
    "gear": _gear,
}


def subdivided(mesh: trimesh.Trimesh, longest: float) -> tuple[F64, I32]:
    """Cut edges until none is longer than `longest`."""
    v, f = trimesh.remesh.subdivide_to_size(np.array(mesh.vertices, np.float64), mesh.faces, longest)
    merged = trimesh.Trimesh(v, f, process=False)
    merged.merge_vertices(merge_tex=True, merge_norm=True)
    return np.array(merged.vertices, np.float64), np.ascontiguousarray(merged.faces, np.int32)


def _fine(mesh: trimesh.Trimesh) -> tuple[F64, I32]:
    """Within the unit ball, edges short enough that colours at the vertices show the paint."""
    v = np.array(mesh.vertices, np.float64)
    v -= (v.min(0) + v.max(0)) / 2
    v /= np.linalg.norm(v, axis=1).max()
    return subdivided(trimesh.Trimesh(v, mesh.faces, process=False), 0.06)


def made(number: int) -> Made:
    """Return shape `number`, 0, 1, 2 ...: all kinds in turn."""
    kind = list(KINDS)[number % len(KINDS)]
    rng = np.random.default_rng(1000 + number)
    v, f = _fine(KINDS[kind](rng))
    return Made(f"{kind}-{number}", v, f, paint(v, rng))


def generated(
    thing: Made, rng: np.random.Generator, bend: float = 0.012, smooth: int = 6, seen: F64 | None = None
) -> tuple[F64, F64]:
    """Vertices and colours of `thing` as a generative model gives them back: bent, melted, colours off and blurred.

    bend: root mean square of the smooth displacement, of the unit ball's radius. What of it all is a similarity
    is taken out again, because that part would be the alignment's to find. seen: (V,) how much views show of each
    vertex; None for all of the surface alike.
    """
    n = len(thing.vertices)
    edges = np.concatenate([thing.faces[:, [0, 1]], thing.faces[:, [1, 2]], thing.faces[:, [2, 0]]])
    i, j = np.concatenate([edges, edges[:, ::-1]]).T
    mean = sparse.coo_matrix((np.ones(len(i)), (i, j)), shape=(n, n)).tocsr()
    mean = sparse.diags(1 / np.maximum(np.asarray(mean.sum(1)).ravel(), 1)) @ mean
    v, colours = thing.vertices.copy(), thing.colours.copy()
    for _ in range(smooth):
        v = 0.5 * v + 0.5 * (mean @ v)
        colours = 0.5 * colours + 0.5 * (mean @ colours)
    field = np.zeros_like(v)
    for _ in range(8):
        field += np.sin(v @ rng.normal(size=3) * 4 + rng.uniform(0, 6))[:, None] * rng.normal(size=3)
    v = v + bend * field / np.sqrt((field**2).sum(1).mean())
    v = v + 0.002 * rng.normal(size=v.shape)
    colours = np.clip(colours * rng.uniform(0.85, 1.1, 3) + rng.normal(size=3) * 0.04, 0, 1)
    return _without_similarity(v, thing, seen), colours


PAINT_WEIGHT = 0.002
"""Of a colour difference, against a distance in the unit ball: 0.12 in one of three channels counts like a pixel of
256, as wherever pictures are compared here."""


def _without_similarity(v: F64, thing: Made, seen: F64 | None) -> F64:
    """Take out the similarity that brings the surface closest to the original, by what can be seen of it.

    Shape shows motion along the normals, paint that across them where it changes, hidden parts none. A little of all
    sliding counts for what nothing shows.
    """
    normal, slopes = _slopes(thing)
    weight = np.linalg.norm(normal, axis=1)
    normal /= np.maximum(weight, 1e-300)[:, None]
    slopes /= np.maximum(weight, 1e-300)[:, None]
    if seen is not None:
        weight = seen
    directions = [
        (normal, 1.0),
        *((slope, PAINT_WEIGHT) for slope in slopes),
        *((np.broadcast_to(axis, v.shape), 1e-5) for axis in np.eye(3)),
    ]
    # About the original's own points: a body of revolution then has no turn about its axis but by its paint.
    middle = thing.vertices.mean(0)
    arm = thing.vertices - middle
    rows = [
        (np.column_stack([np.cross(arm, along), along, (arm * along).sum(1)]), along, share * weight)
        for along, share in directions
    ]
    matrix = sum(row.T @ (row * w[:, None]) for row, _, w in rows)
    for _ in range(4):
        vector = -sum(row.T @ (w * ((v - thing.vertices) * along).sum(1)) for row, along, w in rows)
        step = np.linalg.solve(matrix, vector)
        v = middle + float(np.exp(step[6])) * (v - middle) @ rotation_of(step[:3]).T + step[3:6]
    return v


def _slopes(thing: Made) -> tuple[F64, F64]:
    """(V, 3) normals and (3, V, 3) gradients of the colours along the surface, both times the area around."""
    a, b, c = (thing.vertices[thing.faces[:, k]] for k in range(3))
    across = np.cross(b - a, c - a)
    unit = across / np.maximum(np.linalg.norm(across, axis=1), 1e-300)[:, None]
    # A corner's share in a face's gradient points away from the opposite edge and is as long as that.
    shares = [np.cross(unit, edge) for edge in (c - b, a - c, b - a)]
    normal, slopes = np.zeros_like(thing.vertices), np.zeros((3, *thing.vertices.shape))
    for channel in range(3):
        gradient = sum(thing.colours[thing.faces[:, k], channel, None] * shares[k] for k in range(3))
        for k in range(3):
            np.add.at(slopes[channel], thing.faces[:, k], gradient)
    for k in range(3):
        np.add.at(normal, thing.faces[:, k], across)
    return normal, slopes
