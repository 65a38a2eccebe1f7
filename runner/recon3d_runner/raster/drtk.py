"""Meta's DRTK as the library of a back end: MIT-licensed, for CUDA."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from recon3d_runner.raster.on_device import Visible


def open_library(device: torch.device) -> Visible:
    """What rasterises on `device`, which the tensors name themselves. Raises ImportError."""
    import torch
    from drtk.rasterize import rasterize

    # Its pixel centres lie on whole numbers, the port's at +0.5.
    centre = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64, device=device)

    def visible(points: Tensor, faces: Tensor, size: int) -> Tensor:
        # In float64, as the weights that follow: the same pixels as the CPU's z-buffer, but for rounding.
        face: Tensor = rasterize((points - centre)[None], faces[None], size, size)[0]
        return face

    return visible
