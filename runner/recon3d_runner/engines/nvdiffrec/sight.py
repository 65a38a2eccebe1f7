"""How surely each pixel of an input view shows the surface that the mesh has there.

A view sees a texel when the depth buffer says so and the input shows solid foreground there. Pixels beside an
occlusion edge mix two surfaces, so that they count a thousandth: they decide only where nothing else can.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from recon3d_runner.crop import around
from recon3d_runner.types import F32, Bool, View

SHY = 1e-3
"""Weight of pixels on an occlusion edge, which mix two surfaces; below that of a view at a cosine of .2."""
WARY = 0.1
"""Weight of the pixels next to those, which a small error of the geometry would put on the other surface."""
GRAZING = 0.05
"""Least viewing cosine from which a pixel says something: what it smears over a row of texels is still nearer the truth
than what the surroundings suggest."""
SOLID = np.float32(0.99)
"""Coverage from which on a pixel shows nothing but the object."""
REACH = 3
"""Pixels around one that decide how far it is trusted: depth beside an edge that is two steps away."""


@dataclass(frozen=True)
class Sight:
    """One view prepared for baking."""

    view: View
    depth: F32
    """(H, H) rendered depth of the mesh at the image's resolution, NaN outside."""
    trust: F32
    """(H, H) 1 on solid foreground, WARY and SHY towards occlusion edges, 0 where the input shows background."""


def sight_of(view: View, depth: F32) -> Sight:
    """Trust of one view in which the mesh has the rendered `depth` (H, H)."""
    pixel = view.camera.pixel(len(depth))
    trust = np.zeros(depth.shape, np.float32)
    place = around(view.alpha > SOLID, REACH)  # all else is worth nothing
    edge = np.empty(trust[place].shape, np.bool_)
    _edges(depth[place], np.float32(12.0 * pixel), edge)
    _trust(edge, view.alpha[place], trust[place])
    return Sight(view, depth, trust)


@njit(cache=True, nogil=True)
def _edges(depth: F32, gap: float, edge: Bool) -> None:
    """Mark occlusion edges: depth that no slope explains among a pixel and its neighbours, or the background."""
    n, m = depth.shape
    for j in range(n):
        for i in range(m):
            low, high = np.float32(np.inf), np.float32(-np.inf)
            for v in range(max(j - 1, 0), min(j + 2, n)):
                for u in range(max(i - 1, 0), min(i + 2, m)):
                    z = depth[v, u] if np.isfinite(depth[v, u]) else np.float32(1e6)
                    low, high = min(low, z), max(high, z)
            edge[j, i] = high - low > gap


@njit(cache=True, nogil=True)
def _trust(edge: Bool, alpha: F32, trust: F32) -> None:
    """Weigh every pixel by how surely its colour is one surface's; see Sight."""
    n, m = edge.shape
    for j in range(n):
        for i in range(m):
            if not alpha[j, i] > SOLID:
                trust[j, i] = 0.0
                continue
            solid = True
            for v in range(max(j - 1, 0), min(j + 2, n)):
                for u in range(max(i - 1, 0), min(i + 2, m)):
                    solid = solid and alpha[v, u] > SOLID
            if not solid:
                trust[j, i] = SHY * SHY
            elif edge[j, i]:
                trust[j, i] = SHY
            else:
                # Two steps along rows and columns: the pixels next to an edge.
                wary = False
                for v in range(max(j - 2, 0), min(j + 3, n)):
                    reach = 2 - abs(v - j)
                    for u in range(max(i - reach, 0), min(i + reach + 1, m)):
                        wary = wary or edge[v, u]
                trust[j, i] = WARY if wary else 1.0
