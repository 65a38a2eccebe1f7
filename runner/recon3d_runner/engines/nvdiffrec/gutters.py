"""Colours for the texels between charts: filters and mip levels that reach over an edge must find no foreign ones."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

from recon3d_runner.types import F32, Bool

RINGS: Final = 32
"""Texels around a chart that take its colours: what the mip levels in use can reach."""


@njit(cache=True, nogil=True)
def _bleed(colour: F32, inside: Bool, rings: int) -> None:
    """Hand colours outward by `rings` texels, ring by ring, and give the rest their mean; in place."""
    size = inside.shape[0]
    known = inside.copy()
    front = np.empty((0, 2), np.int32)
    total = np.zeros(3)
    count = 0
    for j in range(size):
        for i in range(size):
            if inside[j, i]:
                count += 1
                for k in range(3):
                    total[k] += colour[j, i, k]
    for ring in range(rings):
        # The first ring lies beside the charts, each other one beside the ring before.
        limit = size * size if ring == 0 else front.shape[0]
        found = 0
        for phase in range(2):
            if phase == 1:
                following = np.empty((found, 2), np.int32)
                found = 0
            for n in range(limit):
                y, x = (n // size, n % size) if ring == 0 else (front[n, 0], front[n, 1])
                if ring == 0 and not inside[y, x]:
                    continue
                for dy, dx in ((-1, 0), (0, -1), (0, 1), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1)):
                    j, i = y + dy, x + dx
                    if j < 0 or i < 0 or j >= size or i >= size or known[j, i]:
                        continue
                    if phase == 0:
                        found += 1  # an upper bound: a texel may be met from several sides
                    else:
                        known[j, i] = True
                        colour[j, i] = colour[y, x]
                        following[found, 0], following[found, 1] = j, i
                        found += 1
        front = following[:found]
        if found == 0:
            break
    mean = (total / max(count, 1)).astype(np.float32)
    for j in range(size):
        for i in range(size):
            if not known[j, i]:
                colour[j, i] = mean


def spread(colour: F32, inside: Bool) -> F32:
    """Give gutter texels the colour of an inside texel nearby, those far from all charts the mean colour."""
    out: F32 = colour.copy()
    _bleed(out, inside, RINGS)
    return out
