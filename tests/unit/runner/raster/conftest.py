"""Small meshes drawn by hand, and the back ends that this machine has."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from recon3d_runner.raster import CHOICE, LIBRARIES, Rasteriser, kernels, open_rasteriser
from recon3d_runner.raster.on_device import OnDevice
from recon3d_runner.types import F64, I32, Camera

SIZE = 48


@dataclass(frozen=True)
class Drawing:
    """Projected points (V, 3), in an image of SIZE, and faces (F, 3)."""

    points: F64
    faces: I32
    size: int = SIZE


def _drawing(points: object, faces: object) -> Drawing:
    return Drawing(np.array(points, np.float64), np.array(faces, np.int32))


def _soup(seed: int) -> Drawing:
    """Sixty triangles of all sizes, windings and depths, some beyond the image's border."""
    rng = np.random.default_rng(seed)
    middle = rng.uniform(-4, SIZE + 4, (60, 1, 2))
    corners = middle + rng.normal(0, 1, (60, 3, 2)) * rng.choice([0.7, 3.0, 12.0], (60, 1, 1))
    depth = rng.uniform(0.5, 4.0, (60, 1, 1)) + rng.uniform(-0.2, 0.2, (60, 3, 1))
    return Drawing(np.concatenate([corners, depth], 2).reshape(-1, 3), np.arange(180, dtype=np.int32).reshape(-1, 3))


DRAWINGS = {
    "triangle": _drawing([(4.3, 5.2, 1.0), (40.7, 9.1, 2.0), (17.2, 41.6, 4.0)], [(0, 1, 2)]),
    "triangle, other winding": _drawing([(4.3, 5.2, 1.0), (40.7, 9.1, 2.0), (17.2, 41.6, 4.0)], [(0, 2, 1)]),
    "tetrahedron": _drawing(
        [(8.2, 37.3, 1.5), (41.4, 35.1, 1.7), (22.6, 6.7, 2.0), (24.1, 28.9, 0.9)],
        [(0, 1, 2), (0, 3, 1), (1, 3, 2), (2, 3, 0)],
    ),
    "two quads, one before the other": _drawing(
        [(5.1, 6.2, 2.0), (30.3, 5.4, 2.0), (31.7, 29.9, 2.0), (4.4, 31.2, 2.0)]
        + [(17.3, 15.1, 1.0), (44.2, 16.6, 1.0), (43.1, 42.7, 1.0), (18.8, 41.3, 1.0)],
        [(0, 1, 2), (0, 2, 3), (4, 5, 6), (4, 6, 7)],
    ),
    "two quads through each other": _drawing(
        [(5.1, 6.2, 1.0), (42.3, 5.4, 3.0), (43.7, 39.9, 3.0), (4.4, 41.2, 1.0)]
        + [(6.3, 8.1, 3.0), (44.2, 9.6, 1.0), (41.1, 42.7, 1.0), (7.8, 40.3, 3.0)],
        [(0, 1, 2), (0, 2, 3), (4, 5, 6), (4, 6, 7)],
    ),
    "thin triangle": _drawing([(2.1, 3.3, 1.0), (45.2, 44.1, 1.3), (45.9, 44.2, 1.3)], [(0, 1, 2)]),
    "steep triangle": _drawing([(9.3, 12.2, 0.5), (37.1, 14.6, 50.0), (25.4, 39.8, 50.0)], [(0, 1, 2)]),
    "a corner behind the camera": _drawing(
        [(10.2, 10.4, 1.0), (38.3, 12.2, 1.0), (20.6, 40.1, -1.0), (21.2, 36.7, 1.0)], [(0, 1, 2), (0, 1, 3)]
    ),
    "a corner in the camera's plane": _drawing(
        [(10.2, 10.4, 1.0), (38.3, 12.2, 1.0), (20.6, 40.1, 0.0), (21.2, 36.7, 1.0)], [(0, 1, 2), (0, 1, 3)]
    ),
    "beyond every border": _drawing([(-90.3, -71.2, 1.0), (170.1, -40.7, 2.0), (21.4, 190.6, 3.0)], [(0, 1, 2)]),
    "outside": _drawing([(-9.3, 3.2, 1.0), (-2.1, 8.7, 1.0), (-4.4, 19.6, 1.0)], [(0, 1, 2)]),
    "no area": _drawing([(4.5, 4.5, 1.0), (20.5, 20.5, 1.0), (40.5, 40.5, 1.0)], [(0, 1, 2)]),
    "smaller than a pixel": _drawing([(20.3, 20.4, 1.0), (20.7, 20.3, 1.0), (20.6, 20.8, 1.0)], [(0, 1, 2)]),
} | {f"soup {seed}": _soup(seed) for seed in range(6)}


@pytest.fixture(params=sorted(DRAWINGS))
def drawing(request: pytest.FixtureRequest) -> Drawing:
    return DRAWINGS[request.param]


def zbuffer(_: object) -> Any:
    """A library for OnDevice that needs no GPU: the CPU's kernels, over torch tensors."""
    import torch

    def visible(points: Any, faces: Any, size: int) -> Any:
        return torch.from_numpy(kernels.rasterize(points.numpy(), faces.numpy(), size)[0])

    return visible


@pytest.fixture(scope="session", params=["cpu", "tensors", *LIBRARIES])
def rasteriser(request: pytest.FixtureRequest) -> Rasteriser:
    """Every back end that this machine has; `tensors`: what the GPU's back ends share, on the CPU."""
    if request.param == "cpu":
        return open_rasteriser("cpu")
    pytest.importorskip("torch")
    if request.param == "tensors":
        return OnDevice("tensors", zbuffer, "cpu")
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CHOICE, request.param)
        return open_rasteriser("cuda")


@pytest.fixture
def camera() -> Camera:
    """Two units before the origin, looking along a slanted axis."""
    forward = np.array([-0.8, 0.36, -0.48])
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return Camera(rotation, -rotation @ (-2.0 * forward), 35.0)
