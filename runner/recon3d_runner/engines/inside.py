"""What of space a mesh holds, also one that is open, crosses itself or has walls inside.

Along many parallel lines every face that the line crosses opens or closes the solid; a point is inside where most
of six counts, two directions along each axis, say so. Counting signed crossings survives doubled and crossing
walls, the vote survives holes: a line through a hole misleads one or two counts of six.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recon3d_runner.types import F32, F64, I32


@njit(cache=True, nogil=True)
def _crossings(vertices: F64, faces: I32, n: int, counts: I32) -> None:
    """Add to `counts` (n, n, n + 1) every signed crossing of the lines along the last axis through cell centres.

    vertices: in cells. A face that a line crosses upward (its normal looks along the line) closes, else it opens;
    counts[i, j, k] belongs to the first cell centre k that lies behind the crossing.
    """
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        xa, ya, za = vertices[a, 0], vertices[a, 1], vertices[a, 2]
        xb, yb, zb = vertices[b, 0], vertices[b, 1], vertices[b, 2]
        xc, yc, zc = vertices[c, 0], vertices[c, 1], vertices[c, 2]
        area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
        if area == 0.0:
            continue
        i0, i1 = int(np.ceil(min(xa, xb, xc) - 0.5)), int(np.floor(max(xa, xb, xc) - 0.5))
        j0, j1 = int(np.ceil(min(ya, yb, yc) - 0.5)), int(np.floor(max(ya, yb, yc) - 0.5))
        for i in range(max(i0, 0), min(i1, n - 1) + 1):
            for j in range(max(j0, 0), min(j1, n - 1) + 1):
                # A tiny shift, the same for all faces, keeps lines off vertices and edges.
                x, y = i + 0.5 + 1.37e-7, j + 0.5 + 2.11e-7
                wb = ((x - xa) * (yc - ya) - (xc - xa) * (y - ya)) / area
                wc = ((xb - xa) * (y - ya) - (x - xa) * (yb - ya)) / area
                if wb < 0.0 or wc < 0.0 or wb + wc > 1.0:
                    continue
                z = za + wb * (zb - za) + wc * (zc - za)
                k = min(max(int(np.ceil(z - 0.5)), 0), n)
                counts[i, j, k] += 1 if area < 0.0 else -1


def inside_votes(vertices: F64, faces: I32, n: int) -> F32:
    """(n, n, n) share of six counts that hold each cell's centre to be inside. vertices: in cells."""
    votes = np.zeros((n, n, n), np.float32)
    for axis in range(3):
        order = [(axis + 1) % 3, (axis + 2) % 3, axis]
        counts = np.zeros((n, n, n + 1), np.int32)
        _crossings(np.ascontiguousarray(vertices[:, order]), faces, n, counts)
        below = np.cumsum(counts, axis=2, dtype=np.int32)[:, :, :n]
        above = below - counts.sum(2, keepdims=True, dtype=np.int32)  # as counted from the far end
        share = ((below > 0).astype(np.float32) + (above > 0)) / 6
        votes += np.moveaxis(share, (0, 1, 2), order)
    return votes
