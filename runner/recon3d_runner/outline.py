"""The outline of a coverage image: where it crosses one half, to a fraction of a pixel (marching squares).

scikit-image's `find_contours` says the same, but links its pieces in Python under the interpreter's lock, which six
views at once wait for.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recon3d_runner.crop import around
from recon3d_runner.types import F32, F64, I32

HALF = np.float32(0.5)


def outlines(alpha: F32) -> list[F64]:
    """Closed lines (N, 2) of rows and columns, the last point being the first, in pixels with centres at integers.

    Beyond the image there is nothing, so that what its border cuts ends half a pixel outside. Coverage is on the same
    side of all lines. They begin, in rows from above, where one is first met.
    """
    # A pixel more on every side, and one that the picture's border may lack.
    rows, columns = around(np.pad(alpha > HALF, 1), 1)
    part = np.ascontiguousarray(np.pad(alpha, 1)[rows, columns])
    following = np.full(2 * part.size, -1, np.int32)
    begins = _link(part, following)
    points, ends = _trace(part, following, begins)
    points += (rows.start - 1, columns.start - 1)
    return np.split(points, ends[:-1]) if len(ends) else []


@njit(cache=True, nogil=True)
def _join(following: I32, begins: I32, count: int, start: int, end: int) -> int:
    following[start] = end
    begins[count] = start
    return count + 1


@njit(cache=True, nogil=True)
def _link(image: F32, following: I32) -> I32:
    """Set which crossed edge follows each crossed edge; returns the edges in the order of the cells.

    Edge number r * width + c leads from pixel (r, c) to the right, and image.size more from it downward.
    """
    n, m = image.shape
    size = n * m
    begins = np.empty(1024, np.int32)
    count = 0
    for r in range(n - 1):
        for c in range(m - 1):
            case = 0
            if image[r, c] > HALF:
                case += 1
            if image[r, c + 1] > HALF:
                case += 2
            if image[r + 1, c] > HALF:
                case += 4
            if image[r + 1, c + 1] > HALF:
                case += 8
            if case == 0 or case == 15:
                continue
            if count + 2 > len(begins):
                begins = np.concatenate((begins, np.empty_like(begins)))
            top, bottom = r * m + c, (r + 1) * m + c
            left, right = size + r * m + c, size + r * m + c + 1
            if case == 1 or case == 9:
                count = _join(following, begins, count, top, left)
            if case == 2 or case == 6:
                count = _join(following, begins, count, right, top)
            if case == 4 or case == 6:
                count = _join(following, begins, count, left, bottom)
            if case == 8 or case == 9:
                count = _join(following, begins, count, bottom, right)
            if case == 3:
                count = _join(following, begins, count, right, left)
            elif case == 5:
                count = _join(following, begins, count, top, bottom)
            elif case == 7:
                count = _join(following, begins, count, right, bottom)
            elif case == 10:
                count = _join(following, begins, count, bottom, top)
            elif case == 11:
                count = _join(following, begins, count, bottom, left)
            elif case == 12:
                count = _join(following, begins, count, left, right)
            elif case == 13:
                count = _join(following, begins, count, top, right)
            elif case == 14:
                count = _join(following, begins, count, left, top)
    return begins[:count]


@njit(cache=True, nogil=True)
def _trace(image: F32, following: I32, begins: I32) -> tuple[F64, I32]:
    """Points (N, 2) of all lines, one after the other, and where each ends; uses up `following`."""
    m = image.shape[1]
    points = np.empty((2 * len(begins), 2))
    ends = np.empty(len(begins), np.int32)
    count, lines = 0, 0
    for start in begins:
        if following[start] < 0:
            continue
        first, edge = count, start
        while edge >= 0:
            down = edge >= image.size
            at = edge - image.size if down else edge
            r, c = at // m, at % m
            a = float(image[r, c])
            b = float(image[r + 1, c] if down else image[r, c + 1])
            share = (0.5 - a) / (b - a)
            points[count, 0], points[count, 1] = (r + share, float(c)) if down else (float(r), c + share)
            count += 1
            after = following[edge]
            following[edge] = -1
            edge = after
        # The walk ends where the line began, whose edge has no follower any more: its point is there once more.
        points[count - 1] = points[first]
        ends[lines] = count
        lines += 1
    return points[:count], ends[:lines]
