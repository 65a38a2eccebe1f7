"""The official code, imported from its checkout: offline, without what a run never uses, with nothing of it changed.

Importing it imports programs for cutting backgrounds, filling holes, rendering and comparing, which `run` never
calls and some of whose licences forbid shipping them. Names that only fail when used stand in for those while it is
imported. Three of its own names are replaced: two loaders of such models, and VGGT's, which names the hub.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.util
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from recon3d_runner.engines.reconviagen import attention, interface
from recon3d_runner.engines.reconviagen.weights import CODE, WEIGHTS

UNUSED: Final = (
    "cv2",
    "dreamsim",
    "igraph",
    "lpips",
    "plyfile",
    "pymeshfix",
    "pyvista",
    "rembg",
    "transformers",
    "utils3d",
    "utils3d.torch",
    "xatlas",
)
"""Imported by the official code, never called by a run of it for a mesh; never imported here, installed or not."""
GPU_ONLY: Final = ("nvdiffrast", "nvdiffrast.torch")
"""The same, but the rasteriser of this project may have imported it."""

MODULE: Final = "trellis.pipelines.trellis_image_to_3d"


class _Absent:
    """Whatever is taken from a program that is left out."""

    def __init__(self, name: str) -> None:
        self.__dict__["name"] = name

    def __getattr__(self, name: str) -> _Absent:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent(f"{self.__dict__['name']}.{name}")

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise interface.drifted(f"it called {self.__dict__['name']}, which this version leaves out")


class _Left(types.ModuleType):
    """A module that is left out."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent(f"{self.__name__}.{name}")


def environment(home: Path) -> dict[str, str]:
    """Return the variables that must stand before anything is imported."""
    weights = home / WEIGHTS
    return {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HOME": str(weights / "none"),
        "TORCH_HOME": str(weights / "torch"),
        "SPCONV_ALGO": "native",
        "ATTN_BACKEND": "sdpa",
        "SPARSE_ATTN_BACKEND": "xformers",
        "SPARSE_BACKEND": "spconv",
    }


@contextlib.contextmanager
def _without(names: list[str]) -> Iterator[None]:
    """Let modules that are left out stand in while something is imported, then put back what was there."""
    before = {name: sys.modules.get(name) for name in names}
    for name in names:
        module = _Left(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
        module.__path__ = []
        sys.modules[name] = module
        parent, _, last = name.rpartition(".")
        if parent in names:
            setattr(sys.modules[parent], last, module)
    try:
        yield
    finally:
        for name, module_before in before.items():
            del sys.modules[name]
            if module_before is not None:
                sys.modules[name] = module_before


def load_module(home: Path, device: str) -> Any:
    """Import the official pipeline's module from `home`; ENGINE_UNAVAILABLE where it is not the recorded one."""
    os.environ.update(environment(home))
    for path in (home / CODE / "wheels/vggt", home / CODE):
        if str(path) not in sys.path:
            sys.path.insert(0, str(path))
    if device != "cuda" or importlib.util.find_spec("xformers") is None:
        sys.modules.update(attention.modules())
    absent = [*UNUSED, *(name for name in GPU_ONLY if name not in sys.modules)]
    try:
        with _without(absent):
            module = importlib.import_module(MODULE)
    except ImportError as error:
        raise interface.drifted(f"a package that it needs is not installed ({error})") from error
    interface.check_module(module)
    return module


def _unused_model(*_: Any, **__: Any) -> Any:
    """Stand for the background model, which RGBA views never need."""
    import torch

    return torch.nn.Identity()


@contextlib.contextmanager
def _local(module: Any, home: Path) -> Iterator[None]:
    """Make the official loader take everything from `home`, and nothing that a run never uses."""
    import torch

    hub: Any = torch.hub
    load, vggt = hub.load, module.VGGT

    def local_only(place: str, *arguments: Any, **options: Any) -> Any:
        if options.get("source") != "local":
            raise interface.drifted("DINOv2 could not be loaded from its folder, and nothing is fetched at run time")
        return load(place, *arguments, **{**options, "trust_repo": True})

    def from_folder(_: str) -> Any:
        return vggt.from_pretrained(str(home / WEIGHTS / "vggt"))

    replaced = {
        "VGGT": types.SimpleNamespace(from_pretrained=from_folder),
        "AutoModelForImageSegmentation": types.SimpleNamespace(from_pretrained=_unused_model),
        "dreamsim": lambda *_, **__: (torch.nn.Identity(), None),
    }
    before = {name: getattr(module, name) for name in replaced}
    hub.load = local_only
    try:
        for name, value in replaced.items():
            setattr(module, name, value)
        yield
    finally:
        hub.load = load
        for name, value in before.items():
            setattr(module, name, value)


def load_pipeline(module: Any, home: Path) -> Any:
    """Load the pipeline from `home` onto the CPU, and check that every tensor came from its file."""
    folder = home / WEIGHTS / "pipeline"
    with _local(module, home):
        pipeline = module.TrellisVGGTTo3DPipeline.from_pretrained(str(folder))
    interface.check_pipeline(pipeline)
    named = pipeline._pretrained_args["models"]  # noqa: SLF001 - the only place where the loader keeps them
    for name, path in named.items():
        if name in pipeline.models:
            interface.check_state(name, pipeline.models[name], interface.stored_shapes(folder / f"{path}.safetensors"))
    stored = interface.stored_shapes(home / WEIGHTS / "vggt/model.safetensors")
    interface.check_state("VGGT", pipeline.VGGT_model, stored, interface.DROPPED)
    return pipeline
