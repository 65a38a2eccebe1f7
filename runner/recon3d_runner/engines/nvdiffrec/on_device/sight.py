"""Which faces a picture shows, without bringing the picture to the host."""

from __future__ import annotations

import numpy as np
import torch

from recon3d_runner.raster.port import TensorRasteriser
from recon3d_runner.types import F32, F64, I32


def count_faces(points: F64, faces: I32, size: int, rasteriser: TensorRasteriser) -> F32:
    """(F,) pixels in which each face is the visible one; see unwrap."""
    put = torch.from_numpy(np.ascontiguousarray(points)).to(rasteriser.device)
    face, _, _ = rasteriser.draw(put, torch.from_numpy(np.ascontiguousarray(faces)).to(rasteriser.device), size)
    return np.asarray(torch.bincount(face[face >= 0], minlength=len(faces)).float().cpu().numpy())
