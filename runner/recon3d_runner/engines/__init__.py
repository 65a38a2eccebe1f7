"""The engines by name, and whether one can run here. Importing this needs neither torch nor any engine."""

from __future__ import annotations

import os

from recon3d_contract.errors import Code, Recon3dError

from recon3d_runner.engines import reconviagen

REQUIRED_STAGES: dict[str, tuple[str, ...]] = {
    "nvdiffrec": ("geometry", "texture"),
    "reconviagen": ("generate", "align", "texture"),
}
"""The stages without which an engine's run is not complete, whatever it says."""


def require(engine: str) -> None:
    """Raise ENGINE_UNAVAILABLE, with the reason, unless `engine` can run in this installation."""
    if engine not in REQUIRED_STAGES:
        raise Recon3dError(Code.ENGINE_UNAVAILABLE, "There is no engine of this name.", {"engine": engine})
    if engine == reconviagen.ENGINE:
        reconviagen.require(os.environ)
