"""Frames, cameras, units and depth meaning, declared once for the whole project.

World frame: right-handed, z up, object near the origin. Lengths are metres where the scale is known, else
the unit in which the camera distance is 1. Camera frame: x right, y down, z forward (OpenCV), so `z` is
depth. Images: row 0 on top, pixel (column i, row j) covers [i, i+1) x [j, j+1) and its centre is at +0.5;
the principal point is the image's middle and pixels are square. UV: u right, v down, [0, 1] over the
texture image (glTF), so texel row 0 is v = 0.

Matrices are plain nested tuples: this package needs no numerical library.
"""

from __future__ import annotations

from typing import Final, Literal

ViewName = Literal["front", "back", "left", "right", "top", "bottom"]

VIEWS: Final[tuple[ViewName, ...]] = ("front", "back", "left", "right", "top", "bottom")

RGB_SIZE: Final = 2048
DEPTH_SIZE: Final = 1024
MIN_SIZE: Final = 256
MAX_SIZE: Final = 4096

# Direction from the origin to the camera.
POSITION: Final[dict[ViewName, tuple[float, float, float]]] = {
    "front": (1.0, 0.0, 0.0),
    "back": (-1.0, 0.0, 0.0),
    "left": (0.0, 1.0, 0.0),
    "right": (0.0, -1.0, 0.0),
    "top": (0.0, 0.0, 1.0),
    "bottom": (0.0, 0.0, -1.0),
}

# World direction that points up in the image.
UP: Final[dict[ViewName, tuple[float, float, float]]] = {
    "front": (0.0, 0.0, 1.0),
    "back": (0.0, 0.0, 1.0),
    "left": (0.0, 0.0, 1.0),
    "right": (0.0, 0.0, 1.0),
    "top": (-1.0, 0.0, 0.0),
    "bottom": (1.0, 0.0, 0.0),
}

Vector = tuple[float, float, float]


def _cross(a: Vector, b: Vector) -> Vector:
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def camera_axes(view: ViewName) -> tuple[Vector, Vector, Vector]:
    """World directions of the camera's x (right), y (down) and z (forward) axes, each a unit vector."""
    px, py, pz = POSITION[view]
    ux, uy, uz = UP[view]
    forward = (-px, -py, -pz)
    return _cross(forward, (ux, uy, uz)), (-ux, -uy, -uz), forward


def world_to_gltf(x: float, y: float, z: float) -> Vector:
    """World (z up, front +x) to glTF (y up, front +z)."""
    return (y, z, x)
