"""CUDA back end of the port: nvdiffrast decides which face a pixel sees, float64 arithmetic where it sees it.

nvdiffrast is under NVIDIA's research licence and not part of this project; it is imported where it is installed.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final

import numpy as np
from recon3d_contract.errors import Code, Recon3dError

from recon3d_runner.raster.port import Fragments
from recon3d_runner.types import F64, I32

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MAX_FACES: Final = 1 << 24
"""Face numbers come back as float32; beyond this they would not be exact."""


class NvdiffrastRasteriser:
    """Z-buffering on a CUDA device. Threads take turns: the context keeps buffers between calls."""

    name: Final = "nvdiffrast"

    def __init__(self, device: str = "cuda:0") -> None:
        """Open `device`. Raises ENGINE_UNAVAILABLE without the packages, GPU_UNAVAILABLE without the device."""
        try:
            import nvdiffrast.torch as nvdiffrast
            import torch
        except ImportError as error:  # also what a build for another torch raises: a missing symbol
            raise Recon3dError(
                Code.ENGINE_UNAVAILABLE,
                "The rasteriser nvdiffrast is not installed, or does not fit the installed torch.",
                {"reason": str(error).partition("\n")[0]},
                "Install nvdiffrast for this torch, or use the device cpu.",
            ) from error
        if not torch.cuda.is_available():
            raise Recon3dError(Code.GPU_UNAVAILABLE, "No usable CUDA device was found.")
        self._device = torch.device(device)
        self._draw = nvdiffrast.rasterize
        self._context = nvdiffrast.RasterizeCudaContext(device=self._device)
        self._lock = Lock()

    @property
    def device(self) -> torch.device:
        """See TensorRasteriser."""
        return self._device

    def rasterize(self, points: F64, faces: I32, size: int) -> Fragments:
        """See Rasteriser. ValueError for more faces than MAX_FACES."""
        import torch

        p = torch.from_numpy(np.ascontiguousarray(points, np.float64)).to(self._device)
        f = torch.from_numpy(np.ascontiguousarray(faces, np.int32)).to(self._device)
        face, depth, bary = self.draw(p, f, size)
        return Fragments(face.cpu().numpy(), depth.cpu().numpy(), bary.cpu().numpy())

    def draw(self, points: Tensor, faces: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """See TensorRasteriser."""
        import torch

        if len(faces) > MAX_FACES:
            raise ValueError(f"{len(faces)} faces are more than the {MAX_FACES} that can be numbered")
        with self._lock, torch.no_grad():
            x, y, z = (points[:, k][faces.long()] for k in range(3))  # (F, 3) each
            area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
            # Hardware would clip a face at the camera's plane; the port's rule is to leave it out.
            kept = torch.nonzero((z > 0).all(1) & (area != 0) & torch.isfinite(area))[:, 0]
            face = torch.full((size, size), -1, dtype=torch.int32, device=self._device)
            depth = torch.full((size, size), torch.nan, dtype=torch.float32, device=self._device)
            bary = torch.zeros((size, size, 2), dtype=torch.float32, device=self._device)
            if len(kept):
                near, far = 0.99 * z[kept].min(), 1.01 * z[kept].max()
                ndc = points[:, :2] * (2.0 / size) - 1.0
                # Row 0 of the output is at ndc y = -1, so that image y, pointing down, needs no flip.
                # z / w grows from -1 at `near` to 1 at `far` and is linear in 1 / z, as a depth buffer wants it.
                clip = torch.stack(
                    [
                        ndc[:, 0] * points[:, 2],
                        ndc[:, 1] * points[:, 2],
                        ((far + near) * points[:, 2] - 2.0 * far * near) / (far - near),
                        points[:, 2],
                    ],
                    dim=1,
                )
                out, _ = self._draw(
                    self._context,
                    clip.float()[None].contiguous(),
                    faces[kept].contiguous(),
                    (size, size),
                    grad_db=False,
                )
                number = out[0, :, :, 3].long()
                rows, columns = torch.nonzero(number, as_tuple=True)
                seen = kept[number[rows, columns] - 1]
                # The exact weights of the exact corners: the context's own are float32 and may lie outside
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
