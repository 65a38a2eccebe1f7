"""Rasterisers behind one port: `cpu` (numba, PyPI wheels only), `drtk` and `nvdiffrast` (CUDA), a float64 oracle."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Mapping
from typing import Final, Literal

from recon3d_contract.errors import Code, Recon3dError

from recon3d_runner.raster.port import Fragments, Rasteriser, TensorRasteriser

__all__ = ["Fragments", "Rasteriser", "TensorRasteriser", "gpu_library", "open_rasteriser"]

LIBRARIES: Final = ("drtk", "nvdiffrast")
"""What draws on a GPU, the one with the freer licence first."""
CHOICE: Final = "RECON3D_RASTERISER"
"""Environment variable: the library that is to draw on a GPU where several are installed."""


def gpu_library(environment: Mapping[str, str] = os.environ) -> str | None:
    """Name the library that draws on a GPU: the one chosen, else the first that is installed; None without any.

    Raises INVALID_REQUEST where the environment names one that does not exist.
    """
    chosen = environment.get(CHOICE)
    if chosen and chosen not in LIBRARIES:
        text = f"{CHOICE} names an unknown rasteriser."
        raise Recon3dError(Code.INVALID_REQUEST, text, {"unknown": chosen, "known": list(LIBRARIES)})
    wanted = (chosen,) if chosen else LIBRARIES
    return next((name for name in wanted if importlib.util.find_spec(name) is not None), None)


def open_rasteriser(device: Literal["cpu", "cuda"]) -> Rasteriser:
    """The back end for `device`.

    For cuda raises ENGINE_UNAVAILABLE where the library or torch is missing or does not load, GPU_UNAVAILABLE
    where there is no device to open.
    """
    if device == "cuda":
        from recon3d_runner.raster.on_device import OnDevice

        name = gpu_library() or os.environ.get(CHOICE) or LIBRARIES[-1]
        return OnDevice(name, importlib.import_module(f"recon3d_runner.raster.{name}").open_library)
    from recon3d_runner.raster.cpu import CpuRasteriser

    return CpuRasteriser()
