"""What this adapter is written against: the official code, its weights and where they come from.

Code digests were taken from the repositories at these commits. Weights are pinned by revision; the hub names the
SHA-256 of every large file at a revision, and fetching compares. Where a digest is given here as well, it was read in
public records of others who fetched the same revision, not computed by this project, which has no access to the hub:
fetching and checking treat it like any other digest, and say where it came from when it does not fit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

CODE_REPOSITORY: Final = "https://github.com/GAP-LAB-CUHK-SZ/ReconViaGen"
CODE_COMMIT: Final = "f6720923260927333e22761fa722144d214733d9"
CODE_FOLDERS: Final = ("trellis", "wheels/vggt")
"""Of the repository; nothing else of it is imported."""
CODE_SHA256: Final = "bc36a08714a1ac6ee7a5b9ef21e81e575b7c4113e5fa4345fd2b783ba85f2b64"

DINO_REPOSITORY: Final = "https://github.com/facebookresearch/dinov2"
DINO_COMMIT: Final = "b8931f7bf91576930313be2c6d6af376033b35f0"
DINO_FOLDERS: Final = ("dinov2", "hubconf.py")
DINO_SHA256: Final = "eb51ff6d06c0199ba5717c05beccc16580efb749fcad9c910a8ac12753cb7ee3"
DINO_FOLDER: Final = "torch/hub/facebookresearch_dinov2_main"
"""Below the weights: the name under which the official code looks for it."""

PACKAGES: Final = {
    "torch": "2.4.0",
    "torchvision": "0.19.0",
    "xformers": "0.0.27.post2",
    "spconv": "2.3.6",
    "huggingface_hub": "0.33.4",
}
"""Versions that the official code asks for; others are a warning."""


@dataclass(frozen=True)
class Hub:
    """A model repository at one revision."""

    repository: str
    revision: str
    folder: str
    """Below the weights."""
    only: tuple[str, ...]
    """Files are fetched whose path ends so."""
    known: dict[str, str] = field(default_factory=dict)
    """SHA-256 by path, from public records (see above)."""


HUBS: Final = (
    Hub(
        "Stable-X/trellis-vggt-v0-2",
        "647659a5ad5fbf67e22793e7b5e2cee4b30c5d13",
        "pipeline",
        (".json", ".safetensors"),
        {"ckpts/slat_vggt_cond.safetensors": "18945872ec1a5fc13b2bfe86f279777c895c015ddff5cabc8f5a6dcd245d862a"},
    ),
    Hub(
        "Stable-X/vggt-object-v0-1",
        "aac569c280b52ccda1c84a81cd0e27e947bc2cf5",
        "vggt",
        ("config.json", "model.safetensors"),
        {"model.safetensors": "65c4803ef021a4143bbe499faebaef1d1a522d1437b5742b89c85d557db4bba4"},
    ),
)

DINO_WEIGHTS: Final = "torch/hub/checkpoints/dinov2_vitl14_reg4_pretrain.pth"
DINO_WEIGHTS_URL: Final = "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_reg4_pretrain.pth"
DINO_WEIGHTS_SHA256: Final = "36e4deffbaef061a2576705b0c36f93621e2ae20bf6274694821b0b492551b51"
"""From a public record as well."""
