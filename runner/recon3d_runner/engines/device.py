"""Which device computes. Asked inside an engine's process, because the question itself loads torch."""

from __future__ import annotations

import importlib
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from recon3d_contract.errors import Code, Recon3dError

from recon3d_runner.raster import LIBRARIES, Rasteriser, TensorRasteriser, gpu_library, open_rasteriser

READY: Final = "recon3d_runner.engines.nvdiffrec.on_device.ready"
"""Not imported where no torch is."""
MIN_GPU_GB: Final = {"nvdiffrec": 12, "reconviagen": 16}
"""By engine, in 10^9 bytes: a GPU sold as 12 GB shows a little more than 12."""


@dataclass(frozen=True)
class Choice:
    """The device of a run."""

    device: Literal["cuda", "cpu"]
    name: str
    why: str | None = None
    """Why `auto` did not take a GPU that is there; None where there is none."""


def choose(wanted: str, engine: str = "nvdiffrec") -> Choice:
    """Return the device for `wanted` (auto, cuda or cpu), with the memory that `engine` needs.

    For cuda, raises GPU_UNAVAILABLE without a usable GPU, ENGINE_UNAVAILABLE without the software to render on it.
    """
    if wanted == "cpu":
        return Choice("cpu", cpu_name())
    name, problem, details = _gpu(MIN_GPU_GB[engine])
    if problem is not None and wanted == "cuda":
        raise Recon3dError(Code.GPU_UNAVAILABLE, problem, details)
    if problem is None and gpu_library() is None:
        problem = f"A GPU is there, but no rasteriser for it is installed ({' or '.join(LIBRARIES)})."
        if wanted == "cuda":
            raise Recon3dError(Code.ENGINE_UNAVAILABLE, problem, {"gpu": name}, "Install one, or use the device cpu.")
    return Choice("cuda", name) if problem is None else Choice("cpu", cpu_name(), problem if name else None)


def _gpu(least_gb: int) -> tuple[str, str | None, dict[str, object]]:
    try:
        import torch
    except ImportError:  # an installation for CPUs
        return "", "This installation has no torch, which a GPU needs.", {}
    if not torch.cuda.is_available():
        driver, built = driver_version(), torch.version.cuda
        details: dict[str, object] = {"torch": torch.__version__, "torch_cuda": built, "driver": driver}
        if driver is None:
            return "", "No usable CUDA device was found.", details
        problem = f"The GPU's driver {driver} does not run CUDA {built}; it is too old, or the device was not given."
        return "a GPU", problem, details
    try:
        properties = torch.cuda.get_device_properties(0)
        torch.zeros(8, device="cuda").sum().item()  # a device can be listed and still not compute
    except (RuntimeError, AssertionError) as error:
        return "a GPU", "The GPU does not compute.", {"reason": str(error).splitlines()[0][:200]}
    name, total = str(properties.name), int(properties.total_memory)
    if total < least_gb * 1_000_000_000:
        problem = f"The GPU has {total / 1e9:.1f} GB of memory; at least {least_gb} GB are needed."
        return name, problem, {"gpu": name, "memory_bytes": total}
    return name, None, {}


def open_device(device: Literal["cuda", "cpu"]) -> Rasteriser:
    """The rasteriser for `device`, with what a GPU does when it is first used behind it: seconds in all."""
    rasteriser = open_rasteriser(device)
    if isinstance(rasteriser, TensorRasteriser):
        importlib.import_module(READY).get_ready(rasteriser)
    return rasteriser


def driver_version(proc: Path = Path("/proc/driver/nvidia/version")) -> str | None:
    """Return the version of the NVIDIA driver of this machine; None where there is none."""
    try:
        words = proc.read_text().split("\n", 1)[0].split()
    except OSError:
        return None
    return next((word for word in words if word[0].isdigit() and "." in word), None)


def cpu_name() -> str:
    """Return the processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def peak_gpu_bytes() -> int:
    """Return the most device memory that torch has held in this process."""
    import torch

    return int(torch.cuda.max_memory_allocated())
