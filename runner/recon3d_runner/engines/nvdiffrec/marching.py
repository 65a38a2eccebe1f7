"""Marching cubes (Lorensen and Cline 1987): the zero level of a field as a closed mesh, plane by plane on all cores.

Which edges of a cell a surface crosses follows from its corners' signs. On a cell's side with four crossings the
inner corners are always joined, so that thin sheets stay whole. Two cells that share a side so draw the same lines on
it: the mesh is closed, and a manifold, whatever the field. The table of cases is made from that rule.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import combinations
from typing import Final

import numpy as np
from numba import njit

from recon3d_runner.bands import in_bands
from recon3d_runner.types import F32, F64, I32, I64, U8, U64

MOST: Final = 5
"""Triangles in a cell."""
WORD: Final = 8
"""Points whose signs, a byte each, are looked at together."""
ALL: Final = np.uint64(0x0101010101010101)
"""A word of points that are all inside."""


def _corner(number: int) -> tuple[int, int, int]:
    return number >> 2 & 1, number >> 1 & 1, number & 1


EDGES: Final = tuple((a, b) for a, b in combinations(range(8), 2) if (a ^ b) in (1, 2, 4))
"""The twelve edges of a cell by their corners; corner 4 x + 2 y + z lies at (x, y, z)."""


def _sides() -> list[list[int]]:
    """The corners of the six sides, around each, counter-clockwise as seen from outside the cell."""
    out = []
    for axis in range(3):
        for end in (0, 1):
            u, v = (axis + 1) % 3, (axis + 2) % 3
            ring = []
            for at_u, at_v in ((0, 0), (1, 0), (1, 1), (0, 1)) if end else ((0, 0), (0, 1), (1, 1), (1, 0)):
                place = [0, 0, 0]
                place[axis], place[u], place[v] = end, at_u, at_v
                ring.append(4 * place[0] + 2 * place[1] + place[2])
            out.append(ring)
    return out


@cache
def _flat() -> list[set[int]]:
    """The edges of each side."""
    return [{k for k, edge in enumerate(EDGES) if set(edge) <= set(ring)} for ring in _sides()]


def _cases() -> I32:
    """(256, MOST, 3) triangles as numbers of edges, -1 for none; bit c of a case: corner c is inside."""
    number = {frozenset(edge): k for k, edge in enumerate(EDGES)}
    table = np.full((256, MOST, 3), -1, np.int32)
    for case in range(256):
        inside = [case >> c & 1 for c in range(8)]
        following: dict[int, int] = {}
        for ring in _sides():
            # Around a side, lines lead from where the inside begins to where it ends: of two, around the outer corners.
            crossed = [(ring[k], ring[(k + 1) % 4]) for k in range(4) if inside[ring[k]] != inside[ring[(k + 1) % 4]]]
            if crossed and not inside[crossed[0][1]]:
                crossed = crossed[1:] + crossed[:1]
            ends = crossed[1::2]
            for begin, end in zip(crossed[::2], ends[-1:] + ends[:-1], strict=True):
                following[number[frozenset(begin)]] = number[frozenset(end)]
        count = 0
        while following:
            first = min(following)
            loop, edge = [first], following.pop(first)
            while edge != first:
                loop.append(edge)
                edge = following.pop(edge)
            for triangle in min(_triangulations(loop), key=_within_sides):
                table[case, count] = triangle
                count += 1
    return table


Triangles = list[tuple[int, int, int]]


def _triangulations(loop: list[int]) -> list[Triangles]:
    """All ways to make triangles of a polygon."""
    if len(loop) < 3:
        return [[]]
    return [
        [(loop[0], loop[k], loop[-1]), *left, *right]
        for k in range(1, len(loop) - 1)
        for left in _triangulations(loop[: k + 1])
        for right in _triangulations(loop[k:])
    ]


def _within_sides(triangles: Triangles) -> int:
    """How many of their edges within the polygon lie in a side of the cell, where the next cell may have the same."""
    drawn = Counter(frozenset((t[k], t[(k + 1) % 3])) for t in triangles for k in range(3))
    return sum(1 for edge, uses in drawn.items() if uses == 2 and any(edge <= side for side in _flat()))


TABLE: Final = _cases()
COUNT: Final = np.asarray((TABLE[:, :, 0] >= 0).sum(1), np.int64)
OWNER: Final = np.array([(*_corner(a), {4: 0, 2: 1, 1: 2}[a ^ b]) for a, b in EDGES], np.int64)
"""(12, 4) of every edge: where it begins within the cell, and its axis."""


def march(field: F32) -> tuple[F64, I32]:
    """Vertices, in steps of the grid from its first corner, and faces of the zero level, outward where it is positive.

    field: (n, m, l), negative inside; nothing may be inside at its border, else the mesh is open there.
    """
    planes = field.shape[0]
    words = np.zeros((*field.shape[:2], -(-field.shape[2] // WORD)), np.uint64)
    vertices, triangles = np.zeros(planes + 1, np.int64), np.zeros(planes + 1, np.int64)
    in_bands(lambda first, last: _signs(field[first:last], words[first:last].view(np.uint8)), planes)
    in_bands(lambda first, last: _count(field, words, COUNT, first, last, vertices, triangles), planes)
    np.cumsum(vertices, out=vertices)
    np.cumsum(triangles, out=triangles)
    points, faces = np.empty((int(vertices[-1]), 3)), np.empty((int(triangles[-1]), 3), np.int32)

    def fill(first: int, last: int) -> None:
        _fill(field, words, TABLE, OWNER, first, last, vertices, triangles, points, faces)

    in_bands(fill, planes)
    return points, faces


@njit(cache=True, nogil=True)
def _signs(field: F32, inside: U8) -> None:
    """1 where the field is negative, a byte a point."""
    for i in range(field.shape[0]):
        for j in range(field.shape[1]):
            row, out = field[i, j], inside[i, j]
            for k in range(field.shape[2]):
                out[k] = row[k] < 0


@njit(cache=True, nogil=True)
def _quiet(words: U64, i: int, j: int, w: int) -> bool:
    """Whether a word of points, the three beside it towards the next corner, and what follows have the same sign."""
    u, v = min(i + 1, words.shape[0] - 1), min(j + 1, words.shape[1] - 1)
    one = words[i, j, w]
    if one != 0 and one != ALL:
        return False
    if words[u, j, w] != one or words[i, v, w] != one or words[u, v, w] != one:
        return False
    if w + 1 == words.shape[2]:
        return True
    following = (
        words[i, j, w + 1] ^ one | words[u, j, w + 1] ^ one | words[i, v, w + 1] ^ one | words[u, v, w + 1] ^ one
    )
    return bool(following & np.uint64(0xFF) == 0)


@njit(cache=True, nogil=True)
def _case(field: F32, i: int, j: int, k: int) -> int:
    case = 0
    for c in range(8):
        if field[i + (c >> 2), j + (c >> 1 & 1), k + (c & 1)] < 0:
            case |= 1 << c
    return case


@njit(cache=True, nogil=True)
def _count(field: F32, words: U64, count: I64, first: int, last: int, vertices: I64, triangles: I64) -> None:
    """Set how many vertices and triangles the planes [first, last), and what is between them and the next, have."""
    n, m, h = field.shape
    for i in range(first, last):
        found, drawn = 0, 0
        for j in range(m):
            for w in range(words.shape[2]):
                if _quiet(words, i, j, w):
                    continue
                for k in range(WORD * w, min(WORD * (w + 1), h)):
                    inside = field[i, j, k] < 0
                    found += i + 1 < n and (field[i + 1, j, k] < 0) != inside
                    found += j + 1 < m and (field[i, j + 1, k] < 0) != inside
                    found += k + 1 < h and (field[i, j, k + 1] < 0) != inside
                    if i + 1 < n and j + 1 < m and k + 1 < h:
                        drawn += count[_case(field, i, j, k)]
        vertices[i + 1], triangles[i + 1] = found, drawn


@njit(cache=True, nogil=True)
def _number(field: F32, words: U64, i: int, number: int, numbers: I32, points: F64, write: bool) -> None:
    """Number the vertices on the edges that begin in plane i, in the order of their corners and axes."""
    n, m, h = field.shape
    for j in range(m):
        for w in range(words.shape[2]):
            if _quiet(words, i, j, w):
                continue
            for k in range(WORD * w, min(WORD * (w + 1), h)):
                a = field[i, j, k]
                for axis in range(3):
                    u, v, t = i + (axis == 0), j + (axis == 1), k + (axis == 2)
                    if u >= n or v >= m or t >= h:
                        continue
                    b = field[u, v, t]
                    if (a < 0) == (b < 0):
                        continue
                    numbers[j, k, axis] = number
                    if write:
                        share = float(a) / (float(a) - float(b))
                        points[number, 0] = i + share * (axis == 0)
                        points[number, 1] = j + share * (axis == 1)
                        points[number, 2] = k + share * (axis == 2)
                    number += 1


@njit(cache=True, nogil=True)
def _fill(
    field: F32,
    words: U64,
    table: I32,
    owner: I64,
    first: int,
    last: int,
    vertices: I64,
    triangles: I64,
    points: F64,
    faces: I32,
) -> None:
    """Write the vertices of the planes [first, last), and the triangles between them and the next."""
    n, m, h = field.shape
    numbers = np.empty((2, m, h, 3), np.int32)
    if first < last:
        _number(field, words, first, vertices[first], numbers[first % 2], points, True)
    for i in range(first, min(last, n - 1)):
        _number(field, words, i + 1, vertices[i + 1], numbers[(i + 1) % 2], points, i + 1 < last)
        at = triangles[i]
        for j in range(m - 1):
            for w in range(words.shape[2]):
                if _quiet(words, i, j, w):
                    continue
                for k in range(WORD * w, min(WORD * (w + 1), h - 1)):
                    case = _case(field, i, j, k)
                    for t in range(MOST):
                        if table[case, t, 0] < 0:
                            break
                        for c in range(3):
                            e = table[case, t, c]
                            plane = (i + owner[e, 0]) % 2
                            faces[at, c] = numbers[plane, j + owner[e, 1], k + owner[e, 2], owner[e, 3]]
                        at += 1
