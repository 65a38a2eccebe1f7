"""Sums that do not depend on the order in which threads add: floats become integers first."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

BITS: Final = 40
"""Of a fraction: numbers up to 2^22, or 2^22 numbers up to 1, add up without an overflow."""
SCALE: Final = float(1 << BITS)


def fixed(value: Tensor) -> Tensor:
    """Numbers of about 1 as integers."""
    return (value.double() * SCALE).round().long()


def add_at(total: Tensor, index: Tensor, value: Tensor) -> None:
    """total[index] += value, in place: total (N, C) int64, index (K,), value (K, C) of about 1."""
    total.index_add_(0, index, fixed(value))


def floating(total: Tensor) -> Tensor:
    """What was summed, as float64."""
    return total.double() / SCALE


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Sum of the products in float64, a tensor without dimensions."""
    return (a * b).sum(dtype=torch.float64)
