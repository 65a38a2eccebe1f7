"""What the official code takes for granted of a GPU, undone, so that tests can run all of it with tiny weights.

With the real weights a CPU would take hours; `require` in __init__ refuses that.
"""

from __future__ import annotations

import importlib
from typing import Any


def adapt() -> None:
    """Call after the official module was imported and before its pipeline is loaded."""
    import torch

    if torch.cuda.is_available():
        return
    torch.cuda.get_device_capability = lambda *_: (8, 0)
    meshes: Any = importlib.import_module("trellis.representations.mesh.cube2mesh")
    meshes.SparseFeatures2Mesh.__init__.__defaults__ = ("cpu", 64, True)
    meshes.FlexiCubes.__init__.__defaults__ = ("cpu",)
    convolution: Any = importlib.import_module("spconv.pytorch.conv").SparseConvolution
    if not hasattr(convolution, "forward_with_bias"):
        convolution.forward_with_bias = convolution.forward
        convolution.forward = _bias_apart


def _bias_apart(self: Any, features: Any) -> Any:
    """spconv's convolution, which on a CPU knows no bias."""
    bias = self.bias
    self._parameters["bias"] = None
    try:
        out = self.forward_with_bias(features)
    finally:
        self._parameters["bias"] = bias
    return out if bias is None else out.replace_feature(out.features + bias)
