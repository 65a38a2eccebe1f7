"""What a report is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recon3d_contract.quality import Quality
from recon3d_contract.result import Notice

from recon3d_runner.types import F32, TexturedMesh


@dataclass(frozen=True)
class ReportData:
    """Everything that report.html shows. The same data gives the same bytes."""

    quality: Quality
    mesh: TexturedMesh
    """As read back from mesh.glb, with the mask of unseen texels."""
    references: Mapping[str, F32]
    """(H, H, 3) input views over white, sRGB in [0, 1], by view in the order to show them."""
    renders: Mapping[str, F32]
    """(H, H, 3) renders of the mesh over white, by view."""
    timings: Mapping[str, float] = field(default_factory=dict)
    """Seconds by stage, in order."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """The job with all defaults, as JSON has it."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Input hashes, seed, versions, device ... as JSON has it."""
    warnings: Sequence[Notice] = ()
    title: str = "Reconstruction report"
    subtitle: str = ""
    """A line below the title, such as the job's name; the engine is always named."""
