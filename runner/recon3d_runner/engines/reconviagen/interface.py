"""The recorded interface of the official code, and the assertions that what is there still is what was recorded.

Recorded at pins.CODE_COMMIT. The code that drifts most quietly is the one that still runs: a fork of it has the same
names with another meaning of the guidance, and its loader takes weights whose names do not fit. So names, order and
the defaults that matter are compared before, the models' names and shapes while, and the result after a run.
"""

from __future__ import annotations

import inspect
import json
import struct
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from recon3d_contract.errors import Code, Recon3dError

from recon3d_runner.engines.reconviagen import pins
from recon3d_runner.types import F64, I32

SIGNATURES: Final[dict[str, tuple[str, ...]]] = {
    "from_pretrained": ("path",),
    "preprocess_image": ("self", "input", "resolution", "no_background", "recenter"),
    "vggt_feat": ("self", "image"),
    "run": (
        "self",
        "image",
        "coords",
        "num_samples",
        "seed",
        "sparse_structure_sampler_params",
        "slat_sampler_params",
        "formats",
        "preprocess_image",
        "mode",
    ),
}
"""Parameters of the pipeline class, in order."""

MODELS: Final = (
    "image_cond_model",
    "slat_decoder_gs",
    "slat_decoder_mesh",
    "slat_flow_model",
    "slat_vggt_cond",
    "sparse_structure_decoder",
    "sparse_structure_flow_model",
    "sparse_structure_vggt_cond",
)
"""Keys of pipeline.models."""

ATTRIBUTES: Final = ("VGGT_model", "VGGT_dtype", "low_vram", "slat_normalization", "sparse_structure_sampler")
MODULE_NAMES: Final = ("VGGT", "AutoModelForImageSegmentation", "dreamsim", "TrellisVGGTTo3DPipeline")
"""Names in trellis.pipelines.trellis_image_to_3d that the adapter replaces or uses."""
GUIDANCE_RESCALE: Final = "guidance_rescale"
"""A parameter of the sampler's guidance that the fork lacks."""
DROPPED: Final = ("depth_head.", "track_head.")
"""Parts of VGGT that the official loader deletes."""


class Generated(NamedTuple):
    """What a run gave, in the pipeline's own frame."""

    vertices: F64
    """(V, 3) within the unit box around the origin."""
    faces: I32
    colours: F64 | None
    """(V, 3) sRGB in [0, 1]."""
    voxels: int


def drifted(what: str, **details: object) -> Recon3dError:
    """Return the error for code or weights that are not those this adapter was written against."""
    return Recon3dError(
        Code.ENGINE_UNAVAILABLE,
        f"The installed ReconViaGen is not the one that this version was written against: {what}.",
        {"expected_commit": pins.CODE_COMMIT, **details},
        "Fetch the pinned code and weights again.",
    )


def check_module(module: Any) -> None:
    """Raise ENGINE_UNAVAILABLE unless `module` has the recorded interface."""
    for name in MODULE_NAMES:
        if not hasattr(module, name):
            raise drifted(f"{name} is gone")
    pipeline = module.TrellisVGGTTo3DPipeline
    for name, wanted in SIGNATURES.items():
        function = getattr(pipeline, name, None)
        found = tuple(inspect.signature(function).parameters) if function is not None else None
        if found != wanted and found != tuple(p for p in wanted if p != "self"):
            raise drifted(f"{name} has other parameters", expected=list(wanted), found=list(found or ()))


def check_sampler(sampler: Any) -> None:
    """Raise ENGINE_UNAVAILABLE unless the sampler's guidance is the official one."""
    for cls in type(sampler).__mro__:
        function = cls.__dict__.get("_inference_model")
        if function is not None and GUIDANCE_RESCALE in inspect.signature(function).parameters:
            return
    raise drifted("its sampler's guidance has no rescale, as on a fork")


def check_pipeline(pipeline: Any) -> None:
    """Raise ENGINE_UNAVAILABLE unless the loaded pipeline has the recorded parts."""
    missing = sorted(set(MODELS) - set(pipeline.models)) + [a for a in ATTRIBUTES if not hasattr(pipeline, a)]
    if missing:
        raise drifted("the pipeline lacks parts", missing=missing)
    check_sampler(pipeline.sparse_structure_sampler)
    check_sampler(pipeline.slat_sampler)


def stored_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the tensors in a safetensors file, from its header alone."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return {name: tuple(value["shape"]) for name, value in header.items() if name != "__metadata__"}


def check_state(name: str, model: Any, stored: dict[str, tuple[int, ...]], dropped: tuple[str, ...] = ()) -> None:
    """Raise ENGINE_UNAVAILABLE unless `stored` are exactly the tensors of `model`: the official loader takes any."""
    stored = {key: shape for key, shape in stored.items() if not key.startswith(dropped)} if dropped else stored
    own = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    odd = sorted(set(own) ^ set(stored)) + sorted(k for k in set(own) & set(stored) if own[k] != stored[k])
    if odd:
        raise drifted(f"the weights of {name} do not fit its code", tensors=odd[:5], count=len(odd))


def take_result(result: Any) -> Generated:
    """Return what a run gave. Drift is ENGINE_UNAVAILABLE, an empty or broken shape OPTIMIZATION_DIVERGED."""
    if not isinstance(result, tuple) or len(result) != 3:
        raise drifted("a run does not give three things", found=type(result).__name__)
    outputs, coords, _ = result
    if "mesh" not in outputs or coords.ndim != 2 or coords.shape[1] != 4:
        raise drifted("a run gives no mesh with its voxels", keys=sorted(outputs))
    voxels = int(coords.shape[0])
    mesh = outputs["mesh"][0]
    if not voxels or not mesh.success:
        raise _broken("The model generated an empty shape.", voxels=voxels)
    vertices = np.asarray(mesh.vertices.detach().float().cpu().numpy(), np.float64)
    faces = np.ascontiguousarray(mesh.faces.detach().cpu().numpy(), np.int32)
    if not np.isfinite(vertices).all():
        raise _broken("The model generated numbers that are none.", share=float(np.isnan(vertices).mean()))
    if np.abs(vertices).max() > 0.5 + 1e-3:
        raise drifted("its mesh leaves the unit box", furthest=float(np.abs(vertices).max()))
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.min() < 0 or faces.max() >= len(vertices):
        raise drifted("its mesh has faces without vertices")
    colours = None
    if mesh.vertex_attrs is not None and mesh.vertex_attrs.shape[1] >= 3:
        colours = np.asarray(mesh.vertex_attrs[:, :3].detach().float().cpu().numpy(), np.float64)
        colours = np.clip(colours, 0, 1) if np.isfinite(colours).all() else None
    return Generated(vertices, faces, colours, voxels)


def _broken(message: str, **details: object) -> Recon3dError:
    return Recon3dError(
        Code.OPTIMIZATION_DIVERGED, message, details, "Try another seed, or the engine nvdiffrec.",
    )  # fmt: skip
