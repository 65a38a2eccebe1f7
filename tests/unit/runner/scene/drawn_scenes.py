"""Six views of a drawn object as a user would hand them in, and the truth beside them.

Rendered with the project's own z-buffer (checked elsewhere against an oracle); colours come from world positions,
so that no texture stands between the object and its pictures. Faults are planted in the files only: `truth` is
always upright and exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from drawn_objects import Drawn
from numpy.typing import NDArray
from PIL import Image
from recon3d_contract.conventions import POSITION, VIEWS
from recon3d_runner.raster.cpu import project, rasterize
from recon3d_runner.scene.agreement import frames
from recon3d_runner.surface import vertex_normals
from recon3d_runner.types import Camera, View

Encoding = Literal["white-near", "black-near", "metric"]
SUPER = 2


@dataclass(frozen=True)
class Setup:
    """How the pictures are taken."""

    fov: float = 40.0
    size: int = 256
    """Of the colour images."""
    depth_size: int | None = None
    """None: half of `size`. Jobs need 256 at least."""
    encoding: Encoding | None = "white-near"
    """None: no depth renders."""
    bits: int = 8
    ray: bool = False
    margin: float = 0.1
    """Depth range before and behind the unit ball, in its radii."""
    fill: float = 0.9
    """Share of the half angle of view that the unit ball takes."""
    background: tuple[int, int, int] = (255, 255, 255)
    alpha: bool = False
    lit: bool = False
    noise: float = 0.0
    """Standard deviation in grey levels of noise on the colours."""
    rolls: Mapping[str, int] = field(default_factory=dict)
    """Quarter turns clockwise by view."""
    mirrors: tuple[str, ...] = ()
    swapped: bool = False
    """The files left and right change their names."""

    @property
    def distance(self) -> float:
        return 1 / math.sin(math.radians(self.fov) / 2 * self.fill)

    @property
    def near(self) -> float:
        return self.distance - 1 - self.margin

    @property
    def far(self) -> float:
        return self.distance + 1 + self.margin


@dataclass(frozen=True)
class Pictures:
    """The files' pixels by view, and the views that they were made from."""

    setup: Setup
    truth: list[View]
    """Exact alpha and depth, in units of the object, upright and in their places."""
    colours: dict[str, NDArray[np.uint8]]
    depths: dict[str, NDArray[Any]]
    """Empty without depth."""

    def write(self, folder: Path) -> Path:
        for kind, images in (("multi_views", self.colours), ("depth_renders", self.depths)):
            for name, pixels in images.items():
                path = folder / kind / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path, compress_level=1)
        return folder

    def with_files(self, **changed: NDArray[Any]) -> Pictures:
        """Colours (`front=pixels`) or depths (`depth_front=pixels`) replaced."""
        colours, depths = dict(self.colours), dict(self.depths)
        for key, pixels in changed.items():
            if key.startswith("depth_"):
                depths[key.removeprefix("depth_")] = pixels
            else:
                colours[key] = pixels
        return replace(self, colours=colours, depths=depths)


def camera(view: str, setup: Setup) -> Camera:
    rotation = frames()[view]
    return Camera(rotation, -rotation @ (np.array(POSITION[view]) * setup.distance), setup.fov)


def _surface(thing: Drawn, eye: Camera, size: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Face, depth and world position (0 on the background) of every pixel's centre."""
    face, depth, bary = rasterize(project(thing.vertices, eye, size), thing.faces, size)
    corners = thing.vertices[thing.faces[np.maximum(face, 0)]]
    weights = np.concatenate([1 - bary.sum(-1, keepdims=True), bary], -1).astype(np.float64)
    position = (corners * weights[..., None]).sum(-2)
    return face, depth, np.where((face >= 0)[..., None], position, 0.0)


def _box(image: NDArray[Any]) -> NDArray[Any]:
    n = image.shape[0] // SUPER
    return np.asarray(image.reshape((n, SUPER, n, SUPER) + image.shape[2:]).mean((1, 3)))


def look(thing: Drawn, view: str, setup: Setup) -> View:
    """One exact view: linear coverage, colours over the background, z-depth at pixel centres."""
    eye = camera(view, setup)
    face, _, position = _surface(thing, eye, setup.size * SUPER)
    inside = face >= 0
    colour = thing.paint(position)
    if setup.lit:
        normals = vertex_normals(thing.vertices, thing.faces)[thing.faces[np.maximum(face, 0)]].mean(-2)
        light = np.array([0.5, 0.3, 0.8]) / np.linalg.norm([0.5, 0.3, 0.8])
        colour = colour * (0.65 + 0.35 * (normals @ light))[..., None]
    backdrop = np.array(setup.background) / 255
    rgb = _box(np.where(inside[..., None], colour, backdrop)).astype(np.float32)
    alpha = _box(inside.astype(np.float32)).astype(np.float32)
    _, depth, _ = _surface(thing, eye, setup.depth_size or setup.size // 2)
    return View(view, eye, rgb, alpha, depth if setup.encoding else None)


def _encoded(view: View, setup: Setup) -> NDArray[Any]:
    assert view.depth is not None
    z = view.depth.astype(np.float64)
    if setup.ray:
        n = z.shape[0]
        at = (np.arange(n) + 0.5 - n / 2) / view.camera.focal(n)
        z = z * np.sqrt(1 + at[None, :] ** 2 + at[:, None] ** 2)
    top = 255 if setup.bits == 8 else 65535
    if setup.encoding == "metric":
        code, empty = z / metric_unit(setup), 0
    elif setup.encoding == "white-near":
        code, empty = top * (setup.far - z) / (setup.far - setup.near), 0
    else:
        code, empty = top * (z - setup.near) / (setup.far - setup.near), top
    pixels = np.where(np.isfinite(z), np.round(code), empty)
    return pixels.clip(0, top).astype(np.uint8 if setup.bits == 8 else np.uint16)


def metric_unit(setup: Setup) -> float:
    """Length per code of the metric encoding."""
    return setup.distance / 20000


def turned(pixels: NDArray[Any], quarter_turns: int, mirror: bool) -> NDArray[Any]:
    """Turned clockwise, then mirrored left to right."""
    out = np.rot90(pixels, -quarter_turns)
    return np.ascontiguousarray(out[:, ::-1] if mirror else out)


def photograph(thing: Drawn, setup: Setup | None = None, **settings: Any) -> Pictures:
    """All files of one object."""
    setup = replace(setup or Setup(), **settings)
    rng = np.random.default_rng(7)
    truth = [look(thing, view, setup) for view in VIEWS]
    colours, depths = {}, {}
    for view in truth:
        name = {"left": "right", "right": "left"}.get(view.name, view.name) if setup.swapped else view.name
        rgb = 255 * view.rgb + setup.noise * rng.standard_normal(view.rgb.shape)
        pixels = np.round(rgb).clip(0, 255).astype(np.uint8)
        if setup.alpha:
            pixels = np.concatenate([pixels, np.round(255 * view.alpha)[..., None].astype(np.uint8)], -1)
        turn = (setup.rolls.get(view.name, 0), view.name in setup.mirrors)
        colours[name] = turned(pixels, *turn)
        if setup.encoding:
            depths[name] = turned(_encoded(view, setup), *turn)
    return Pictures(setup, truth, colours, depths)


class Recorder:
    """A Run that remembers; nothing of it is checked for time."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.warnings: list[tuple[str, str]] = []
        self.ticks: list[float] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.stages.append(name)
        yield

    def tick(
        self, fraction: float, *, iteration: int | None = None, total: int | None = None, loss: float | None = None
    ) -> None:
        assert 0 <= fraction <= 1
        self.ticks.append(fraction)

    def warn(self, code: str, message: str) -> None:
        self.warnings.append((code, message))
