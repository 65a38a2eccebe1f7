"""Colours for the texels between charts: filters and mip levels that reach over an edge must find no foreign ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit

from recon3d_runner.bands import in_bands
from recon3d_runner.types import F32, F64, I32, Bool

RINGS: Final = 32
"""Texels around a chart that take its colours: what the mip levels in use can reach."""


@dataclass(frozen=True)
class Gutters:
    """Where the texels outside all charts take their colours from."""

    source: I32
    """(T, T) flat index of a chart's texel nearby, of the texel itself in a chart, -1 far from all charts."""


def gutters(inside: Bool) -> Gutters:
    """Plan for charts that cover the texels `inside` (T, T)."""
    source = np.where(inside, np.arange(inside.size, dtype=np.int32).reshape(inside.shape), np.int32(-1))
    _grow(source, RINGS)
    return Gutters(source)


@njit(cache=True, nogil=True)
def _grow(source: I32, rings: int) -> None:
    """Hand sources outward by `rings` texels, ring by ring; in place."""
    size = source.shape[0]
    front = np.empty(1 << 16, np.int32)
    count = 0
    for j in range(size):
        for i in range(size):
            if source[j, i] < 0:
                continue
            if (
                (i > 0 and source[j, i - 1] < 0)
                or (i < size - 1 and source[j, i + 1] < 0)
                or (j > 0 and source[j - 1, i] < 0)
                or (j < size - 1 and source[j + 1, i] < 0)
            ):
                if count == front.shape[0]:
                    front = np.concatenate((front, np.empty_like(front)))
                front[count] = j * size + i
                count += 1
    for _ in range(rings):
        following = np.empty(max(8 * count, 1), np.int32)
        found = 0
        for n in range(count):
            y, x = front[n] // size, front[n] % size
            for dj in range(-1, 2):
                for di in range(-1, 2):
                    j, i = y + dj, x + di
                    if j < 0 or i < 0 or j >= size or i >= size or source[j, i] >= 0:
                        continue
                    source[j, i] = source[y, x]
                    following[found] = j * size + i
                    found += 1
        front, count = following, found
        if count == 0:
            break


@njit(cache=True, nogil=True)
def _sum(flat: F32, planned: I32, first: int, last: int) -> tuple[F64, int]:
    """Sum and number of the charts' colours among texels [first, last)."""
    total = np.zeros(3)
    count = 0
    for n in range(first, last):
        if planned[n] == n:
            count += 1
            for k in range(3):
                total[k] += flat[n, k]
    return total, count


@njit(cache=True, nogil=True)
def _spread(flat: F32, planned: I32, mean: F32, first: int, last: int) -> None:
    for n in range(first, last):
        if planned[n] != n:
            for k in range(3):
                flat[n, k] = flat[planned[n], k] if planned[n] >= 0 else mean[k]


def spread(colour: F32, plan: Gutters) -> F32:
    """Give gutter texels the colour of a chart's texel nearby, those far from all charts the mean colour; in place."""
    flat, planned = colour.reshape(-1, 3), plan.source.ravel()
    sums = in_bands(lambda first, last: _sum(flat, planned, first, last), len(planned))
    total, count = sum(s for s, _ in sums), sum(n for _, n in sums)
    mean = np.asarray(total / max(count, 1), np.float32)
    in_bands(lambda first, last: _spread(flat, planned, mean, first, last), len(planned))
    return colour
