"""The exported files: read back, deterministic, in the right frame, clean for the official validator."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from recon3d_contract.conventions import world_to_gltf
from recon3d_contract.layout import MESH_GLB, MESH_MTL, MESH_OBJ, MESH_PLY, TEXTURE
from recon3d_runner import glb
from recon3d_runner.export import export_mesh, read_glb, write_glb
from recon3d_runner.quality.intersections import self_intersections
from recon3d_runner.quality.mesh_checks import check_mesh
from recon3d_runner.surface import split_at_seams, vertex_colours, vertex_normals
from recon3d_runner.types import TexturedMesh

MakeBlob = Callable[..., TexturedMesh]
FILES = (MESH_GLB, MESH_OBJ, MESH_MTL, MESH_PLY, TEXTURE)
VALIDATOR = "2.0.0-dev.3.10"


def test_glb_read_back_is_the_mesh(make_blob: MakeBlob, tmp_path: Path) -> None:
    mesh = make_blob()
    write_glb(mesh, tmp_path / "m.glb")
    got = read_glb(tmp_path / "m.glb", mesh.unseen)
    assert np.abs(got.vertices[got.faces] - mesh.vertices[mesh.faces]).max() < 1e-6
    assert np.abs(got.uv[got.uv_faces] - mesh.uv[mesh.uv_faces]).max() < 1e-6
    assert np.array_equal(got.texture, mesh.texture)
    assert np.array_equal(got.unseen, mesh.unseen)
    assert len(got.vertices) == len(mesh.vertices)
    checks = check_mesh(got.vertices, got.faces)
    assert checks.watertight
    assert checks.outward
    assert not len(self_intersections(got.vertices, got.faces).pairs)
    assert not read_glb(tmp_path / "m.glb").unseen.any()


def test_another_reader_sees_y_up_with_the_front_toward_z(make_blob: MakeBlob, tmp_path: Path) -> None:
    mesh = make_blob()
    write_glb(mesh, tmp_path / "m.glb")
    other = trimesh.load(tmp_path / "m.glb", force="mesh", process=False)
    corners = split_at_seams(mesh)
    expected = np.array([world_to_gltf(*row) for row in mesh.vertices[corners.vertex]])
    assert np.allclose(other.vertices, expected, atol=1e-6)
    assert np.array_equal(other.faces, corners.faces)
    assert np.allclose(other.visual.uv * (1, -1) + (0, 1), mesh.uv[corners.uv], atol=1e-6)
    assert np.array_equal(np.asarray(other.visual.material.baseColorTexture.convert("RGB")), mesh.texture)
    assert other.visual.material.metallicFactor == 0
    assert other.visual.material.roughnessFactor == 1


def test_vertices_split_only_at_seams_and_normals_run_through(make_blob: MakeBlob, tmp_path: Path) -> None:
    mesh = make_blob()
    corners = split_at_seams(mesh)
    distinct = {(int(v), int(t)) for v, t in zip(mesh.faces.ravel(), mesh.uv_faces.ravel(), strict=True)}
    assert len(corners.vertex) == len(distinct) > len(mesh.vertices)
    write_glb(mesh, tmp_path / "m.glb")
    data = (tmp_path / "m.glb").read_bytes()
    length = int.from_bytes(data[12:16], "little")
    view = json.loads(data[20 : 20 + length])["bufferViews"][1]
    start = 28 + length + view["byteOffset"]
    normals = np.frombuffer(data[start : start + view["byteLength"]], np.float32).reshape(-1, 3)
    for vertex in np.unique(corners.vertex):
        here = normals[corners.vertex == vertex]
        assert np.array_equal(here, np.broadcast_to(here[0], here.shape))
    assert np.linalg.norm(normals, axis=1) == pytest.approx(1, abs=1e-6)


def test_vertex_normals_point_outward(make_blob: MakeBlob) -> None:
    sphere = trimesh.creation.icosphere(subdivisions=3)
    normals = vertex_normals(np.array(sphere.vertices), np.array(sphere.faces, np.int32))
    assert (normals * sphere.vertices).sum(axis=1).min() > 0.999
    lone = vertex_normals(np.zeros((4, 3)), np.array([[0, 1, 2]], np.int32))
    assert np.array_equal(lone, np.tile([0.0, 0.0, 1.0], (4, 1)))


def test_obj_and_ply_keep_the_world_frame_and_the_topology(make_blob: MakeBlob, tmp_path: Path) -> None:
    mesh = make_blob()
    assert {str(path) for path in export_mesh(mesh, tmp_path)} == set(FILES)
    for name in ("mesh.obj", "mesh.ply"):
        other = trimesh.load(tmp_path / name, force="mesh", process=False)
        assert np.allclose(other.vertices[other.faces], mesh.vertices[mesh.faces], atol=1e-6), name
        got = other.visual.uv[other.faces] * (1, -1) + (0, 1)
        assert np.allclose(got, mesh.uv[mesh.uv_faces], atol=1e-6), name
    header = (tmp_path / "mesh.ply").read_bytes().split(b"end_header")[0]
    assert f"element vertex {len(mesh.vertices)}\n".encode() in header
    assert (tmp_path / "mesh.obj").read_text().count("\nv ") == len(mesh.vertices)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "textures" / "base_color.png")), mesh.texture)
    assert "map_Kd textures/base_color.png" in (tmp_path / "mesh.mtl").read_text()


def test_only_the_wanted_formats_are_written(make_blob: MakeBlob, tmp_path: Path) -> None:
    assert export_mesh(make_blob(), tmp_path, ["ply"]) == [Path("mesh.glb"), Path(TEXTURE), Path("mesh.ply")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mesh.glb", "mesh.ply", "textures"]


def test_vertex_colours_come_from_the_texture(make_blob: MakeBlob) -> None:
    mesh = make_blob(3, 256)
    plain = replace(mesh, texture=np.full_like(mesh.texture, 77))
    assert (vertex_colours(plain) == 77).all()
    ramp = np.broadcast_to((np.arange(256, dtype=np.uint8))[None, :, None], (256, 256, 3)).copy()
    corners = split_at_seams(mesh)
    inner = np.bincount(corners.vertex) == 1
    u = np.zeros(len(mesh.vertices))
    u[corners.vertex] = mesh.uv[corners.uv, 0]
    colours = vertex_colours(replace(mesh, texture=ramp))[:, 0].astype(float)
    assert np.abs(colours - (u * 256 - 0.5))[inner].max() <= 0.5 + 1e-6


def test_the_same_mesh_gives_the_same_bytes(make_blob: MakeBlob, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        export_mesh(make_blob(), tmp_path / name)
    for file in FILES:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_texture_too_large_for_png_becomes_jpeg(
    make_blob: MakeBlob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh = make_blob()
    monkeypatch.setattr(glb, "PNG_LIMIT", 1000)
    write_glb(mesh, tmp_path / "m.glb")
    assert b"image/jpeg" in (tmp_path / "m.glb").read_bytes()[:3000]
    difference = read_glb(tmp_path / "m.glb").texture.astype(int) - mesh.texture
    assert 0 < np.abs(difference).max() < 40


def test_broken_input_is_refused(make_blob: MakeBlob, tmp_path: Path) -> None:
    mesh = make_blob()
    with pytest.raises(ValueError, match="no faces"):
        export_mesh(replace(mesh, faces=mesh.faces[:0], uv_faces=mesh.uv_faces[:0]), tmp_path)
    with pytest.raises(ValueError, match="not a number"):
        export_mesh(replace(mesh, vertices=mesh.vertices * np.nan), tmp_path)
    assert not any(tmp_path.iterdir())
    write_glb(mesh, tmp_path / "m.glb")
    data = (tmp_path / "m.glb").read_bytes()
    (tmp_path / "m.glb").write_bytes(data[:-4])
    with pytest.raises(ValueError, match="truncated"):
        read_glb(tmp_path / "m.glb")


@pytest.fixture(scope="session")
def validator() -> Path:
    """The folder with Khronos' validator, installed once per machine with npm."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed: the glTF validator needs them")
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "recon3d" / f"gltf-validator-{VALIDATOR}"
    if not (home / "node_modules" / "gltf-validator" / "package.json").is_file():
        home.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--prefix", str(home)]
        command += [f"gltf-validator@{VALIDATOR}"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
        if done.returncode:
            pytest.skip(f"the glTF validator could not be installed: {done.stderr.strip().splitlines()[-1:]}")
    return home


SCRIPT = """
const validator = require('gltf-validator'), fs = require('fs');
validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1])))
  .then(report => console.log(JSON.stringify(report)));
"""


def validate(home: Path, path: Path) -> dict[str, object]:
    done = subprocess.run(["node", "-e", SCRIPT, str(path)], cwd=home, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


@pytest.mark.timeout(180)
def test_the_official_validator_finds_nothing(make_blob: MakeBlob, tmp_path: Path, validator: Path) -> None:
    write_glb(make_blob(4), tmp_path / "m.glb")
    report = validate(validator, tmp_path / "m.glb")
    assert report["issues"]["messages"] == []  # type: ignore[index]
    assert report["info"]["totalTriangleCount"] == 5120  # type: ignore[index]
    data = bytearray((tmp_path / "m.glb").read_bytes())
    at = data.index(b'"doubleSided":false')
    data[at : at + 19] = b'"doubleSided":7    '
    (tmp_path / "broken.glb").write_bytes(data)
    assert validate(validator, tmp_path / "broken.glb")["issues"]["numErrors"]  # type: ignore[index]
