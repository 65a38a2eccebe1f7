"""Which device computes. Asked inside an engine's process, because the question itself loads torch."""

from __future__ import annotations

import importlib.util
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from recon3d_contract.errors import Code, Recon3dError

MIN_GPU_BYTES: Final = 12_000_000_000
"""A GPU sold as 12 GB shows a little more than this."""


@dataclass(frozen=True)
class Choice:
    """The device of a run."""

    device: Literal["cuda", "cpu"]
    name: str
    why: str | None = None
    """Why `auto` did not take a GPU that is there; None where there is none."""


def choose(wanted: str) -> Choice:
    """Return the device for `wanted`: auto, cuda or cpu.

    For cuda, raises GPU_UNAVAILABLE without a usable GPU, ENGINE_UNAVAILABLE without the software to render on it.
    """
    if wanted == "cpu":
        return Choice("cpu", cpu_name())
    name, problem, details = _gpu()
    if problem is not None and wanted == "cuda":
        raise Recon3dError(Code.GPU_UNAVAILABLE, problem, details)
    if problem is None and importlib.util.find_spec("nvdiffrast") is None:
        problem = "A GPU is there, but its rasteriser nvdiffrast is not installed."
        if wanted == "cuda":
            raise Recon3dError(
                Code.ENGINE_UNAVAILABLE, problem, {"gpu": name}, "Install nvdiffrast, or use the device cpu."
            )
    return Choice("cuda", name) if problem is None else Choice("cpu", cpu_name(), problem if name else None)


def _gpu() -> tuple[str, str | None, dict[str, object]]:
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda
        return "", "No usable CUDA device was found.", {"torch": torch.__version__, "torch_cuda": built}
    try:
        properties = torch.cuda.get_device_properties(0)
        torch.zeros(8, device="cuda").sum().item()  # a device can be listed and still not compute
    except (RuntimeError, AssertionError) as error:
        return "a GPU", "The GPU does not compute.", {"reason": str(error).splitlines()[0][:200]}
    name, total = str(properties.name), int(properties.total_memory)
    if total < MIN_GPU_BYTES:
        problem = f"The GPU has {total / 1e9:.1f} GB of memory; at least 12 GB are needed."
        return name, problem, {"gpu": name, "memory_bytes": total}
    return name, None, {}


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
