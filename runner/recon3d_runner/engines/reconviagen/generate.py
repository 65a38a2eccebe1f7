"""One run of the official pipeline: six views in, a mesh in its own frame out."""

from __future__ import annotations

import gc
import random
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image
from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.spec import ReconviagenSettings

from recon3d_runner.engines.reconviagen import cpu, interface, official
from recon3d_runner.run import Run
from recon3d_runner.types import View

LOW_VRAM_BELOW: Final = 20_000_000_000
"""Bytes of GPU memory below which only the model in use is kept there; the official app needs 16 to 18 GB."""
SOLID: Final = 0.8
"""The official code counts pixels with more coverage than this as the object."""
# As the official app calls it.
SHAPE_GUIDANCE: Final = {"cfg_interval": [0.6, 1.0], "guidance_rescale": 0.7, "rescale_t": 5.0}
LATENT_GUIDANCE: Final = {"cfg_interval": [0.6, 1.0], "guidance_rescale": 0.5, "rescale_t": 3.0}


def pictures(views: Sequence[View]) -> list[Any]:
    """Return the views as RGBA pictures with our masks. INCONSISTENT_VIEWS for a view whose mask is empty."""
    made = []
    for view in views:
        if not (view.alpha > SOLID).any():
            raise Recon3dError(Code.INCONSISTENT_VIEWS, f"The view '{view.name}' shows no object.", {"view": view.name})
        # Never wholly opaque: the official code would take that for a picture without a mask.
        alpha = np.round(np.clip(view.alpha, 0, 1) * 255).astype(np.uint8)
        alpha[0, 0] = min(int(alpha[0, 0]), 254)
        rgb = np.round(np.clip(view.rgb, 0, 1) * 255).astype(np.uint8)
        made.append(Image.fromarray(np.dstack([rgb, alpha]), "RGBA"))
    return made


def _seed(seed: int) -> None:
    import torch

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the official code draws from numpy's global generator
    torch.manual_seed(seed)


class Model:
    """The loaded pipeline on one device."""

    def __init__(self, home: Path, device: str) -> None:
        """Import and load; ENGINE_UNAVAILABLE where code or weights are not the recorded ones."""
        self._device = device
        self._module = official.load_module(home, device)
        if device == "cpu":
            cpu.adapt()
        self._pipeline = official.load_pipeline(self._module, home)

    def low_vram(self, wanted: bool | None) -> bool:
        """Return whether to keep only the model in use on the GPU: as asked, else by the GPU's memory."""
        import torch

        if wanted is not None or self._device != "cuda":
            return bool(wanted)
        return int(torch.cuda.get_device_properties(0).total_memory) < LOW_VRAM_BELOW

    def run(self, views: Sequence[View], settings: ReconviagenSettings, seed: int, low_vram: bool) -> Any:
        """Return what the official pipeline returns."""
        import torch

        pipeline = self._pipeline
        pipeline._device = torch.device(self._device)  # noqa: SLF001 - the official app sets it so
        pipeline.low_vram = low_vram
        target = "cpu" if low_vram else self._device
        for model in [*pipeline.models.values(), pipeline.VGGT_model]:
            model.to(target)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the official code's own, about coming versions of torch
            prepared = [pipeline.preprocess_image(picture) for picture in pictures(views)]
            if any(picture.mode != "RGBA" for picture in prepared):
                raise interface.drifted("it found no object in a view that has one")
            _seed(seed)
            return pipeline.run(
                image=prepared,
                seed=seed,
                formats=["mesh"],
                preprocess_image=False,
                sparse_structure_sampler_params={
                    "steps": settings.sparse_structure_steps,
                    "cfg_strength": settings.sparse_structure_cfg,
                    **SHAPE_GUIDANCE,
                },
                slat_sampler_params={
                    "steps": settings.slat_steps,
                    "cfg_strength": settings.slat_cfg,
                    **LATENT_GUIDANCE,
                },
            )

    def free(self) -> None:
        """Give back what the last run left on the device."""
        import torch

        gc.collect()
        if self._device == "cuda":
            torch.cuda.empty_cache()


def out_of_gpu_memory(error: BaseException) -> bool:
    """Whether `error` says that the GPU's memory ran out."""
    return type(error).__name__ == "OutOfMemoryError" or "CUDA out of memory" in str(error)


def generate(
    model: Model, views: Sequence[View], settings: ReconviagenSettings, seed: int, run: Run
) -> interface.Generated:
    """Run the pipeline; where the GPU's memory runs out once more, sparing it, before GPU_OUT_OF_MEMORY."""
    sparing = model.low_vram(settings.low_vram)
    while True:
        try:
            return interface.take_result(model.run(views, settings, seed, sparing))
        except RuntimeError as error:
            if not out_of_gpu_memory(error):
                raise
            if sparing:
                raise Recon3dError(
                    Code.GPU_OUT_OF_MEMORY,
                    "The GPU's memory ran out, even with only the model in use on it.",
                    suggestion="Use a GPU with at least 16 GB that nothing else uses.",
                ) from error
        finally:
            model.free()
        run.warn("low_vram", "The GPU's memory ran out; the engine ran again with only the model in use on the GPU.")
        sparing = True
