"""The values that flow between the runner's stages; frames and units as in recon3d_contract.conventions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera. A world point p lands on pixel (f x/z + n/2, f y/z + n/2), (x, y, z) = R p + t."""

    rotation: F64
    """(3, 3) world to camera; rows are the camera's right, down and forward axes."""
    translation: F64
    """(3,) in world units."""
    fov_deg: float
    """Full angle of view across the square image."""

    def focal(self, size: int) -> float:
        """Focal length in pixels of an image of `size` x `size` pixels."""
        return 0.5 * size / float(np.tan(np.radians(self.fov_deg) / 2))

    def pixel(self, size: int) -> float:
        """What a pixel of an image of `size` x `size` pixels is in the world, at the origin."""
        return float(np.linalg.norm(self.centre)) / self.focal(size)

    @property
    def centre(self) -> F64:
        """(3,) the camera's position in the world."""
        return np.asarray(-self.rotation.T @ self.translation)


@dataclass(frozen=True)
class View:
    """One input view, oriented upright (mirror and roll repaired), with its camera."""

    name: str
    camera: Camera
    rgb: F32
    """(H, H, 3) sRGB in [0, 1] as in the file; over the background where there is no object."""
    alpha: F32
    """(H, H) coverage of the object in [0, 1]."""
    depth: F32 | None
    """(h, h) z-depth in world units, NaN on the background; None for jobs without depth."""
    depth_step: float = 0.0
    """Quantisation step of `depth` in world units."""
    depth_level: F32 | None = None
    """(h, h) the middles of the rounding intervals that `depth` lies in; None where it is what the file says."""


@dataclass(frozen=True)
class TexturedMesh:
    """A closed triangle mesh in the world frame, counter-clockwise seen from outside."""

    vertices: F64
    """(V, 3) world positions."""
    faces: I32
    """(F, 3) indices into `vertices`."""
    uv: F64
    """(W, 2) texture coordinates, u right, v down, in [0, 1]."""
    uv_faces: I32
    """(F, 3) indices into `uv`, corner by corner with `faces`."""
    texture: U8
    """(T, T, 3) sRGB base colour, row 0 at v = 0."""
    unseen: Bool
    """(T, T) texels that no view sees; their colour is filled in from their surroundings."""


@dataclass(frozen=True)
class Calibration:
    """What calibration found, and how well the six views agree on it."""

    fov_deg: float
    distance: float
    confidence: float
    """In [0, 1]; below .5 where a prior was used because the data cannot fix the value."""
    prior: str | None
    """Which prior was used, in words; None when the data fixed every value."""
    depth_encoding: str | None
    """white-near | black-near | metric; None without depth."""
    depth_is_ray: bool = False
    depth_near: float | None = None
    depth_far: float | None = None
    views: dict[str, dict[str, object]] = field(default_factory=dict)
    """Per view: roll_deg (0, 90, 180, 270), mirror (bool), residual_px."""
    residual: float = 0.0
    """Median disagreement of the six views' depths where two views see the same surface, in % of the distance."""
