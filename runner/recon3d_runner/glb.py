"""GLB out and in.

Written here rather than with trimesh or pygltflib: this mesh needs one node, one primitive and one image, the
bytes must be the same for the same mesh whatever version of a library is installed, and trimesh's writer merges,
reorders and annotates. The reader takes exactly what the writer makes; it is what the evaluation measures.
"""

from __future__ import annotations

import io
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from recon3d_runner.png import SIGNATURE, decode, encode
from recon3d_runner.surface import split_at_seams, vertex_normals
from recon3d_runner.types import F64, I32, U8, Bool, TexturedMesh

MAGIC: Final = 0x46546C67
JSON_CHUNK: Final = 0x4E4F534A
BIN_CHUNK: Final = 0x004E4942
ARRAY_BUFFER: Final = 34962
ELEMENT_ARRAY_BUFFER: Final = 34963
FLOAT: Final = 5126
UNSIGNED_INT: Final = 5125
LINEAR: Final = 9729
LINEAR_MIPMAP_LINEAR: Final = 9987
CLAMP_TO_EDGE: Final = 33071

PNG_LEVEL: Final = 4
PNG_LIMIT: Final = 10 * 1024 * 1024
"""Bytes of PNG above which the texture becomes a JPEG; below, the base colour is exact."""
JPEG_QUALITY: Final = 95

# glTF is y-up, front toward +z: world (x, y, z) -> glTF (y, z, x). See contract.conventions.world_to_gltf.
_TO_GLTF: Final = [1, 2, 0]
_TO_WORLD: Final = [2, 0, 1]


def write_glb(mesh: TexturedMesh, path: Path, png: bytes | None = None) -> None:
    """Write `mesh` as one self-contained GLB 2.0 file, the same bytes for the same mesh.

    `png` is what `encode_png` made of its texture, where the caller needs that too.

    The material is a plain rough dielectric (metallic 0, roughness 1, single sided), not KHR_materials_unlit: the
    colour is measured unlit, but a customer's scene is lit, and an unlit object ignores its lights and shadows.
    """
    corners = split_at_seams(mesh)
    normals = vertex_normals(mesh.vertices, mesh.faces)
    position = np.ascontiguousarray(mesh.vertices[corners.vertex][:, _TO_GLTF], np.float32)
    normal = np.ascontiguousarray(normals[corners.vertex][:, _TO_GLTF], np.float32)
    uv = np.ascontiguousarray(mesh.uv[corners.uv], np.float32)
    index = np.ascontiguousarray(corners.faces, np.uint32)
    mime, image = encode_texture(mesh, encode_png(mesh) if png is None else png)

    blobs = [position.tobytes(), normal.tobytes(), uv.tobytes(), index.tobytes(), image]
    views: list[dict[str, int]] = []
    binary = bytearray()
    for blob, target in zip(blobs, (ARRAY_BUFFER, ARRAY_BUFFER, ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER, None), strict=True):
        view = {"buffer": 0, "byteOffset": len(binary), "byteLength": len(blob)}
        views.append(view if target is None else {**view, "target": target})
        binary += blob + b"\0" * (-len(blob) % 4)
    low, high = position.min(axis=0).tolist(), position.max(axis=0).tolist()
    document = {
        "asset": {"version": "2.0", "generator": "recon3d"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "object"}],
        "meshes": [
            {
                "name": "object",
                "primitives": [
                    {
                        "attributes": {"POSITION": 0, "NORMAL": 1, "TEXCOORD_0": 2},
                        "indices": 3,
                        "material": 0,
                        "mode": 4,
                    }
                ],
            }
        ],
        "materials": [
            {
                "name": "surface",
                "doubleSided": False,
                "pbrMetallicRoughness": {
                    "baseColorTexture": {"index": 0},
                    "metallicFactor": 0.0,
                    "roughnessFactor": 1.0,
                },
            }
        ],
        "textures": [{"sampler": 0, "source": 0}],
        "samplers": [
            {"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR, "wrapS": CLAMP_TO_EDGE, "wrapT": CLAMP_TO_EDGE}
        ],
        "images": [{"name": "base_color", "mimeType": mime, "bufferView": 4}],
        "accessors": [
            {"bufferView": 0, "componentType": FLOAT, "count": len(position), "type": "VEC3", "min": low, "max": high},
            {"bufferView": 1, "componentType": FLOAT, "count": len(normal), "type": "VEC3"},
            {"bufferView": 2, "componentType": FLOAT, "count": len(uv), "type": "VEC2"},
            {"bufferView": 3, "componentType": UNSIGNED_INT, "count": index.size, "type": "SCALAR"},
        ],
        "bufferViews": views,
        "buffers": [{"byteLength": len(binary)}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    with path.open("wb") as file:
        file.write(struct.pack("<III", MAGIC, 2, 12 + 8 + len(text) + 8 + len(binary)))
        file.write(struct.pack("<II", len(text), JSON_CHUNK) + text)
        file.write(struct.pack("<II", len(binary), BIN_CHUNK) + binary)


def encode_png(mesh: TexturedMesh) -> bytes:
    """The texture as a PNG file."""
    return encode(mesh.texture, PNG_LEVEL)


def encode_texture(mesh: TexturedMesh, png: bytes) -> tuple[str, bytes]:
    """The texture as (MIME type, bytes): its `png`, or JPEG 4:4:4 where that exceeds PNG_LIMIT."""
    if len(png) <= PNG_LIMIT:
        return "image/png", png
    data = io.BytesIO()
    Image.fromarray(mesh.texture).save(data, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return "image/jpeg", data.getvalue()


@dataclass(frozen=True)
class Shape:
    """A file of write_glb without its picture decoded; see TexturedMesh."""

    vertices: F64
    faces: I32
    uv: F64
    uv_faces: I32
    picture: memoryview
    """The image's file."""

    def texture(self) -> U8:
        """Decode the picture."""
        if bytes(self.picture[:8]) == SIGNATURE:
            return decode(self.picture)
        with Image.open(io.BytesIO(self.picture)) as image:
            return np.array(image if image.mode == "RGB" else image.convert("RGB"))

    def textured(self, texture: U8, unseen: Bool | None = None) -> TexturedMesh:
        """The mesh with a texture; `unseen` as for `read_glb`."""
        unseen = np.zeros(texture.shape[:2], np.bool_) if unseen is None else unseen
        return TexturedMesh(self.vertices, self.faces, self.uv, self.uv_faces, texture, unseen)


def read_glb(path: Path, unseen: Bool | None = None) -> TexturedMesh:
    """Read a file of write_glb back into the world frame, vertices welded where their positions are bit-equal.

    The file does not carry the mask of unseen texels: pass it as `unseen` (T, T), else none is unseen.
    Raises ValueError on anything that write_glb does not make.
    """
    shape = read_shape(path)
    return shape.textured(shape.texture(), unseen)


def read_shape(path: Path) -> Shape:
    """The same without decoding the texture."""
    data = path.read_bytes()
    if len(data) < 20 or struct.unpack_from("<III", data) != (MAGIC, 2, len(data)):
        raise ValueError("not a GLB 2.0 file, or a truncated one")
    length, kind = struct.unpack_from("<II", data, 12)
    if kind != JSON_CHUNK:
        raise ValueError("the first chunk is not JSON")
    document: dict[str, Any] = json.loads(data[20 : 20 + length])
    size, kind = struct.unpack_from("<II", data, 20 + length)
    binary = memoryview(data)[28 + length : 28 + length + size]
    if kind != BIN_CHUNK or len(binary) != size:
        raise ValueError("the second chunk is not the binary one")

    def view(number: int) -> memoryview:
        entry = document["bufferViews"][number]
        return binary[entry["byteOffset"] : entry["byteOffset"] + entry["byteLength"]]

    primitive = document["meshes"][0]["primitives"][0]
    where = {name: document["accessors"][k]["bufferView"] for name, k in primitive["attributes"].items()}
    position = np.frombuffer(view(where["POSITION"]), np.float32).reshape(-1, 3)
    uv = np.frombuffer(view(where["TEXCOORD_0"]), np.float32).reshape(-1, 2)
    faces = np.frombuffer(view(document["accessors"][primitive["indices"]]["bufferView"]), np.uint32).reshape(-1, 3)
    vertices, weld = _weld(position)
    uvs, uv_weld = _weld(uv)
    return Shape(
        vertices=vertices[:, _TO_WORLD].astype(np.float64),
        faces=weld[faces].astype(np.int32),
        uv=uvs.astype(np.float64),
        uv_faces=uv_weld[faces].astype(np.int32),
        picture=view(document["images"][0]["bufferView"]),
    )


def _weld(rows: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Distinct rows in order of first appearance, and each input row's number among them."""
    plain = np.ascontiguousarray(rows + np.float32(0))  # -0 and 0 are the same place
    key = plain.view([("", plain.dtype)] * plain.shape[1]).ravel()
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return plain[first[order]], rank[inverse.ravel()]
