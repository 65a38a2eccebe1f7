"""The port: what every rasteriser answers, whichever device computes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from recon3d_runner.types import F32, F64, I32

if TYPE_CHECKING:
    import torch


class Fragments(NamedTuple):
    """What the pixels of a square image see."""

    face: I32
    """(n, n) index of the nearest face at the pixel's centre, -1 on the background."""
    depth: F32
    """(n, n) z-depth in the unit of the points' z, NaN on the background."""
    bary: F32
    """(n, n, 2) perspective-correct weights of the face's corners 1 and 2, 0 on the background."""


class Rasteriser(Protocol):
    """Z-buffering on one device; safe to share between threads.

    Pixel centres lie at +0.5, row 0 is the top of the image, and both windings are drawn. A face is drawn whole,
    or not at all where a corner does not lie before the camera (z > 0). Where two faces are equally near, the
    back end decides. Back ends agree on all pixels but those whose centre lies within 1/16 pixel of a face's
    outline, because graphics hardware rounds vertices to a sub-pixel grid.
    """

    @property
    def name(self) -> str:
        """Short name for provenance: cpu, drtk, nvdiffrast."""

    def rasterize(self, points: F64, faces: I32, size: int) -> Fragments:
        """Draw the triangles into an image of `size` x `size`.

        points: (V, 3) pixel x to the right, pixel y down, z-depth; faces: (F, 3) indices into points.
        Out of memory passes through as the back end's own exception.
        """


@runtime_checkable
class TensorRasteriser(Rasteriser, Protocol):
    """A back end whose images may stay on its device, where torch then works on them."""

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""

    def draw(
        self, points: torch.Tensor, faces: torch.Tensor, size: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same as `rasterize` for tensors on `device`: points float64, faces int32; see Fragments."""
