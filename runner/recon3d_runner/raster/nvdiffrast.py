"""nvdiffrast as the library of a CUDA back end. It is under NVIDIA's research licence: no commercial use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from recon3d_runner.raster.on_device import Visible

MAX_FACES: Final = 1 << 24
"""Face numbers come back as float32; beyond this they would not be exact."""


def open_library(device: torch.device) -> Visible:
    """Open a context on `device`. Raises ImportError. What it returns raises ValueError beyond MAX_FACES."""
    import nvdiffrast.torch as nvdiffrast
    import torch

    context = nvdiffrast.RasterizeCudaContext(device=device)

    def visible(points: Tensor, faces: Tensor, size: int) -> Tensor:
        if len(faces) > MAX_FACES:
            raise ValueError(f"{len(faces)} faces are more than the {MAX_FACES} that can be numbered")
        x, y, z = points.unbind(1)
        used = z[faces.long()]
        near, far = 0.99 * used.min(), 1.01 * used.max()
        # Row 0 of the output is at ndc y = -1, so that image y, pointing down, needs no flip.
        # z / w grows from -1 at `near` to 1 at `far` and is linear in 1 / z, as a depth buffer wants it.
        ndc = 2.0 / size
        clip = [(x * ndc - 1.0) * z, (y * ndc - 1.0) * z, ((far + near) * z - 2.0 * far * near) / (far - near), z]
        out, _ = nvdiffrast.rasterize(
            context, torch.stack(clip, dim=1).float()[None].contiguous(), faces, (size, size), grad_db=False
        )
        number: Tensor = out[0, :, :, 3]
        return number.long() - 1

    return visible
