"""CUDA back ends of the port: a library decides which face a pixel sees, float64 arithmetic where it sees it.

The libraries differ in one function, so that they stand side by side as functions of one kind (`Visible`). None is a
dependency of this project; each is imported where it is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from recon3d_contract.errors import Code, Recon3dError

from recon3d_runner.raster.port import Fragments
from recon3d_runner.types import F64, I32

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    Visible = Callable[[Tensor, Tensor, int], Tensor]
    """Points (V, 3) float64 and faces (F, 3) int32, none empty, to the row of `faces` that each pixel sees, -1 for
    none: (n, n), of an integer type."""


class OnDevice:
    """Z-buffering on a CUDA device. Threads take turns: a library may keep buffers between calls."""

    def __init__(self, name: str, open_library: Callable[[torch.device], Visible], device: str = "cuda:0") -> None:
        """Open `device`. Raises ENGINE_UNAVAILABLE without the packages, GPU_UNAVAILABLE without the device."""
        try:
            import torch

            self._device = torch.device(device)
            if not torch.cuda.is_available() and self._device.type == "cuda":
                raise Recon3dError(Code.GPU_UNAVAILABLE, "No usable CUDA device was found.")
            self._visible = open_library(self._device)
        except ImportError as error:  # also what a build for another torch raises: a missing symbol
            raise Recon3dError(
                Code.ENGINE_UNAVAILABLE,
                f"The rasteriser {name} is not installed, or does not fit the installed torch.",
                {"reason": str(error).partition("\n")[0]},
                f"Install {name} for this torch, or use the device cpu.",
            ) from error
        self.name = name
        self._lock = Lock()

    @property
    def device(self) -> torch.device:
        """See TensorRasteriser."""
        return self._device

    def rasterize(self, points: F64, faces: I32, size: int) -> Fragments:
        """See Rasteriser. ValueError for more faces than the library can number."""
        import torch

        p = torch.from_numpy(np.ascontiguousarray(points, np.float64)).to(self._device)
        f = torch.from_numpy(np.ascontiguousarray(faces, np.int32)).to(self._device)
        face, depth, bary = self.draw(p, f, size)
        return Fragments(face.cpu().numpy(), depth.cpu().numpy(), bary.cpu().numpy())

    def draw(self, points: Tensor, faces: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """See TensorRasteriser."""
        import torch

        with self._lock, torch.no_grad():
            x, y, z = (points[:, k][faces.long()] for k in range(3))  # (F, 3) each
            area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
            # Hardware would clip a face at the camera's plane; the port's rule is to leave it out.
            kept = torch.nonzero((z > 0).all(1) & (area != 0) & torch.isfinite(area))[:, 0]
            face = torch.full((size, size), -1, dtype=torch.int32, device=self._device)
            depth = torch.full((size, size), torch.nan, dtype=torch.float32, device=self._device)
            bary = torch.zeros((size, size, 2), dtype=torch.float32, device=self._device)
            if len(kept):
                number = self._visible(points, faces[kept].contiguous(), size)
                rows, columns = torch.nonzero(number >= 0, as_tuple=True)
                seen = kept[number[rows, columns].long()]
                # The exact weights of the exact corners: a library's own are float32 and may lie outside
                # by the sub-pixel grid; outside the face its outline is what is seen.
                x, y, w = x[seen], y[seen], 1.0 / z[seen]
                u, v = columns + 0.5, rows + 0.5
                dx1, dy1, dx2, dy2 = x[:, 1] - x[:, 0], y[:, 1] - y[:, 0], x[:, 2] - x[:, 0], y[:, 2] - y[:, 0]
                b = ((u - x[:, 0]) * dy2 - dx2 * (v - y[:, 0])) / area[seen]
                c = (dx1 * (v - y[:, 0]) - (u - x[:, 0]) * dy1) / area[seen]
                flat = torch.stack([1.0 - b - c, b, c], dim=1).clamp_(min=0.0)
                flat *= w / flat.sum(1, keepdim=True)
                inverse = flat.sum(1)
                face[rows, columns] = seen.int()
                depth[rows, columns] = (1.0 / inverse).float()
                bary[rows, columns] = (flat[:, 1:] / inverse[:, None]).float()
            return face, depth, bary
