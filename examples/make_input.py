"""Models an object, renders its six views and depths, and keeps the truth beside them.

    python examples/make_input.py --object example --out DIR

DIR/input/multi_views/, DIR/input/depth_renders/   what the project is given
DIR/truth/mesh.ply                                 the surface: world frame, the longest edge of its box is 1
DIR/truth/cameras.json                             field of view, distance, depth range, poses: never an input
DIR/truth/novel/*.png                              RGBA views that the project is not given
Needs requirements/blender.txt (`make blender-env`).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import bpy
import numpy as np
import trimesh
from PIL import Image
from stage import (
    DEPTH_MODES,
    VIEWS,
    DepthCamera,
    axis_camera,
    encode_depth,
    novel_camera,
    over_white,
    prepare,
    render,
)
from wares import SHAPES


def triangles(solid: bpy.types.Object) -> trimesh.Trimesh:
    """The surface as triangles in the object's own frame."""
    mesh = solid.data
    mesh.calc_loop_triangles()
    vertices = np.array([v.co[:] for v in mesh.vertices])
    faces = np.array([t.vertices[:] for t in mesh.loop_triangles])
    return trimesh.Trimesh(vertices, faces, process=False)


def centre(solid: bpy.types.Object, surface: trimesh.Trimesh) -> None:
    """Moves and scales both so that the bounding box is centred on the origin and its longest edge is 1."""
    low, high = surface.bounds
    scale = 1 / (high - low).max()
    # The object's transform, not its vertices: its paint is a function of its own coordinates.
    solid.scale = (scale,) * 3
    solid.location = tuple(-(low + high) / 2 * scale)
    surface.apply_translation(-(low + high) / 2)
    surface.apply_scale(scale)


def make(a: argparse.Namespace) -> dict[str, object]:
    """Makes the case; returns what it wrote to truth/cameras.json."""
    prepare(samples=a.samples, lit=a.lit)
    rng = np.random.default_rng(a.seed)
    solid = SHAPES[a.object](rng, a.lit)
    solid.data.set_sharp_from_angle(angle=np.radians(35))
    for polygon in solid.data.polygons:
        polygon.use_smooth = True
    surface = triangles(solid)
    centre(solid, surface)
    genus = surface.body_count - surface.euler_number / 2
    print(f"[case] {a.object}: {len(surface.faces)} faces, watertight {surface.is_watertight}, genus {genus:g}")

    # A depth range as a renderer would be given it: a little more than the object needs, at odd numbers.
    reach = float(np.linalg.norm(surface.vertices, axis=1).max())
    near, far = (float(round(a.dist + s * reach * rng.uniform(1.03, 1.3), 3)) for s in (-1, 1))
    truth: dict[str, object] = {"object": a.object, "seed": a.seed, "fov_deg": a.fov, "distance": a.dist}
    truth["depth"] = {"mode": a.depth, "near": near, "far": far, "ray": a.ray_depth}
    truth["samples"] = a.novel_samples
    truth["genus"], truth["components"] = genus, int(surface.body_count)
    truth["views"], truth["novel"] = {}, []
    views, depths = a.out / "input/multi_views", a.out / "input/depth_renders"
    views.mkdir(parents=True, exist_ok=True)
    caster = DepthCamera(surface.vertices, surface.faces)
    for name in VIEWS:
        pose = axis_camera(name, a.dist)
        truth["views"][name] = pose.tolist()  # type: ignore[index]
        render(views / f"{name}.png", pose, a.fov, a.rgb)
        over_white(views / f"{name}.png", a.noise, rng)
        if a.depth != "none":
            depths.mkdir(exist_ok=True)
            depth = caster.depth(pose, a.fov, a.depth_size, ray=a.ray_depth)
            code = encode_depth(depth, a.depth, near, far)
            Image.fromarray(code).save(depths / f"{name}.png", optimize=True)
    if a.input_only:
        return truth
    (a.out / "truth/novel").mkdir(parents=True, exist_ok=True)
    surface.export(a.out / "truth/mesh.ply")
    bpy.context.scene.cycles.samples = a.novel_samples
    for k in range(a.novel):
        pose = novel_camera(k, a.novel, a.dist)
        truth["novel"].append(pose.tolist())  # type: ignore[attr-defined]
        render(a.out / f"truth/novel/{k:03d}.png", pose, a.fov, a.novel_size)
    (a.out / "truth/cameras.json").write_text(json.dumps(truth, indent=1) + "\n")
    return truth


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--object", choices=sorted(SHAPES), default="example")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0, help="of the shape's details, its colours, noise, depth range")
    parser.add_argument("--fov", type=float, default=38.0)
    parser.add_argument("--dist", type=float, default=1.85)
    parser.add_argument("--depth", choices=DEPTH_MODES, default="linear16")
    parser.add_argument("--ray-depth", action="store_true", help="distance along the ray instead of z")
    parser.add_argument("--lit", action="store_true", help="sun and sky instead of unlit colours")
    parser.add_argument("--noise", type=float, default=0.0, help="Gaussian noise in grey levels")
    parser.add_argument("--rgb", type=int, default=2048)
    parser.add_argument("--depth-size", type=int, default=1024)
    parser.add_argument("--novel", type=int, default=8)
    parser.add_argument("--novel-size", type=int, default=768)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--novel-samples", type=int, default=8, help="a pixel of them: as the scorers render")
    parser.add_argument("--input-only", action="store_true", help="no truth")
    return parser.parse_args(argv)


if __name__ == "__main__":
    make(arguments())
