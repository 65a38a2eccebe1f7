"""The nearest marked pixel of every pixel, exactly: lower envelopes of parabolas, row by row (Felzenszwalb 2012).

SciPy's transform says the same in several times the time.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recon3d_runner.types import F32, I32, Bool


def nearest_marked(marked: Bool) -> tuple[F32, I32]:
    """(n, m) distance to the nearest of the `marked` pixels, and its flat index; (inf, -1) where there is none.

    Of several that are as near, the one further up in its column, and the leftmost of those.
    """
    distance, index = np.empty(marked.shape, np.float32), np.empty(marked.shape, np.int32)
    _in_columns(np.ascontiguousarray(marked), index)
    _in_rows(index, distance)
    return distance, index


@njit(cache=True, nogil=True)
def _in_columns(marked: Bool, row: I32) -> None:
    """The nearest marked row of every pixel's own column, -1 for none."""
    n, m = marked.shape
    last = np.full(m, -1, np.int32)
    for j in range(n):
        for i in range(m):
            last[i] = j if marked[j, i] else last[i]
            row[j, i] = last[i]
    last[:] = -1
    for j in range(n - 1, -1, -1):
        for i in range(m):
            last[i] = j if marked[j, i] else last[i]
            above, below = row[j, i], last[i]
            nearer = below >= 0 and (above < 0 or below - j < j - above)
            row[j, i] = below if nearer else above


@njit(cache=True, nogil=True)
def _in_rows(index: I32, distance: F32) -> None:
    """From the columns' nearest rows to flat indices and distances, in place."""
    n, m = index.shape
    square = np.empty(m)
    column = np.empty(m, np.int32)
    border = np.empty(m + 1)
    row = np.empty(m, np.int32)
    for j in range(n):
        count = 0
        for i in range(m):
            row[i] = index[j, i]
            if row[i] < 0:
                continue
            square[i] = float(row[i] - j) ** 2
            # Where this column's parabola goes below the last one's that is left.
            at = -np.inf
            while count > 0:
                k = column[count - 1]
                at = (square[i] - square[k] + float(i * i - k * k)) / (2.0 * (i - k))
                if at > border[count - 1]:
                    break
                count -= 1
                at = -np.inf
            column[count], border[count] = i, at
            count += 1
        border[count] = np.inf
        k = 0
        for i in range(m):
            if count == 0:
                index[j, i], distance[j, i] = -1, np.inf
                continue
            while border[k + 1] < i:
                k += 1
            c = column[k]
            index[j, i] = row[c] * m + c
            distance[j, i] = np.sqrt(square[c] + float(i - c) ** 2)
