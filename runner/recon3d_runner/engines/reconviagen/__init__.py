"""The engine reconviagen: an adapter around the public TRELLIS-VGGT pipeline, aligned to the six known cameras.

    generate.py   views in, mesh in its own frame out: the official code, guarded by official.py and interface.py
    solidify.py   one closed surface of it
    align.py      the similarity into the world
    engine.py     all of it in order, then unwrapped, textured and delivered as the other engine's meshes are

Code and weights lie below RECON3D_RECONVIAGEN_HOME (weights.py fetches and checks them); nothing is fetched at run
time. What it needs is asked here, before anything of it is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from recon3d_contract.errors import Code, Recon3dError

from recon3d_runner import licences

HOME: Final = "RECON3D_RECONVIAGEN_HOME"
CPU: Final = "RECON3D_RECONVIAGEN_CPU"
"""`tiny-weights` lets a CPU run it: for tests, whose weights are tiny."""
ENGINE: Final = "reconviagen"


def require(environment: Mapping[str, str]) -> Path:
    """Return the home of code and weights; ENGINE_UNAVAILABLE, naming what is missing, unless all of it is right.

    Hashes every file, which takes seconds, before any GPU is touched.
    """
    from recon3d_runner.engines.reconviagen import weights

    given = environment.get(HOME, "")
    if not given:
        raise _unavailable(
            "The engine reconviagen is not installed: it has an image of its own.",
            f"Use the image with ReconViaGen, or fetch it and set {HOME}.",
            command=weights.COMMAND,
        )
    home = Path(given)
    found = weights.problems(home)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise _unavailable(
            f"The engine reconviagen is not complete: {found[0]}{more}.",
            f"Run: {weights.COMMAND}",
            files=found[:10],
            command=weights.COMMAND,
        )
    return home


def require_device(device: str, environment: Mapping[str, str]) -> None:
    """Raise GPU_UNAVAILABLE without a GPU, ENGINE_UNAVAILABLE where licences of parts were not accepted."""
    if device != "cuda" and environment.get(CPU) != "tiny-weights":
        raise Recon3dError(
            Code.GPU_UNAVAILABLE,
            "The engine reconviagen needs a CUDA GPU with at least 16 GB of memory.",
            {"engine": ENGINE, "device": device},
            "Use a machine with a GPU, or the engine nvdiffrec.",
        )
    wanted = [licence.id for licence in licences.used(ENGINE, device)]
    missing = [name for name in wanted if name not in licences.accepted(environment)]
    if missing:
        raise _unavailable(
            "The engine reconviagen uses parts whose licences allow no commercial use; they have not been accepted.",
            f"If you may use them, set {licences.ACCEPT}={','.join(wanted)}"
            " (in the chart: licenses.reconviagen.acceptNonCommercial and licenses.nvdiffrast.acceptNonCommercial).",
            licences=missing,
        )


def _unavailable(message: str, suggestion: str, **details: object) -> Recon3dError:
    return Recon3dError(Code.ENGINE_UNAVAILABLE, message, {"engine": ENGINE, **details}, suggestion)
