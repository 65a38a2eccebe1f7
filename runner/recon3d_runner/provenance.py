"""What would have to be the same to get the same result again; asked without loading any numerical library."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from recon3d_contract.inputs import InputManifest
from recon3d_contract.result import InputRecord, Provenance
from recon3d_contract.spec import JobSpec

PACKAGES: Final = ("recon3d", "torch", "numpy", "numba", "scipy", "pillow", "trimesh", "pydantic")
# What decides which code numerical libraries choose, most telling first.
_FEATURES: Final = ("avx512f", "avx2", "fma", "avx", "sse4_2", "sve", "asimd")


def cpu() -> str:
    """Return the architecture and the instruction sets that numerical libraries choose their code by."""
    flags: set[str] = set()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                flags = set(line.partition(":")[2].split())
                break
    except OSError:
        pass
    return " ".join([platform.machine(), *(name for name in _FEATURES if name in flags)])


def _cgroup_cpus() -> float | None:
    """Return the CPU limit of this container in cores; None without one."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        quota = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").read_text()
        period = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text()
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):
        return None


def threads(environment: Mapping[str, str]) -> int:
    """Return how many threads an engine gets: OMP_NUM_THREADS, else the cores that this process may really use.

    A container with a limit of 4 cores on a machine of 64 must not start 64 threads.
    """
    given = environment.get("OMP_NUM_THREADS", "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = _cgroup_cpus()
    return max(1, min(cores, math.ceil(limit) if limit is not None else cores))


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that are installed, by name."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def parameters(spec: JobSpec) -> dict[str, Any]:
    """Return the whole job with all defaults; of a path on this machine only its last part."""
    data = spec.model_dump(mode="json", by_alias=True)
    if data.get("input") and data["input"].get("path"):
        data["input"]["path"] = PurePosixPath(data["input"]["path"]).name
    return data


def build(
    spec: JobSpec,
    manifest: InputManifest | None,
    environment: Mapping[str, str],
    *,
    device: str,
    licences_accepted: Sequence[str],
    engine_versions: Mapping[str, str],
) -> Provenance:
    """Return the provenance of a job; `manifest` is None where the input was never accepted."""
    return Provenance(
        inputs=[
            InputRecord(
                name=file.name,
                bytes=file.bytes,
                sha256=file.sha256,
                width=file.width,
                height=file.height,
                bit_depth=file.bit_depth,
            )
            for file in (manifest.files if manifest else ())
        ],
        parameters=parameters(spec),
        seed=spec.seed,
        versions={**versions(), **engine_versions},
        device=device,
        cpu=cpu(),
        threads=threads(environment),
        image_digest=environment.get("RECON3D_IMAGE_DIGEST") or None,
        licences_accepted=list(licences_accepted),
    )
