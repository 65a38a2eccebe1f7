"""What is sound about a triangle mesh, and its shape statistics; topology by vertex index, so weld first.

Definitions:

- watertight: every edge has exactly two faces. Edge-manifold: at most two. Vertex-manifold: the faces around each
  vertex form one fan, so the surface is a disc (or half disc) there.
- oriented: the two faces of every inner edge run along it in opposite directions, and no edge has three. Outward:
  oriented, watertight, and the signed volume is positive (of the whole: how components nest is not looked at).
- components: by shared edges. genus: (2 - euler) / 2 of each watertight component.
- degenerate: an area below 1e-12 of the squared diagonal, or a repeated vertex.
- aspect ratio: longest edge / shortest height, scaled by sqrt(3) / 2 so that an equilateral triangle has 1.
  edge ratio: longest edge / shortest edge. Both over the faces that are not degenerate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from recon3d_runner.surface import face_normals
from recon3d_runner.types import F64, I32

DEGENERATE_AREA: Final = 1e-12
"""Of the squared diagonal of the bounding box."""


@dataclass(frozen=True)
class Spread:
    """The distribution of one number over faces or edges; NaN over none."""

    minimum: float
    mean: float
    median: float
    p95: float
    maximum: float


@dataclass(frozen=True)
class MeshChecks:
    """Result of check_mesh; lengths in world units."""

    vertices: int
    """Vertices that a face uses."""
    faces: int
    watertight: bool
    edge_manifold: bool
    vertex_manifold: bool
    oriented: bool
    outward: bool
    components: int
    genus: tuple[int | None, ...]
    """Per component, largest first; None for one that is not a closed oriented manifold."""
    boundary_edges: int
    nonmanifold_edges: int
    nonmanifold_vertices: int
    degenerate_faces: int
    duplicate_faces: int
    volume: float
    """Signed: positive with outward faces. Meaningless unless watertight."""
    area: float
    diagonal: float
    """Of the axis-aligned bounding box."""
    edge_length: Spread
    aspect_ratio: Spread
    edge_ratio: Spread


def check_mesh(vertices: F64, faces: I32) -> MeshChecks:
    """Check (V, 3) vertices and (F, 3) faces, F >= 1."""
    faces = faces.astype(np.int64)
    used = np.unique(faces)
    corners = vertices[faces]
    diagonal = float(np.linalg.norm(np.ptp(vertices[used], axis=0)))

    edges = np.stack([faces, np.roll(faces, -1, axis=1)], axis=2).reshape(-1, 2)
    key = np.sort(edges, axis=1) @ np.array([len(vertices), 1])
    distinct, number, uses = np.unique(key, return_inverse=True, return_counts=True)
    number = number.ravel()
    forward = edges[:, 0] < edges[:, 1]
    balance = np.bincount(number, np.where(forward, 1, -1))
    oriented = bool((balance[uses == 2] == 0).all() and (uses <= 2).all())

    face_of = np.repeat(np.arange(len(faces)), 3)
    label, components = _join(number, face_of, len(faces))
    bad_vertices = _pinched(faces, number, len(vertices))
    area2 = np.linalg.norm(face_normals(vertices, faces), axis=1)
    repeated = (faces == np.roll(faces, 1, axis=1)).any(axis=1)
    flat = repeated | (area2 / 2 <= DEGENERATE_AREA * diagonal**2)
    sides = np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=2)
    good = sides[~flat]
    centred = corners - vertices[used].mean(axis=0)
    volumes = np.einsum("fi,fi->f", centred[:, 0], np.cross(centred[:, 1], centred[:, 2])) / 6
    length = np.linalg.norm(vertices[distinct // len(vertices)] - vertices[distinct % len(vertices)], axis=1)
    watertight = bool((uses == 2).all())
    volume = float(volumes.sum())
    return MeshChecks(
        vertices=len(used),
        faces=len(faces),
        watertight=watertight,
        edge_manifold=bool((uses <= 2).all()),
        vertex_manifold=not len(bad_vertices),
        oriented=oriented,
        outward=oriented and watertight and volume > 0,
        components=components,
        genus=_genus(faces, label, number, uses, oriented, bad_vertices),
        boundary_edges=int((uses == 1).sum()),
        nonmanifold_edges=int((uses > 2).sum()),
        nonmanifold_vertices=len(bad_vertices),
        degenerate_faces=int(flat.sum()),
        duplicate_faces=len(faces) - len(np.unique(np.sort(faces, axis=1), axis=0)),
        volume=volume,
        area=float(area2.sum() / 2),
        diagonal=diagonal,
        edge_length=_spread(length),
        aspect_ratio=_spread(good.max(axis=1, initial=0) ** 2 * (np.sqrt(3) / 2) / area2[~flat]),
        edge_ratio=_spread(good.max(axis=1, initial=0) / good.min(axis=1, initial=np.inf)),
    )


def _spread(values: F64) -> Spread:
    if not len(values):
        return Spread(*[float("nan")] * 5)
    median, p95 = np.percentile(values, [50, 95])
    return Spread(float(values.min()), float(values.mean()), float(median), float(p95), float(values.max()))


def _join(group: np.ndarray, member: np.ndarray, members: int) -> tuple[np.ndarray, int]:
    """Label members so that those named under one group number are together; returns labels and their count."""
    order = np.argsort(group, kind="stable")
    g, m = group[order], member[order]
    same = g[1:] == g[:-1]
    links = coo_matrix((np.ones(int(same.sum()), np.int8), (m[:-1][same], m[1:][same])), (members, members))
    count, label = connected_components(links, directed=False)
    return label, int(count)


def _pinched(faces: np.ndarray, edge_number: np.ndarray, vertices: int) -> np.ndarray:
    """Vertices whose faces fall into several fans: join a face's corner to its neighbour's across each edge."""
    corner = np.arange(faces.size).reshape(-1, 3)
    start, end = corner.ravel(), np.roll(corner, -1, axis=1).ravel()
    # An edge seen from one of its two vertices is the group; its members are face corners at that vertex.
    at = np.concatenate([faces.ravel(), np.roll(faces, -1, axis=1).ravel()])
    group = np.concatenate([edge_number, edge_number]) * np.int64(vertices) + at
    label, _ = _join(group, np.concatenate([start, end]), faces.size)
    fan = np.unique(faces.ravel() * np.int64(faces.size) + label) // faces.size
    return np.flatnonzero(np.bincount(fan, minlength=vertices) > 1)


def _genus(
    faces: np.ndarray, label: np.ndarray, edge_number: np.ndarray, uses: np.ndarray, oriented: bool, bad: np.ndarray
) -> tuple[int | None, ...]:
    """Genus per component, the one with most faces first."""
    count = int(label.max()) + 1
    size = np.bincount(label, minlength=count)
    corner_label = np.repeat(label, 3)
    pairs = np.unique(corner_label * np.int64(faces.max() + 1) + faces.ravel())
    vertex_count = np.bincount(pairs // (faces.max() + 1), minlength=count)
    edge_label = np.zeros(len(uses), np.int64)
    edge_label[edge_number] = corner_label
    edge_count = np.bincount(edge_label, minlength=count)
    closed = np.bincount(edge_label, uses != 2, minlength=count) == 0
    if len(bad):
        closed[np.unique(corner_label[np.isin(faces.ravel(), bad)])] = False
    euler = vertex_count - edge_count + size
    return tuple(int(2 - euler[k]) // 2 if closed[k] and oriented else None for k in np.argsort(-size, kind="stable"))
