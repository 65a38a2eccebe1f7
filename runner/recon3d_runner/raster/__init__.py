"""Rasterisers behind one port: `cpu` (numba, PyPI wheels only), `nvdiffrast` (CUDA) and a float64 oracle."""

from __future__ import annotations

from typing import Literal

from recon3d_runner.raster.port import Fragments, Rasteriser, TensorRasteriser

__all__ = ["Fragments", "Rasteriser", "TensorRasteriser", "open_rasteriser"]


def open_rasteriser(device: Literal["cpu", "cuda"]) -> Rasteriser:
    """The back end for `device`.

    For cuda raises ENGINE_UNAVAILABLE where nvdiffrast or torch is missing or does not load, GPU_UNAVAILABLE
    where there is no device to open.
    """
    if device == "cuda":
        from recon3d_runner.raster.nvdiffrast import NvdiffrastRasteriser

        return NvdiffrastRasteriser()
    from recon3d_runner.raster.cpu import CpuRasteriser

    return CpuRasteriser()
