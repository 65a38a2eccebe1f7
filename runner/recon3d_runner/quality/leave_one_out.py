"""Would the result predict a view that it was not coloured from?

A texture fitted to six views looks right in those six even on a wrong shape. So every view is predicted from
the other five, projected through the geometry, and compared where another view sees the same surface: on a
wrong shape the projections disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from recon3d_runner.comparison import shrink
from recon3d_runner.engines.nvdiffrec import bake
from recon3d_runner.engines.nvdiffrec.sight import SHY, Sight, sight_of
from recon3d_runner.raster import Rasteriser
from recon3d_runner.raster.cpu import project
from recon3d_runner.types import F32, F64, I32, View

MIN_SHARE = 0.02
"""Of a view's foreground that others must see for it to be judged."""


def _shrink(image: F32, size: int) -> F32:
    return image if image.shape[0] // size <= 1 else shrink(image, size)


def leave_one_out(
    vertices: F64, faces: I32, views: Sequence[View], rasteriser: Rasteriser, threads: int = 2
) -> dict[str, float | None]:
    """PSNR in dB by view, at half the input's resolution; None where other views see too little of the surface."""
    size = max(256, views[0].rgb.shape[0] // 2)

    def prepare(view: View) -> tuple[Sight, bake.TexelMap]:
        n = size if view.rgb.shape[0] % size == 0 else view.rgb.shape[0]
        small = View(view.name, view.camera, _shrink(view.rgb, n), _shrink(view.alpha, n), None, 0.0)
        face, depth, bary = rasteriser.rasterize(project(vertices, view.camera, n), faces, n)
        return sight_of(small, depth), bake.TexelMap(face, bary)

    def one(k: int) -> float | None:
        sight, shown = prepared[k]
        view = sight.view
        colour, weight = bake.gather(shown, vertices, faces, [s for j, (s, _) in enumerate(prepared) if j != k])
        judged = (weight > SHY) & (view.alpha > 0.99)
        if judged.sum() < MIN_SHARE * max(1, int((view.alpha > 0.5).sum())):
            return None
        error = float(np.square(colour[judged] - view.rgb[judged]).mean())
        return float(-10 * np.log10(max(error, 1e-10)))

    with ThreadPoolExecutor(threads) as pool:
        prepared = list(pool.map(prepare, views))
        found = list(pool.map(one, range(len(prepared))))
    return {view.name: value for view, value in zip(views, found, strict=True)}
