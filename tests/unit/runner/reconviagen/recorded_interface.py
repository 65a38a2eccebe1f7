"""A module with the recorded interface of the official code, and nothing behind it."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from recon3d_runner.engines.reconviagen import interface


def function(*parameters: str) -> Callable[..., Any]:
    scope: dict[str, Any] = {}
    exec(f"def made({', '.join(parameters)}): pass", scope)
    made: Callable[..., Any] = scope["made"]
    return made


class Sampler:
    def _inference_model(self, model: Any, x: Any, guidance_rescale: float = 0.0) -> None:
        """Only its parameters count."""


def module(**changed: tuple[str, ...]) -> Any:
    """The recorded module; `changed` gives functions other parameters."""
    made = types.ModuleType("trellis_image_to_3d")
    functions = {name: function(*parameters) for name, parameters in {**interface.SIGNATURES, **changed}.items()}
    functions["from_pretrained"] = staticmethod(functions["from_pretrained"])
    made.__dict__.update(dict.fromkeys(interface.MODULE_NAMES))
    made.__dict__["TrellisVGGTTo3DPipeline"] = type("TrellisVGGTTo3DPipeline", (), functions)
    return made


def pipeline() -> Any:
    made = types.SimpleNamespace(**dict.fromkeys(interface.ATTRIBUTES), models=dict.fromkeys(interface.MODELS))
    made.sparse_structure_sampler = made.slat_sampler = Sampler()
    return made


@dataclass
class Mesh:
    """What the official code calls MeshExtractResult."""

    vertices: Any
    faces: Any
    vertex_attrs: Any = None
    success: bool = True
