"""How well six views agree under a hypothesis of focal length and depth range.

Everything is in units of the camera distance, which is 1: camera i sits at POSITION[i] and looks at the
origin. Image coordinates u, v run over [-1, 1]; a point (x, y, z) of the camera frame lands on F x/z, F y/z
with F = 1 / tan(fov / 2). A depth code g means z = a + b g (or that distance along the ray).

Two kinds of residual, both in pixels of the depth render as seen at the object's distance:
- depth: a surface point of view i that view j also sees must lie on j's surface (point to plane);
- silhouette: along each point of j's outline, the outermost of the other views' surface points must
  just touch it (the support function of the outline), not stick out of it and not stay inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from recon3d_contract.conventions import POSITION, camera_axes
from scipy import ndimage

from recon3d_runner.types import F32, F64, I32, Bool


@dataclass(frozen=True)
class Sight:
    """One upright view, prepared for calibration."""

    name: str
    code: F32
    """(h, h) dequantised depth codes."""
    inside: Bool
    """(h, h) object pixels."""
    slope: F32
    """(h, h) code change per pixel, NaN where a neighbour is outside or across a depth edge."""
    points: F32
    """(N, 3) u, v, code of object pixels: sparse inside, dense along the outline."""
    outline: F32
    """(M, 4) u, v of outline points and the outward unit normal."""
    nearest: I32
    """(h, h) index of the nearest outline point within BAND pixels, else -1."""


BAND = 72
CREASE = 0.5
"""Second differences beyond this many pixels of depth mark a crease."""
SLOPE_LIMIT = 15.0
"""A surface steeper than this, in pixels of depth per pixel, is a depth edge."""


def code_jump(code: F32, inside: Bool) -> float:
    """Largest code step between neighbouring pixels of one surface (SLOPE_LIMIT pixels of depth)."""
    spread = float(np.ptp(code[inside])) if inside.any() else 0.0
    return max(4.0, SLOPE_LIMIT * spread / max(1.0, float(np.sqrt(inside.sum()))))


def prepare(name: str, code: F32, inside: Bool, alpha: F32) -> Sight:
    """Sample points and outline of one view. alpha: (H, H) coverage; H is a multiple or fraction of h."""
    h = inside.shape[0]
    jump = code_jump(code, inside)
    gy, gx = np.full_like(code, np.nan), np.full_like(code, np.nan)
    gx[:, 1:-1] = (code[:, 2:] - code[:, :-2]) / 2
    gy[1:-1] = (code[2:] - code[:-2]) / 2
    core = ndimage.binary_erosion(inside)
    slope = np.hypot(gx, gy)
    slope[~core | (slope > jump)] = np.nan
    outline = _outline(alpha, h)
    points = _points(code, inside, slope, jump, outline)
    nearest = np.full((h, h), -1, np.int32)
    if len(outline):
        at = np.clip(((outline[:, :2] + 1) * h / 2).astype(np.int64), 0, h - 1)
        seed = np.ones((h, h), bool)
        seed[at[:, 1], at[:, 0]] = False
        which = np.full((h, h), -1, np.int32)
        which[at[:, 1], at[:, 0]] = np.arange(len(outline))
        distance, index = ndimage.distance_transform_edt(seed, return_indices=True)
        nearest = np.where(distance <= BAND, which[index[0], index[1]], -1).astype(np.int32)
    return Sight(name, code, inside, slope.astype(np.float32), points.astype(np.float32), outline, nearest)


def _points(code: F32, inside: Bool, slope: F32, jump: float, outline: F32) -> F32:
    """(N, 3) u, v, code: sparse on smooth surface, every pixel near outlines, depth edges and creases.

    Edges of flat-sided objects end between pixels, so that the outline's own points are added, with the depth of
    the nearest object pixel.
    """
    h = code.shape[0]
    bend = np.zeros_like(code)
    bend[:, 1:-1] = np.abs(code[:, 2:] - 2 * code[:, 1:-1] + code[:, :-2])
    bend[1:-1] = np.maximum(bend[1:-1], np.abs(code[2:] - 2 * code[1:-1] + code[:-2]))
    sharp = inside & (np.isnan(slope) | (bend > CREASE * jump / SLOPE_LIMIT))
    dense = ndimage.binary_dilation(sharp) & inside
    rows, columns = np.nonzero(inside)
    keep = ((rows % 3 == 1) & (columns % 3 == 1)) | dense[rows, columns]
    rows, columns = rows[keep], columns[keep]
    found = np.stack([2 * (columns + 0.5) / h - 1, 2 * (rows + 0.5) / h - 1, code[rows, columns]], 1)
    if not len(outline):
        return found.astype(np.float32)
    at = np.clip(((outline[:, :2] + 1) * h / 2).astype(np.int64), 0, h - 1)
    distance, index = ndimage.distance_transform_edt(~inside, return_indices=True)
    near = distance[at[:, 1], at[:, 0]] <= 1.5
    j, i = index[0][at[near, 1], at[near, 0]], index[1][at[near, 1], at[near, 0]]
    rim = np.concatenate([outline[near, :2], code[j, i][:, None]], 1)
    return np.concatenate([found, rim]).astype(np.float32)


def _outline(alpha: F32, h: int) -> F32:
    """The half-coverage contour, about one sample a depth pixel, with outward normals."""
    from skimage.measure import find_contours

    size = alpha.shape[0]
    smooth = ndimage.gaussian_filter(alpha, max(1.0, size / h))
    dy, dx = np.gradient(smooth)
    pieces = []
    for contour in find_contours(np.pad(alpha, 1), 0.5):
        contour = contour - 1
        length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(contour, axis=0), axis=1))])
        if length[-1] < 8 * size / h:
            continue
        at = np.arange(0, length[-1], size / h)
        pieces.append(np.stack([np.interp(at, length, contour[:, k]) for k in (0, 1)], 1))
    if not pieces:
        return np.zeros((0, 4), np.float32)
    rc = np.concatenate(pieces)
    # An outline cut off by the image's border is no outline of the object.
    rc = rc[((rc > 1) & (rc < size - 2)).all(1)]
    normal = -np.stack([ndimage.map_coordinates(d, rc.T, order=1) for d in (dx, dy)], 1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    uv = 2 * (rc[:, ::-1] + 0.5) / size - 1
    return np.concatenate([uv, normal], 1).astype(np.float32)


def frames() -> dict[str, F64]:
    """(3, 3) world-to-camera rotation of every view."""
    return {name: np.array(camera_axes(name)) for name in POSITION}


@njit(cache=True, nogil=True)
def lift(points: F32, focal: float, a: float, b: float, ray: bool) -> F64:
    """(N, 3) u, v, code -> camera frame."""
    out = np.empty((points.shape[0], 3))
    for k in range(points.shape[0]):
        x = points[k, 0] / focal
        y = points[k, 1] / focal
        z = a + b * points[k, 2]
        if ray:
            z /= np.sqrt(1.0 + x * x + y * y)
        out[k, 0] = x * z
        out[k, 1] = y * z
        out[k, 2] = z
    return out


@njit(cache=True, nogil=True)
def depth_residuals(
    points: F64, code: F32, slope: F32, inside: Bool, focal: float, a: float, b: float, ray: bool, reach: float
) -> F64:
    """Signed point-to-plane residual of `points` (N, 3), in view j's camera frame, against j's surface.

    In pixels at unit distance; positive behind the surface. NaN: outside the silhouette, across a depth edge
    or hidden more than `reach` behind the surface; -reach where a point floats in front of it.
    """
    h = code.shape[0]
    pixel = 2.0 / (h * focal)
    out = np.full(points.shape[0], np.nan)
    for k in range(points.shape[0]):
        z = points[k, 2]
        if z <= 0.0:
            continue
        x = (focal * points[k, 0] / z + 1.0) * h / 2 - 0.5
        y = (focal * points[k, 1] / z + 1.0) * h / 2 - 0.5
        i, j = int(np.floor(x)), int(np.floor(y))
        if i < 1 or j < 1 or i >= h - 2 or j >= h - 2:
            continue
        if not (inside[j, i] and inside[j, i + 1] and inside[j + 1, i] and inside[j + 1, i + 1]):
            continue
        s = slope[j, i]
        if np.isnan(s) or np.isnan(slope[j + 1, i + 1]):
            continue
        fx, fy = x - i, y - j
        g = (1 - fy) * ((1 - fx) * code[j, i] + fx * code[j, i + 1]) + fy * (
            (1 - fx) * code[j + 1, i] + fx * code[j + 1, i + 1]
        )
        surface = a + b * g
        if ray:
            surface /= np.sqrt(1.0 + (points[k, 0] ** 2 + points[k, 1] ** 2) / (z * z))
        tilt = abs(b) * s / (pixel * surface)
        r = (z - surface) / pixel / np.sqrt(1.0 + tilt * tilt)
        if r > reach:
            continue
        out[k] = max(r, -reach)
    return out


@njit(cache=True, nogil=True)
def support(
    points: F64,
    outline: F32,
    nearest: I32,
    inside: Bool,
    focal: float,
    window: float,
    best: F64,
    owner: I32,
    base: int,
) -> int:
    """Fold `points` (N, 3; camera frame of view j) into the support of j's outline.

    best (M,): largest signed distance along the normal, in pixels; owner (M,): `base` + index of the point.
    Returns how many points stick out of the silhouette beyond the band.
    """
    h = nearest.shape[0]
    lost = 0
    for k in range(points.shape[0]):
        z = points[k, 2]
        if z <= 0.0:
            lost += 1
            continue
        u = focal * points[k, 0] / z
        v = focal * points[k, 1] / z
        i = int(np.floor((u + 1.0) * h / 2))
        j = int(np.floor((v + 1.0) * h / 2))
        if i < 0 or j < 0 or i >= h or j >= h:
            lost += 1
            continue
        m = nearest[j, i]
        if m < 0:
            if not inside[j, i]:
                lost += 1
            continue
        du = (u - outline[m, 0]) * h / 2
        dv = (v - outline[m, 1]) * h / 2
        along = du * outline[m, 2] + dv * outline[m, 3]
        across = -du * outline[m, 3] + dv * outline[m, 2]
        if abs(across) <= window and along > best[m]:
            best[m] = along
            owner[m] = base + k
    return lost
