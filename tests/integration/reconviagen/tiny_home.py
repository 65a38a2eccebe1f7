"""Makes a home for the engine reconviagen out of a checkout of the official code and tiny random weights.

    python tiny_home.py CHECKOUT HOME [SEED]

All of the pipeline's own code runs: samplers, sparse transformers and convolutions, mesh extraction. Only what is
too large to be tiny is replaced: VGGT and DINOv2 by projections of the right shapes, and the decoder of the sparse
structure by a ball, because random occupancy would be noise. Needs the packages that the official code needs.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from recon3d_runner.engines.reconviagen import official, pins
from recon3d_runner.engines.reconviagen.digests import file_sha256, tree_sha256
from recon3d_runner.engines.reconviagen.weights import CODE, WEIGHTS, Entry, Manifest

RESOLUTION = 16
BALL = '''

class SparseStructureDecoder(nn.Module):
    """A test's stand-in: a ball, whatever the latents; their mean decides its size a little."""

    def __init__(self, resolution):
        super().__init__()
        self.resolution = resolution
        self.scale = nn.Parameter(torch.ones(1))

    @property
    def device(self):
        return self.scale.device

    def forward(self, x):
        place = (torch.arange(self.resolution, device=x.device) + 0.5) / self.resolution - 0.5
        z, y, x_ = torch.meshgrid(place, place, place, indexing="ij")
        radius = 0.36 + 0.02 * torch.tanh(x.float().mean())
        return (radius * self.scale - torch.sqrt(x_**2 + y**2 + z**2))[None, None]
'''
VGGT = '''
import torch
import torch.nn as nn
from huggingface_hub import PyTorchModelHubMixin


class Aggregator(nn.Module):
    """A test's stand-in: 24 layers of one token projection of the patches."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 14, 14)

    def forward(self, images):
        b, n = images.shape[:2]
        tokens = self.patches(images.flatten(0, 1)).flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens[:, :5], tokens], 1).repeat(1, 1, 128)
        return [tokens.reshape(b, n, 1374, 2048) for _ in range(24)], 5


class VGGT(nn.Module, PyTorchModelHubMixin):
    def __init__(self):
        super().__init__()
        self.aggregator = Aggregator()
        self.depth_head = nn.Linear(1, 1)
        self.track_head = nn.Linear(1, 1)
'''
DINO = '''
import torch
import torch.nn as nn

dependencies = ["torch"]


class Tiny(nn.Module):
    """A test's stand-in: one token projection of the patches."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 14, 14)

    def forward(self, images, is_training):
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        return {"x_prenorm": torch.cat([tokens[:, :5], tokens], 1).repeat(1, 1, 64)}


def dinov2_vitl14_reg(pretrained):
    model = Tiny()
    model.load_state_dict(torch.hub.load_state_dict_from_url("https://nowhere.invalid/dinov2_vitl14_reg4_pretrain.pth"))
    return model
'''
SLAT = {"resolution": RESOLUTION, "latent_channels": 8, "num_blocks": 1, "num_heads": 2, "attn_mode": "swin"}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "sparse_structure_decoder": ("SparseStructureDecoder", {"resolution": RESOLUTION}),
    "sparse_structure_flow_model": (
        "SparseStructureFlowModel",
        {"resolution": 8, "in_channels": 8, "out_channels": 8, "model_channels": 64, "cond_channels": 64,
         "num_blocks": 1, "num_heads": 2, "patch_size": 1, "qk_rms_norm": True},
    ),
    "sparse_structure_vggt_cond": (
        "ModulatedMultiViewCond", {"channels": 64, "ctx_channels": 3072, "num_heads": 2, "num_init_tokens": 32},
    ),
    "slat_flow_model": (
        "SLatFlowModel",
        {"resolution": RESOLUTION, "in_channels": 8, "out_channels": 8, "model_channels": 64, "cond_channels": 1024,
         "num_blocks": 1, "num_heads": 2, "patch_size": 2, "num_io_res_blocks": 1, "io_block_channels": [32],
         "qk_rms_norm": True},
    ),
    "slat_vggt_cond": ("ModulatedSLATMultiViewCond", {"channels": 1024, "ctx_channels": 3072}),
    "slat_decoder_mesh": (
        "SLatMeshDecoder", {**SLAT, "model_channels": 256, "representation_config": {"use_color": True}},
    ),
    "slat_decoder_gs": (
        "SLatGaussianDecoder",
        {**SLAT, "model_channels": 64, "representation_config": {
            "lr": {"_xyz": 1.0, "_features_dc": 1.0, "_opacity": 1.0, "_scaling": 1.0, "_rotation": 0.1},
            "perturb_offset": True, "voxel_size": 1.5, "num_gaussians": 4, "2d_filter_kernel_size": 0.1,
            "3d_filter_kernel_size": 9e-4, "scaling_bias": 4e-3, "opacity_bias": 0.1,
            "scaling_activation": "softplus"}},
    ),
}  # fmt: skip
SAMPLER = {"name": "FlowEulerGuidanceIntervalSampler", "args": {"sigma_min": 1e-5}, "params": {"steps": 2}}


def copy_code(checkout: Path, code: Path) -> None:
    """The official code with the three stand-ins."""
    for folder in pins.CODE_FOLDERS:
        shutil.copytree(checkout / folder, code / folder, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    with (code / "trellis/models/sparse_structure_vae.py").open("a") as file:
        file.write(BALL)
    (code / "wheels/vggt/vggt/models/vggt.py").write_text(VGGT)


def _store(model: Any, path: Path, shake: float) -> None:
    """Random weights, those that start at zero too: else half of the network would do nothing."""
    import torch
    from safetensors.torch import save_file

    with torch.no_grad():
        for value in model.parameters():
            if not value.any():
                value.normal_(std=shake)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)


def make(checkout: Path, home: Path, seed: int = 0) -> None:
    """Make `home`; imports the official code, so that it is best done in a process of its own."""
    import importlib

    import torch

    copy_code(checkout, home / CODE)
    weights = home / WEIGHTS
    dino = weights / pins.DINO_FOLDER
    (dino / "dinov2").mkdir(parents=True)
    (dino / "dinov2/__init__.py").write_text("")
    (dino / "hubconf.py").write_text(DINO)
    official.load_module(home, "cpu")
    torch.cuda.get_device_capability = lambda *_: (8, 0)
    importlib.import_module("recon3d_runner.engines.reconviagen.cpu").adapt()
    torch.manual_seed(seed)
    models = importlib.import_module("trellis.models")
    named = {}
    for name, (kind, options) in MODELS.items():
        path = weights / "pipeline/ckpts" / name
        _store(getattr(models, kind)(**options), path.with_suffix(".safetensors"), 0.02)
        path.with_suffix(".json").write_text(json.dumps({"name": kind, "args": options}))
        named[name] = f"ckpts/{name}"
    arguments = {
        "models": named,
        "sparse_structure_sampler": SAMPLER,
        "slat_sampler": SAMPLER,
        "slat_normalization": {"mean": [0.0] * 8, "std": [1.0] * 8},
        "image_cond_model": "dinov2_vitl14_reg",
    }
    pipeline = {"name": "TrellisVGGTTo3DPipeline", "args": arguments}
    (weights / "pipeline/pipeline.json").write_text(json.dumps(pipeline))
    vggt = importlib.import_module("wheels.vggt.vggt.models.vggt")
    _store(vggt.VGGT(), weights / "vggt/model.safetensors", 0.02)
    (weights / "vggt/config.json").write_text("{}")
    scope: dict[str, Any] = {}
    exec(DINO, scope)
    (weights / pins.DINO_WEIGHTS).parent.mkdir(parents=True)
    torch.save(scope["Tiny"]().state_dict(), weights / pins.DINO_WEIGHTS)
    write_manifest(home)


def write_manifest(home: Path) -> None:
    """List what lies below `home`."""
    weights = home / WEIGHTS
    code = tree_sha256(home / CODE, pins.CODE_FOLDERS)
    dino = tree_sha256(weights / pins.DINO_FOLDER, pins.DINO_FOLDERS)
    files = [
        Entry(path.relative_to(weights).as_posix(), path.stat().st_size, file_sha256(path), "made")
        for path in sorted(weights.rglob("*"))
        if path.is_file() and path.suffix in (".json", ".safetensors", ".pth")
    ]
    Manifest("tiny", code, "tiny", dino, {}, tuple(files)).write(home)


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
