"""Another engine's mesh as what stands behind the surfaces that the views see.

Carving leaves solid whatever no view proves empty: the underside of an overhang, the inside of a narrow neck. A prior
is a closed mesh in the world frame. What lies outside it is emptied too, but only inside the solid that carving left,
and never within SKIN behind a surface that some view's depth shows: the prior may be a little off there, the views are
not. Without depth nothing shields the surface, and the solid is the prior within the visual hull.

The geometry pass flattens what no data hold; where a prior made the surface, it keeps the curvature that it finds.
The texture takes the prior's colours where no view sees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.spatial import cKDTree

from recon3d_runner.engines.inside import inside_votes
from recon3d_runner.engines.nvdiffrec.fusion import STEEPEST, Carver, Silhouette
from recon3d_runner.raster import Rasteriser
from recon3d_runner.raster.cpu import project
from recon3d_runner.run import Run
from recon3d_runner.surface import vertex_normals
from recon3d_runner.types import F32, F64, I32, Bool, View

SKIN = 0.015
"""Of the object's diagonal."""
BAND = 2.0
"""Cells on both sides of the prior's surface in which distances are exact."""
RINGS = 2
"""Of vertices over which the held part fades out."""
NEIGHBOURS = 8
"""Of the prior's vertices around a place, among which one has to face the same way: a thin wall has two sides."""


PRIOR_UNFIT = "prior_unfit"
"""The warning's code."""
LEAST_IOU = 0.9
"""Of the prior's silhouettes with the views': one that fits less would cut where the views see."""


@dataclass(frozen=True)
class Prior:
    """A closed mesh in the world frame."""

    vertices: F64
    faces: I32
    colours: F64 | None = None
    """(V, 3) sRGB in [0, 1] at the vertices."""

    def iou(self, views: list[View], rasteriser: Rasteriser, size: int = 256) -> float:
        """Return how much of the views' silhouettes it covers, all of them together."""
        both = either = 0
        for view in views:
            face, _, _ = rasteriser.rasterize(project(self.vertices, view.camera, size), self.faces, size)
            index = ((np.arange(size) + 0.5) * view.alpha.shape[0] / size).astype(np.int64)
            solid = view.alpha[index][:, index] >= 0.5
            both += int(((face >= 0) & solid).sum())
            either += int(((face >= 0) | solid).sum())
        return both / max(either, 1)

    def colours_at(self, points: F64, normals: F64) -> F64 | None:
        """(N, 3) colours of the vertices nearest to `points`, of those that face the same way where one is near."""
        if self.colours is None:
            return None
        own = vertex_normals(self.vertices, self.faces)
        _, near = cKDTree(self.vertices).query(points, k=NEIGHBOURS, workers=-1)
        alike = (own[near] * normals[:, None]).sum(-1) > 0
        first = np.where(alike.any(1), alike.argmax(1), 0)
        return np.asarray(self.colours[near[np.arange(len(points)), first]])


@njit(cache=True, nogil=True)
def _to_triangle(px: float, py: float, pz: float, a: F64, b: F64, c: F64) -> float:
    """Squared distance of a point from a triangle, by the region of its plane that the point falls into."""
    ab, ac = b - a, c - a
    apx, apy, apz = px - a[0], py - a[1], pz - a[2]
    d1 = ab[0] * apx + ab[1] * apy + ab[2] * apz
    d2 = ac[0] * apx + ac[1] * apy + ac[2] * apz
    e, f = ab[0] ** 2 + ab[1] ** 2 + ab[2] ** 2, ab[0] * ac[0] + ab[1] * ac[1] + ab[2] * ac[2]
    g = ac[0] ** 2 + ac[1] ** 2 + ac[2] ** 2
    area = e * g - f * f
    v = w = 0.0
    inside = False
    if area > 1e-30:
        v, w = (g * d1 - f * d2) / area, (e * d2 - f * d1) / area
        inside = v >= 0 and w >= 0 and v + w <= 1
    if inside:
        x, y, z = apx - v * ab[0] - w * ac[0], apy - v * ab[1] - w * ac[1], apz - v * ab[2] - w * ac[2]
        return float(x * x + y * y + z * z)
    best = np.inf
    for k in range(3):
        s = a if k == 0 else (b if k == 1 else c)
        t = b if k == 0 else (c if k == 1 else a)
        dx, dy, dz = t[0] - s[0], t[1] - s[1], t[2] - s[2]
        length = dx * dx + dy * dy + dz * dz
        along = 0.0
        if length > 1e-30:
            along = ((px - s[0]) * dx + (py - s[1]) * dy + (pz - s[2]) * dz) / length
            along = min(max(along, 0.0), 1.0)
        x, y, z = px - s[0] - along * dx, py - s[1] - along * dy, pz - s[2] - along * dz
        best = min(best, x * x + y * y + z * z)
    return best


@njit(cache=True, nogil=True)
def _near(vertices: F64, faces: I32, n: int, band: float, squared: F32) -> None:
    """Lower `squared` (n, n, n) to the squared distance of each cell centre from each face within `band` cells."""
    for i in range(faces.shape[0]):
        a, b, c = vertices[faces[i, 0]], vertices[faces[i, 1]], vertices[faces[i, 2]]
        low = np.empty(3, np.int64)
        high = np.empty(3, np.int64)
        for k in range(3):
            low[k] = max(0, int(np.ceil(min(a[k], b[k], c[k]) - band - 0.5)))
            high[k] = min(n - 1, int(np.floor(max(a[k], b[k], c[k]) + band - 0.5)))
        for x in range(low[0], high[0] + 1):
            for y in range(low[1], high[1] + 1):
                for z in range(low[2], high[2] + 1):
                    d = _to_triangle(x + 0.5, y + 0.5, z + 0.5, a, b, c)
                    if d < squared[x, y, z]:
                        squared[x, y, z] = d


def signed_distance(vertices: F64, faces: I32, n: int, band: float = BAND) -> F32:
    """(n, n, n) distance of cell centres from a mesh, negative inside, cut off at `band`. vertices: in cells."""
    squared = np.full((n, n, n), band * band, np.float32)
    _near(vertices, faces, n, band, squared)
    return np.where(inside_votes(vertices, faces, n) > 0.5, -np.sqrt(squared), np.sqrt(squared))


@njit(cache=True, nogil=True)
def _shield(
    origin: F64,
    step: float,
    skin: float,
    rotation: F64,
    translation: F64,
    focal: float,
    depth: F32,
    tilt: F32,
    field: F32,
    cut: F32,
) -> None:
    """Lower `cut` below 0 within `skin` behind the surface that one view's depth shows."""
    size = depth.shape[0]
    n = field.shape
    for i in range(n[0]):
        x = origin[0] + i * step
        for j in range(n[1]):
            y = origin[1] + j * step
            for k in range(n[2]):
                if cut[i, j, k] <= field[i, j, k]:
                    continue
                z = origin[2] + k * step
                cz = rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] * z + translation[2]
                cx = rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] * z + translation[0]
                cy = rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] * z + translation[1]
                a = int(np.floor(focal * cx / cz + size / 2))
                b = int(np.floor(focal * cy / cz + size / 2))
                if a < 0 or b < 0 or a >= size or b >= size or np.isnan(depth[b, a]):
                    continue
                t = min(tilt[b, a] * focal / cz, STEEPEST)
                behind = (cz - depth[b, a]) / np.sqrt(1.0 + t * t)
                cut[i, j, k] = min(cut[i, j, k], behind - skin)


class Hidden:
    """Cuts the carved solid by a prior, and remembers where."""

    def __init__(self, prior: Prior, views: list[View], prepared: list[Silhouette]) -> None:
        """`prepared` are the views' fusion.prepare_all."""
        self._prior = prior
        self._views = views
        self._prepared = prepared
        self._origin = np.zeros(3)
        self._step = 1.0
        self._removed: Bool = np.zeros((0, 0, 0), bool)

    def carver(self, carver: Carver) -> Carver:
        """Return what carves as `carver` does, and then cuts."""

        def carve(views: list[View], prepared: list[Silhouette], origin: F64, step: float, n: int, run: Run) -> F32:
            field = carver(views, prepared, origin, step, n, run)
            self.cut(field, origin, step)
            return field

        return carve

    def cut(self, field: F32, origin: F64, step: float) -> None:
        """Empty, in place, what the prior says is empty and no view sees. See fusion.carve for the arguments."""
        n = len(field)
        cut = signed_distance((self._prior.vertices - origin) / step + 0.5, self._prior.faces, n)
        cut *= np.float32(step)
        skin = SKIN * float(np.linalg.norm(np.ptp(self._prior.vertices, axis=0)))
        for view, p in zip(self._views, self._prepared, strict=True):
            if view.depth is not None:
                camera = view.camera
                focal = camera.focal(p.depth.shape[0])
                _shield(origin, step, skin, camera.rotation, camera.translation, focal, p.depth, p.tilt, field, cut)
        self._origin, self._step = origin, step
        self._removed = (field < 0) & (cut >= 0)
        np.maximum(field, cut, out=field)

    def held(self, vertices: F64, faces: I32) -> F64:
        """(V,) 1 where the prior made the surface, 0 where the views did, in between over some rings."""
        at = np.floor((vertices - self._origin) / self._step).astype(np.int64)
        n = len(self._removed)
        made = np.zeros(len(vertices))
        for corner in np.ndindex(2, 2, 2):
            i, j, k = np.clip(at + corner, 0, n - 1).T
            made = np.maximum(made, self._removed[i, j, k])
        for _ in range(RINGS):
            made = np.minimum(made, _mean_of_neighbours(made, faces))
        return made


def _mean_of_neighbours(values: F64, faces: I32) -> F64:
    total, count = np.zeros(len(values)), np.bincount(faces.ravel(), minlength=len(values))
    for k in range(3):
        pair = values[faces[:, (k + 1) % 3]] + values[faces[:, (k + 2) % 3]]
        total += np.bincount(faces[:, k], weights=pair, minlength=len(values))
    return np.asarray(total / (2 * np.maximum(count, 1)))


def fitting(prior: Prior | None, views: list[View], rasteriser: Rasteriser, run: Run) -> Prior | None:
    """Return the prior; nothing, with a warning, where it fits no view."""
    if prior is None:
        return None
    iou = prior.iou(views, rasteriser)
    if iou < LEAST_IOU:
        run.warn(
            PRIOR_UNFIT,
            f"The prior's silhouettes cover {100 * iou:.0f} % of the views': what no view sees is closed smoothly.",
        )
        return None
    return prior
