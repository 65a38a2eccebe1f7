"""Packing: pictures as data URIs, the mesh as quantised buffers, each within its share of the page's size."""

from __future__ import annotations

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from PIL import Image, features

from recon3d_runner import png
from recon3d_runner.comparison import shrink, white_border
from recon3d_runner.surface import split_at_seams, vertex_normals
from recon3d_runner.types import F32, F64, U8, TexturedMesh

TEXTURE_SIZE: Final = 2048
TEXTURE_BYTES: Final = 1_300_000
"""The texture's quality falls until it fits; mesh.glb has the exact one."""
PICTURE_SIZE: Final = 900
ATLAS_SIZE: Final = 768
UNSEEN_COLOUR: Final = np.array([219, 23, 140], np.uint8)


def data_uri(pixels: U8, *, quality: int = 88, lossless: bool = False) -> str:
    """An image, (H, W, 3) or (H, W), as a data URI: PNG where lossless, else WebP where Pillow has it, else JPEG."""
    data = io.BytesIO(png.encode(pixels, 9) if lossless else b"")
    kind, image = "png", Image.fromarray(pixels)
    if lossless:
        pass
    elif features.check("webp"):
        image.save(data, "WEBP", quality=quality, method=4)
        kind = "webp"
    else:
        image.save(data, "JPEG", quality=quality, optimize=True)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data.getvalue()).decode('ascii')}"


def to_u8(image: F32) -> U8:
    """[0, 1] floats to bytes, rounded."""
    return np.asarray(np.round(np.clip(image, 0, 1) * 255), np.uint8)


def resized(pixels: U8, limit: int) -> U8:
    """A square image no larger than `limit`, by area averaging."""
    if pixels.shape[0] <= limit:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((limit, limit), Image.Resampling.BOX))


def texture_uri(mesh: TexturedMesh) -> str:
    """The base colour, at most TEXTURE_SIZE wide and about TEXTURE_BYTES long."""
    pixels = resized(mesh.texture, TEXTURE_SIZE)
    uri = ""
    for quality in (92, 85, 75, 60, 40):
        uri = data_uri(pixels, quality=quality)
        if len(uri) * 3 / 4 <= TEXTURE_BYTES:
            return uri
    return uri


def unseen_uri(mesh: TexturedMesh) -> str:
    """The mask of unseen texels, white on black."""
    return data_uri(resized(mesh.unseen.astype(np.uint8) * 255, 1024), lossless=True)


def atlas_uri(mesh: TexturedMesh) -> str:
    """The texture with its unseen texels marked."""
    pixels = mesh.texture.copy()
    pixels[mesh.unseen] = UNSEEN_COLOUR
    return data_uri(resized(pixels, ATLAS_SIZE))


def picture_pair(reference: F32, render: F32, border: float) -> tuple[str, str]:
    """Input and render with the same `border` (share of the width) cut away, ready for the slider."""
    low = int(border * reference.shape[0])
    square = slice(low, reference.shape[0] - low)
    size = min(PICTURE_SIZE, reference.shape[0] - 2 * low)
    first, second = (data_uri(to_u8(shrink(image[square, square], size))) for image in (reference, render))
    return first, second


def common_border(pairs: list[tuple[F32, F32]]) -> float:
    """The border that no image of any pair needs."""
    with ThreadPoolExecutor() as pool:
        return min(pool.map(white_border, pairs))


def octahedral(normals: F64) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
    """(N, 3) unit normals as (N, 2) signed bytes on the unfolded octahedron."""
    flat = normals / np.abs(normals).sum(axis=1, keepdims=True)
    sign = np.where(flat[:, :2] >= 0, 1.0, -1.0)
    folded = (1 - np.abs(flat[:, 1::-1])) * sign
    plane = np.where(flat[:, 2:] >= 0, flat[:, :2], folded)
    return np.asarray(np.round(plane * 127), np.int8)


def packed_mesh(mesh: TexturedMesh) -> tuple[str, str]:
    """The viewer's (meta JSON, base64 data): positions and UVs in 16 bits, normals in 2 bytes, indices in 3.

    Data: position (S, 3) u16, uv (S, 2) u16, octahedral normal (S, 2) i8, indices (F, 3) u24, little-endian.
    Raises ValueError for more than 2^24 split vertices.
    """
    corners = split_at_seams(mesh)
    if len(corners.vertex) >= 1 << 24:
        raise ValueError("the report's viewer takes at most 16.7 million vertices")
    low, high = (bound(mesh.vertices[corners.vertex], axis=0) for bound in (np.min, np.max))
    extent = np.where(high > low, high - low, 1.0)
    position = np.round((mesh.vertices[corners.vertex] - low) / extent * 65535).astype("<u2")
    uv = np.round(np.clip(mesh.uv[corners.uv], 0, 1) * 65535).astype("<u2")
    normal = octahedral(vertex_normals(mesh.vertices, mesh.faces)[corners.vertex])
    index = np.ascontiguousarray(corners.faces.astype("<u4")).view(np.uint8).reshape(-1, 4)[:, :3]
    meta = {
        "vertices": len(corners.vertex),
        "faces": len(corners.faces),
        "low": [float(f"{value:.9g}") for value in low],
        "high": [float(f"{value:.9g}") for value in low + extent],
        "radius": float(f"{np.linalg.norm(mesh.vertices[corners.vertex] - (low + high) / 2, axis=1).max():.9g}"),
        "texture": "#mesh-texture",
        "unseen": "#mesh-unseen",
    }
    data = position.tobytes() + uv.tobytes() + normal.tobytes() + np.ascontiguousarray(index).tobytes()
    return json.dumps(meta, separators=(",", ":")), base64.b64encode(data).decode("ascii")
