"""Work on bands of rows side by side, by kernels that release the interpreter lock; bands never depend on threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import numpy as np

T = TypeVar("T")

PARTS: Final = 16
"""Always so many, whatever the machine: what depends on where a band ends is the same everywhere."""
_POOL: Final = ThreadPoolExecutor(os.cpu_count() or 1)
"""One for all, so that no more threads compute than there are cores, however many callers wait."""


def in_bands(work: Callable[[int, int], T], count: int, parts: int = PARTS) -> list[T]:
    """Return `work(first, last)` of `parts` bands that make up range(count), in order. `work` may not call this."""
    ends = np.linspace(0, count, parts + 1).astype(int).tolist()
    return list(_POOL.map(work, ends[:-1], ends[1:]))
