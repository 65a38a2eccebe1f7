"""What the supervisor asks of an engine, and what the engine answers; both cross a process boundary as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from recon3d_contract.job import JobSpec
from recon3d_contract.result import Quality

Device = Literal["cuda", "cpu"]


@dataclass(frozen=True)
class EngineRequest:
    """One engine's run: where its input lies, where its files go, and what the user asked for."""

    engine: str
    """nvdiffrec or reconviagen."""
    spec: JobSpec
    device: Device
    """Already chosen and checked; `auto` never gets here."""
    input_dir: Path
    """multi_views/<view>.png and perhaps depth_renders/<view>.png, checked, canonical names, not to be written."""
    out_dir: Path
    """Exists and is empty; every file of the engine goes here and nowhere else."""
    manifest: dict[str, Any]
    """The contract's account of the input: file names, sizes, bit depths, SHA-256, warnings."""
    prior: Path | None = None
    """Another engine's finished mesh.glb of the same input, where the job asks for it and there is one."""


@dataclass(frozen=True)
class EngineResult:
    """What an engine made; its files lie in `out_dir`."""

    quality: Quality
    verdict: str
    """normal | warning | failure."""
    reasons: list[str]
    """Why the verdict is not better; empty for normal."""
    seconds: dict[str, float]
    """Wall time by stage."""
    peak_memory_bytes: int
    """Of the device on a GPU, of the process on a CPU."""
    device_name: str
    versions: dict[str, str]
    """Of what computed the result: torch, numpy, the rasteriser ..."""
    warnings: list[Any] = field(default_factory=list)
    """{code, message} each, in the order in which they came up."""
