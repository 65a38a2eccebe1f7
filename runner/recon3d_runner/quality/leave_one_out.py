"""Would the result predict a view that it was not coloured from?

A texture fitted to six views looks right in those six even on a wrong shape. So every view is predicted from
the other five, projected through the geometry, and compared where another view sees the same surface: on a
wrong shape the projections disagree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recon3d_runner.engines.nvdiffrec import bake
from recon3d_runner.raster import Rasteriser
from recon3d_runner.raster.cpu import project
from recon3d_runner.types import F32, F64, I32, View

MIN_SHARE = 0.02
"""Of a view's foreground that others must see for it to be judged."""


def _shrink(image: F32, size: int) -> F32:
    k = image.shape[0] // size
    return image if k <= 1 else np.ascontiguousarray(image.reshape((size, k, size, k) + image.shape[2:]).mean((1, 3)))


def leave_one_out(vertices: F64, faces: I32, views: Sequence[View], rasteriser: Rasteriser) -> dict[str, float | None]:
    """PSNR in dB by view, at half the input's resolution; None where other views see too little of the surface."""
    size = max(256, views[0].rgb.shape[0] // 2)
    small = []
    for view in views:
        target = size if view.rgb.shape[0] % size == 0 else view.rgb.shape[0]
        small.append(View(view.name, view.camera, _shrink(view.rgb, target), _shrink(view.alpha, target), None, 0.0))
    sights = [bake.look(vertices, faces, view, rasteriser) for view in small]
    out: dict[str, float | None] = {}
    for k, view in enumerate(small):
        n = view.rgb.shape[0]
        face, _, bary = rasteriser.rasterize(project(vertices, view.camera, n), faces, n)
        others = [s for j, s in enumerate(sights) if j != k]
        colour, weight = bake.gather(bake.TexelMap(face, bary), vertices, faces, others)
        judged = (weight > bake.SHY) & (view.alpha > 0.99)
        if judged.sum() < MIN_SHARE * max(1, int((view.alpha > 0.5).sum())):
            out[view.name] = None
            continue
        error = float(np.square(colour[judged] - view.rgb[judged]).mean())
        out[view.name] = float(-10 * np.log10(max(error, 1e-10)))
    return out
