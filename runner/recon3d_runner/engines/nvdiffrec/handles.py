"""Handles too small for the carving grid go: pinholes and bridges of a voxel or two, where outlines nearly touch.

A tree of the vertices and a tree of the faces that crosses none of its edges leave two edges a handle (Eppstein 2003);
each closes a loop through the first tree that does not divide the surface. Where such a loop is short, and so is the
way from its one side to the other, the surface is cut along it and both rims are closed. A thin ring stays, since one
way around it is long, and so does a small hole through a sheet.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numba import njit
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from recon3d_runner.engines.nvdiffrec.level_set import compact, components, representative
from recon3d_runner.engines.nvdiffrec.remesh import edge_table, incident
from recon3d_runner.engines.nvdiffrec.repair import repair
from recon3d_runner.types import F64, I32, I64


def genus(faces: I32, count: int) -> int:
    """Handles of a closed mesh of `count` vertices, all of which it uses, over all its components."""
    _, parts = components(faces, count)
    return parts - (count - len(faces) // 2) // 2


def without_small(vertices: F64, faces: I32, size: float) -> tuple[F64, I32]:
    """The closed mesh without the handles around which both ways, along and across, are no longer than `size`."""
    vertices, faces = compact(vertices, faces)
    for _ in range(genus(faces, len(vertices))):
        edges, wings = edge_table(faces)
        for loop in _loops(edges, wings, len(vertices), len(faces), 0):
            # From where it closes it is found again, without the detours of a tree that is rooted elsewhere.
            again = _loops(edges, wings, len(vertices), len(faces), int(loop[0]))
            short = min((loop, *again), key=partial(_length, vertices))
            if _length(vertices, short) > size:
                continue
            points, parted = _cut(vertices, faces, short)
            if _across(points, parted, short) <= size:
                vertices, faces = _close(points, parted, short)
                vertices, _ = repair(vertices, faces)  # the two sides still lie on each other
                break
        else:
            break
    return vertices, faces


def _length(vertices: F64, loop: I64) -> float:
    return float(np.linalg.norm(vertices[loop] - vertices[np.roll(loop, 1)], axis=1).sum())


def _across(points: F64, parted: I32, loop: I64) -> float:
    """How long the way from one side of a cut to the other is."""
    ends = parted[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    length = np.linalg.norm(points[ends[:, 0]] - points[ends[:, 1]], axis=1)
    graph = coo_array((length, ends.T), shape=(len(points), len(points)))
    twins = np.arange(len(points) - len(loop), len(points))
    return float(dijkstra(graph.tocsr(), directed=False, indices=twins, min_only=True)[loop].min())


def _loops(edges: I32, wings: I32, count: int, faces: int, root: int) -> list[I64]:
    """Two loops a handle, each as vertices in order, through a tree of shortest ways from `root`."""
    parent, depth, left = _trees(edges, wings, count, faces, root)
    return [_closed(int(a), int(b), parent, depth) for a, b in edges[left]]


def _closed(a: int, b: int, parent: I32, depth: I32) -> I64:
    """The loop that edge (a, b) closes with the tree."""
    one, other = [a], [b]
    while one[-1] != other[-1]:
        longer = one if depth[one[-1]] >= depth[other[-1]] else other
        longer.append(int(parent[longer[-1]]))
    return np.array(one + other[-2::-1], np.int64)


@njit(cache=True, nogil=True)
def _trees(edges: I32, wings: I32, count: int, faces: int, root: int) -> tuple[I32, I32, I32]:
    """(V,) each vertex' parent and depth, by breadth from `root`; and the edges that neither tree has."""
    start, at = incident(edges, count)
    parent, depth = np.full(count, -1, np.int32), np.full(count, -1, np.int32)
    used = np.zeros(len(edges), np.bool_)
    queue = np.empty(count, np.int32)
    for first in range(-1, count):
        v = root if first < 0 else first
        if depth[v] >= 0:
            continue
        depth[v], queue[0], head, tail = 0, v, 0, 1
        while head < tail:
            v = queue[head]
            head += 1
            for s in range(start[v], start[v + 1]):
                e = at[s]
                w = edges[e, 0] + edges[e, 1] - v
                if depth[w] < 0:
                    depth[w], parent[w], used[e], queue[tail] = depth[v] + 1, v, True, w
                    tail += 1
    # Faces, those of the farthest edges first, so that what is left closes short loops.
    far = np.empty(len(edges), np.int32)
    for e in range(len(edges)):
        far[e] = -(depth[edges[e, 0]] + depth[edges[e, 1]])
    group = np.arange(faces)
    for e in np.argsort(far, kind="mergesort"):
        if used[e]:
            continue
        f, g = representative(group, wings[e, 0]), representative(group, wings[e, 1])
        if f != g:
            group[max(f, g)] = min(f, g)
            used[e] = True
    return parent, depth, np.nonzero(~used)[0].astype(np.int32)


def _cut(vertices: F64, faces: I32, loop: I64) -> tuple[F64, I32]:
    """Part the faces on the right of the loop from those on its left; its vertices' twins come last, in order."""
    start, around = incident(faces, len(vertices))
    parted = faces.copy()
    for k, v in enumerate(loop.tolist()):
        # The fan of v on the right, from the way ahead to the way behind.
        spoke, behind = int(loop[(k + 1) % len(loop)]), int(loop[k - 1])
        while spoke != behind:
            for f in around[start[v] : start[v + 1]]:
                c = int(np.flatnonzero(faces[f] == v)[0])
                if faces[f, (c + 2) % 3] == spoke:
                    parted[f, c], spoke = len(vertices) + k, int(faces[f, (c + 1) % 3])
                    break
    return np.concatenate([vertices, vertices[loop]]), parted


def _close(points: F64, parted: I32, loop: I64) -> tuple[F64, I32]:
    """Close both rims of a cut, each around a new vertex in its middle."""
    count, number = len(points), len(loop)
    twins = np.arange(count - number, count)
    left = np.stack([np.roll(loop, -1), loop, np.full(number, count)], axis=1)
    right = np.stack([twins, np.roll(twins, -1), np.full(number, count + 1)], axis=1)
    middle = points[loop].mean(0)
    return np.concatenate([points, [middle, middle]]), np.concatenate([parted, left, right]).astype(np.int32)
