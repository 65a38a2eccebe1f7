"""What is sound about a UV layout: overlaps, range, orientation, texel density.

Two UV triangles overlap when their intersection's area exceeds AREA_TOLERANCE texels; triangles that only share
an edge or a corner have an intersection without area, so neighbours need no special case (a fold-over counts).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from recon3d_runner.quality import bvh
from recon3d_runner.quality.jit import kernel
from recon3d_runner.surface import face_normals
from recon3d_runner.types import F64, I32, TexturedMesh

AREA_TOLERANCE: Final = 1e-3
"""Texels: far below what a bilinear look-up can show, far above the rounding of float32 UVs at 4096 texels."""
PAIR_LIMIT: Final = 5_000_000
"""Overlapping pairs after which counting stops (all faces on one spot would make F²/2)."""


@dataclass(frozen=True)
class UvChecks:
    """Result of check_uv."""

    overlapping_pairs: int
    """Pairs of UV triangles whose intersection has an area."""
    overlap_share: float
    """Summed area of those intersections over the summed area of all UV triangles."""
    complete: bool
    """False when counting stopped at PAIR_LIMIT."""
    out_of_range: int
    """UV coordinates outside [0, 1] that a face uses."""
    flipped_faces: int
    """Faces whose UV triangle runs against the majority's direction (a mirrored texture)."""
    degenerate_faces: int
    """Faces without area in UV, but with one in space."""
    used_share: float
    """Summed area of the UV triangles: the share of the texture in use where nothing overlaps."""
    texels_per_unit_median: float
    """Area-weighted median over faces of texels per world unit of length."""
    texels_per_unit_p5: float
    texels_per_unit_p95: float


def check_uv(mesh: TexturedMesh) -> UvChecks:
    """Check the UV layout of a mesh against its texture's size."""
    size = mesh.texture.shape[0]
    corners = np.ascontiguousarray(mesh.uv[mesh.uv_faces] * size)
    edge_a, edge_b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    signed = (edge_a[:, 0] * edge_b[:, 1] - edge_a[:, 1] * edge_b[:, 0]) / 2
    area = np.abs(signed)
    surface = np.linalg.norm(face_normals(mesh.vertices, mesh.faces), axis=1) / 2
    forward, backward = int((signed > 0).sum()), int((signed < 0).sum())
    pairs, shared, complete = _overlaps(corners[area > 0])
    density = _weighted_percentiles(np.sqrt(area / np.where(surface > 0, surface, np.inf)), surface, (5, 50, 95))
    used = mesh.uv[np.unique(mesh.uv_faces)]
    return UvChecks(
        overlapping_pairs=pairs,
        overlap_share=shared / float(area.sum()) if area.any() else 0.0,
        complete=complete,
        out_of_range=int(((used < 0) | (used > 1)).any(axis=1).sum()),
        flipped_faces=min(forward, backward),
        degenerate_faces=int(((area == 0) & (surface > 0)).sum()),
        used_share=float(area.sum()) / size**2,
        texels_per_unit_p5=density[0],
        texels_per_unit_median=density[1],
        texels_per_unit_p95=density[2],
    )


def _weighted_percentiles(values: F64, weights: F64, percents: tuple[float, ...]) -> list[float]:
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    if not len(total) or not total[-1] > 0:
        return [0.0] * len(percents)
    place = np.searchsorted(total, np.array(percents) / 100 * total[-1])
    return [float(values[order][min(k, len(order) - 1)]) for k in place]


def _overlaps(corners: F64) -> tuple[int, float, bool]:
    """Pairs that overlap, their summed common area in texels, and whether all were looked at."""
    if len(corners) < 2:
        return 0, 0.0, True
    corners = _counter_clockwise(corners)
    count, shared = 0, 0.0
    tree = bvh.build(corners.min(axis=1), corners.max(axis=1))
    for area in bvh.judged_pairs(tree, lambda pairs: _common_area(corners, pairs)):
        over = area > AREA_TOLERANCE
        count += int(over.sum())
        shared += float(area[over].sum())
        if count > PAIR_LIMIT:
            return count, shared, False
    return count, shared, True


def overlapping_within(corners: F64, group: I32) -> I32:
    """(K, 2) pairs of triangles (N, 3, 2), in texels, that overlap and carry the same `group` (N,) number."""
    turned = _counter_clockwise(corners)
    height = group.astype(np.float64)[:, None]
    low = np.concatenate([corners.min(axis=1), height], axis=1)
    high = np.concatenate([corners.max(axis=1), height], axis=1)
    tree = bvh.build(low, high)
    return np.concatenate(
        list(bvh.judged_pairs(tree, lambda pairs: pairs[_common_area(turned, pairs) > AREA_TOLERANCE]))
    )


def _counter_clockwise(corners: F64) -> F64:
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    turned: F64 = corners.copy()
    back = a[:, 0] * b[:, 1] < a[:, 1] * b[:, 0]
    turned[back] = corners[back][:, ::-1]
    return turned


@kernel
def _common_area(corners: F64, pairs: I32) -> F64:
    """Area of the intersection of each pair of counter-clockwise triangles (N, 3, 2), by clipping one at the other."""
    out = np.zeros(len(pairs))
    polygon, clipped = np.empty((16, 2)), np.empty((16, 2))
    for n in range(len(pairs)):
        subject, clip = corners[pairs[n, 0]], corners[pairs[n, 1]]
        # Relative to one corner: products of full-size coordinates would lose the small areas that matter.
        x0, y0 = clip[0, 0], clip[0, 1]
        for k in range(3):
            polygon[k, 0], polygon[k, 1] = subject[k, 0] - x0, subject[k, 1] - y0
        size = 3
        for k in range(3):
            ax, ay = clip[k, 0] - x0, clip[k, 1] - y0
            dx, dy = clip[(k + 1) % 3, 0] - clip[k, 0], clip[(k + 1) % 3, 1] - clip[k, 1]
            kept = 0
            for i in range(size):
                j = i + 1 if i + 1 < size else 0
                side_i = dx * (polygon[i, 1] - ay) - dy * (polygon[i, 0] - ax)
                side_j = dx * (polygon[j, 1] - ay) - dy * (polygon[j, 0] - ax)
                if side_i >= 0.0:
                    clipped[kept] = polygon[i]
                    kept += 1
                if (side_i > 0.0 and side_j < 0.0) or (side_i < 0.0 and side_j > 0.0):
                    t = side_i / (side_i - side_j)
                    clipped[kept, 0] = polygon[i, 0] + t * (polygon[j, 0] - polygon[i, 0])
                    clipped[kept, 1] = polygon[i, 1] + t * (polygon[j, 1] - polygon[i, 1])
                    kept += 1
            size = kept
            polygon[:size] = clipped[:size]
            if size < 3:
                break
        if size >= 3:
            twice = 0.0
            for i in range(size):
                j = i + 1 if i + 1 < size else 0
                twice += polygon[i, 0] * polygon[j, 1] - polygon[j, 0] * polygon[i, 1]
            out[n] = abs(twice) / 2
    return out
