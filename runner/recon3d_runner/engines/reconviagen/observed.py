"""The six views at a few sizes, with what aligning looks at: outline distance, depth, colours, their slopes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from recon3d_runner.types import F32, Camera, View


@dataclass(frozen=True)
class Sight:
    """One view at one size."""

    camera: Camera
    size: int
    distance: F32
    """(n, n) signed pixel distance to the outline, positive outside."""
    distance_slope: F32
    """(2, n, n) its change per pixel to the right and down."""
    depth: F32 | None
    """(n, n) z-depth in world units, NaN on the background."""
    depth_slope: F32 | None
    """(2, n, n) its change per pixel to the right and down, NaN beside the background."""
    rgb: F32
    """(n, n, 3) over the mean colour of the object, a little blurred."""
    rgb_slope: F32
    """(2, n, n, 3) its change per pixel to the right and down."""

    @property
    def pixel(self) -> float:
        """World units that a pixel covers at the distance of the origin."""
        return self.camera.pixel(self.size)


def shrink(view: View, size: int) -> View:
    """Return `view` at `size` x `size`, at most its own size: means of colour and mask, depth where it is surest."""
    alpha, rgb = _mean(view.alpha, size), _mean(view.rgb, size)
    depth = None
    if view.depth is not None:
        side = view.depth.shape[0]
        index = ((np.arange(alpha.shape[0]) + 0.5) * side / alpha.shape[0]).astype(np.int64)
        depth = view.depth[index][:, index]
        if side % alpha.shape[0] == 0 and side // alpha.shape[0] % 2 == 0:
            # The pixel's middle lies between four of the file's: their mean, unless one is background.
            depth = (depth + view.depth[index - 1][:, index - 1]) / 2
    return replace(view, alpha=alpha, rgb=rgb, depth=None if depth is None else np.ascontiguousarray(depth))


def smaller(views: list[View], size: int) -> list[View]:
    """Return the views with pictures of at most `size`, from which smaller ones follow: means of means are means."""

    def one(view: View) -> View:
        return replace(view, alpha=_mean(view.alpha, size), rgb=_mean(view.rgb, size))

    with ThreadPoolExecutor() as pool:
        return list(pool.map(one, views))


def _mean(image: F32, size: int) -> F32:
    side = image.shape[0]
    if side <= size:
        return image
    if side % size:
        shape = (size, size, *image.shape[2:])
        zoom = [size / side, size / side, *([1] * (image.ndim - 2))]
        smooth = ndimage.gaussian_filter(image, [side / size / 2, side / size / 2, *([0] * (image.ndim - 2))])
        return np.asarray(ndimage.zoom(smooth, zoom, order=1, grid_mode=True, mode="nearest"), np.float32).reshape(
            shape
        )
    k = side // size
    return np.asarray(image.reshape(size, k, size, k, *image.shape[2:]).mean((1, 3)), np.float32)


def outline(alpha: F32) -> F32:
    """(n, n) signed pixel distance to the outline of `alpha`, positive outside, sub-pixel beside the outline."""
    inside = alpha >= 0.5
    far = np.where(inside, 0.5 - ndimage.distance_transform_edt(inside), ndimage.distance_transform_edt(~inside) - 0.5)
    # Coverage tells where within a pixel a straight outline runs.
    near = ndimage.binary_dilation(inside) & ~ndimage.binary_erosion(inside)
    fractional = near & (alpha > 0.02) & (alpha < 0.98)
    return np.asarray(np.where(fractional, 0.5 - alpha, far), np.float32)


def sight(view: View, size: int, blur: float) -> Sight:
    """Prepare `view` at `size`, its colours blurred by `blur` pixels."""
    small = shrink(view, size)
    size = small.alpha.shape[0]
    distance = ndimage.gaussian_filter(outline(small.alpha), 0.7)
    solid = small.alpha > 0.9
    middle = small.rgb[solid].mean(0) if solid.any() else np.full(3, 0.5, np.float32)
    # Blur of the object alone: the background must not bleed in, nor its outline pull on the colours.
    weight = ndimage.gaussian_filter(solid.astype(np.float32), blur)[..., None]
    colour = ndimage.gaussian_filter(np.where(solid[..., None], small.rgb, 0), [blur, blur, 0])
    rgb = np.where(weight > 0.05, colour / np.maximum(weight, 0.05), middle).astype(np.float32)
    slope = None if small.depth is None else _slopes(small.depth)
    return Sight(small.camera, size, distance, _slopes(distance), small.depth, slope, rgb, _slopes(rgb))


def sights(views: list[View], size: int, blur: float = 1.0) -> list[Sight]:
    """Prepare all views."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda view: sight(view, size, blur), views))


def _slopes(image: F32) -> F32:
    down, right = np.gradient(image, axis=(0, 1))
    return np.stack([right, down]).astype(np.float32)
