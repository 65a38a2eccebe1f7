"""Pass 2 in torch: texture.py's least-squares problem and its conjugate gradients, on a device.

The pyramid's levels lie one after the other in one array of texels. Every sample reads up to eight of them: their
places and weights are found once, in batches that shrink where memory runs out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
import torch
from torch import Tensor

from recon3d_runner.engines.nvdiffrec.on_device.sums import BITS, dot

if TYPE_CHECKING:
    from recon3d_runner.engines.nvdiffrec.texture import Samples
    from recon3d_runner.types import F32

T = TypeVar("T")

BATCH: Final = 1 << 20
"""Samples at a time."""
LEAST_BATCH: Final = 1 << 14
"""Smaller batches save no memory worth having."""


@dataclass(frozen=True)
class _Batch:
    place: Tensor
    """(N, 8) int32, into the texels of all levels."""
    share: Tensor
    """(N, 8)."""
    colour: Tensor
    weight: Tensor

    def halves(self) -> tuple[_Batch, _Batch]:
        """The same samples in two batches."""
        middle = (len(self.weight) + 1) // 2
        parts = (slice(None, middle), slice(middle, None))
        first, second = (_Batch(self.place[k], self.share[k], self.colour[k], self.weight[k]) for k in parts)
        return first, second


class System:
    """S and its transpose over all views; see texture._System."""

    def __init__(self, samples: Sequence[Samples], size: int, depth: int, device: torch.device) -> None:
        self.size, self.depth, self.device = size, depth, device
        self.sides = [size >> k for k in range(depth)]
        self.starts = [0]
        for side in self.sides:
            self.starts.append(self.starts[-1] + side * side)
        self.batch = BATCH
        self.parts: list[_Batch] = []
        for s in samples:
            self.parts += self._upload(s)

    def _upload(self, samples: Samples) -> list[_Batch]:
        def work() -> list[_Batch]:
            pieces = (slice(at, at + self.batch) for at in range(0, len(samples.weight), self.batch))
            return [self._footprint(samples.place[k], samples.colour[k], samples.weight[k]) for k in pieces]

        return self._with_memory(work)

    def _with_memory(self, work: Callable[[], T]) -> T:
        """Run `work`, with batches half as large each time that memory does not suffice."""
        while True:
            try:
                return work()
            except torch.OutOfMemoryError:
                if self.batch <= LEAST_BATCH:
                    raise
                self.batch //= 2
                self.parts = [half for part in self.parts for half in part.halves()]
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()

    def _footprint(self, place: F32, colour: F32, weight: F32) -> _Batch:
        at = torch.from_numpy(np.ascontiguousarray(place)).to(self.device)
        top = self.depth - 1
        level = at[:, 2].clamp(max=float(top))
        low = level.floor()
        part = level - low
        sides = torch.tensor(self.sides, device=self.device)
        starts = torch.tensor(self.starts[:-1], device=self.device)
        places, shares = [], []
        for step in (0, 1):
            m = (low.long() + step).clamp(max=top)
            n = sides[m]
            x = at[:, :2] * torch.exp2(-m.float())[:, None] - 0.5
            corner = x.floor()
            fx, fy = (x - corner).unbind(1)
            whole = corner.long()
            weights = part if step else 1 - part
            for dj, wy in ((0, 1 - fy), (1, fy)):
                row = torch.minimum((whole[:, 1] + dj).clamp(min=0), n - 1)
                for di, wx in ((0, 1 - fx), (1, fx)):
                    column = torch.minimum((whole[:, 0] + di).clamp(min=0), n - 1)
                    places.append((starts[m] + row * n + column).int())
                    shares.append(weights * wy * wx)
        return _Batch(
            torch.stack(places, 1),
            torch.stack(shares, 1),
            torch.from_numpy(np.ascontiguousarray(colour)).to(self.device),
            torch.from_numpy(np.ascontiguousarray(weight)).to(self.device),
        )

    def pyramid(self, texture: Tensor) -> Tensor:
        """All levels of (T, T, 3), one after the other: (N, 3)."""
        levels = [texture]
        for side in self.sides[1:]:
            levels.append(levels[-1].reshape(side, 2, side, 2, 3).mean((1, 3)))
        return torch.cat([level.reshape(-1, 3) for level in levels])

    def _collapse(self, sums: Tensor, scale: Tensor) -> Tensor:
        """Transpose of `pyramid`: hand every coarse texel's sum down to its four children."""
        coarse: Tensor | None = None
        for k in range(self.depth - 1, -1, -1):
            side = self.sides[k]
            here = (sums[self.starts[k] : self.starts[k + 1]] / scale).float().reshape(side, side, 3)
            if coarse is not None:
                n = side // 2
                here.reshape(n, 2, n, 2, 3).add_(0.25 * coarse[:, None, :, None])
            coarse = here
        assert coarse is not None  # noqa: S101 - there is at least level 0
        return coarse

    def residual(self, texture: Tensor, target: bool) -> tuple[Tensor, Tensor]:
        """S' W (C - S T) with `target`, else S' W S T; and the weighted sum of squares of the pixel values."""
        return self._with_memory(lambda: self._residual(texture, target))

    def _residual(self, texture: Tensor, target: bool) -> tuple[Tensor, Tensor]:
        texels = self.pyramid(texture)
        # Sums of integers: 2^22 samples on one texel do not overflow.
        largest = texels.abs().max().double() + (1.0 if target else 0.0)
        scale = torch.exp2(torch.floor(BITS - torch.log2(largest.clamp(min=1e-30))))
        sums = torch.zeros(texels.shape, dtype=torch.int64, device=self.device)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for part in self.parts:
            at = part.place.long()
            value = (texels[at] * part.share[..., None]).sum(1)
            if target:
                value = part.colour - value
            total += dot(part.weight[:, None] * value, value)
            value = value * part.weight[:, None]
            for k in range(8):
                whole = ((value * part.share[:, k : k + 1]).double() * scale).round().long()
                sums.index_add_(0, at[:, k], whole)
        return self._collapse(sums, scale), total


def solve(
    system: System, start: F32, iterations: int, prior: float, tick: Callable[[int, float], None], tolerance: float
) -> tuple[F32, float, list[float]]:
    """Conjugate gradients from `start`; see texture.optimise.

    Returns what to add to `start`, the first sum of squares and those after every iteration. `tick` hears of each.
    """
    texture = torch.from_numpy(start).to(system.device)
    r, square = system.residual(texture, target=True)
    first = float(square)
    left = first
    x, p = torch.zeros_like(r), r.clone()
    rr = float(dot(r, r))
    least = tolerance * rr
    squares: list[float] = []
    for it in range(iterations):
        q, _ = system.residual(p, target=False)
        q += prior * p
        alpha = rr / max(float(dot(p, q)), 1e-30)
        x += alpha * p
        r -= alpha * q
        new = float(dot(r, r))
        left -= alpha * rr
        squares.append(max(left, 0.0))
        tick(it, squares[-1])
        if not np.isfinite(new):
            raise FloatingPointError("the texture pass left the finite numbers")
        if new < least:
            break
        p *= new / rr
        p += r
        rr = new
    return x.cpu().numpy(), first, squares
