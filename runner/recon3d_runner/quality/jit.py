"""numba's decorator with a type, so that kernels stay typed functions for their callers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def kernel(function: F) -> F:
    """Compile on first use, cached on disk, without the GIL and without fast-math (exactness needs IEEE order)."""
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy")(function))
