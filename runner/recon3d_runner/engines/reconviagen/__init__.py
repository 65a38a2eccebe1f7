"""The engine reconviagen, an adapter around the public TRELLIS-VGGT pipeline: not part of this version."""

from __future__ import annotations


def unavailable() -> str | None:
    """Return why this engine cannot run here, for the user; None if it can."""
    return "The engine reconviagen is not part of this version of recon3d."
