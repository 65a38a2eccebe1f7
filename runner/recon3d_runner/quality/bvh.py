"""Pairs of overlapping axis-aligned boxes, by an implicit binary tree over boxes sorted along a Morton curve.

The tree is complete: node k has children 2k + 1 and 2k + 2, its leaves are the sorted boxes padded to a power of
two with empty ones. Building it is a handful of numpy reductions; walking it is one numba kernel.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from recon3d_runner.quality.jit import kernel
from recon3d_runner.types import F64, I32

T = TypeVar("T")

ABREAST: Final = 16
"""Blocks of boxes that are looked at side by side."""


@dataclass(frozen=True)
class BoxTree:
    """Boxes of D dimensions in a complete binary tree."""

    low: F64
    """(nodes, D) smallest corner per node; +inf for an empty one."""
    high: F64
    """(nodes, D) largest corner per node; -inf for an empty one."""
    order: I32
    """(N,) box number at each leaf."""


def build(low: F64, high: F64) -> BoxTree:
    """Build the tree over N >= 1 boxes given by their corners, each (N, D) with D = 2 or 3."""
    order = np.argsort(_morton((low + high) / 2), kind="stable").astype(np.int32)
    leaves = 1 << max(len(order) - 1, 0).bit_length()
    dimension = low.shape[1]
    tree_low = np.full((2 * leaves - 1, dimension), np.inf)
    tree_high = np.full((2 * leaves - 1, dimension), -np.inf)
    tree_low[leaves - 1 : leaves - 1 + len(order)] = low[order]
    tree_high[leaves - 1 : leaves - 1 + len(order)] = high[order]
    first = leaves - 1
    while first > 0:
        parent = (first - 1) // 2
        children = slice(first, 2 * first + 1)
        tree_low[parent:first] = tree_low[children].reshape(-1, 2, dimension).min(axis=1)
        tree_high[parent:first] = tree_high[children].reshape(-1, 2, dimension).max(axis=1)
        first = parent
    return BoxTree(tree_low, tree_high, order)


def _morton(points: F64) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
    """(N,) Morton code of each point on a 2^20 grid over their bounds."""
    low = points.min(axis=0)
    extent = float((points.max(axis=0) - low).max()) or 1.0
    cell = np.minimum((points - low) * ((1 << 20) / extent), (1 << 20) - 1).astype(np.uint64)
    code = np.zeros(len(points), np.uint64)
    dimension = points.shape[1]
    for bit in range(20):
        for axis in range(dimension):
            code |= ((cell[:, axis] >> np.uint64(bit)) & np.uint64(1)) << np.uint64(dimension * bit + axis)
    return code


def overlapping_pairs(tree: BoxTree, block: int = 16384) -> Iterator[I32]:
    """Yield (K, 2) arrays of box numbers whose closed boxes meet; each pair once, in a fixed order."""
    return judged_pairs(tree, lambda pairs: pairs, block)


def judged_pairs(tree: BoxTree, judge: Callable[[I32], T], block: int = 4096) -> Iterator[T]:
    """Yield what `judge` says of each array of overlapping pairs, in their order; several are looked at side by side.

    One array per `block` boxes, so that a hopeless soup does not take all memory before the caller can stop.
    """

    def one(first: int) -> T:
        return judge(_walk(tree.low, tree.high, tree.order, first, min(first + block, len(tree.order))))

    firsts = range(0, len(tree.order), block)
    with ThreadPoolExecutor(max_workers=min(ABREAST, os.cpu_count() or 1)) as pool:
        for k in range(0, len(firsts), ABREAST):
            yield from pool.map(one, firsts[k : k + ABREAST])


@kernel
def _walk(low: F64, high: F64, order: I32, first: int, last: int) -> I32:
    """(K, 2) pairs of the boxes first..last (sorted places) and those behind them that they meet."""
    leaves = (len(low) + 1) // 2
    dimension = low.shape[1]
    pairs = np.empty((16 * (last - first), 2), np.int32)
    found = 0
    stack = np.empty(128, np.int64)
    for place in range(first, last):
        query = leaves - 1 + place
        stack[0] = 0
        top = 1
        while top > 0:
            top -= 1
            node = stack[top]
            meet = True
            for axis in range(dimension):
                if low[node, axis] > high[query, axis] or high[node, axis] < low[query, axis]:
                    meet = False
            if not meet:
                continue
            if node >= leaves - 1:
                other = node - (leaves - 1)
                if other > place:
                    if found == len(pairs):
                        pairs = np.concatenate((pairs, np.empty_like(pairs)))
                    pairs[found, 0], pairs[found, 1] = order[place], order[other]
                    found += 1
                continue
            # Leaves under a node end before `place`: nothing new there. Depth-first keeps the order fixed.
            end = node
            while end < leaves - 1:
                end = 2 * end + 2
            if end - (leaves - 1) <= place:
                continue
            stack[top] = 2 * node + 2
            stack[top + 1] = 2 * node + 1
            top += 2
    return pairs[:found]
