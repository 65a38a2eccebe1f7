"""Judges a GLB against a case's truth, with tools that took no part in making it. Runs in Blender's environment.

    python benchmarks/score.py MESH.glb CASE            prints one JSON line

The mesh is first brought into the truth's frame by a similarity (the unit of length cannot be known): its rotation
and shift are reported, and for a well calibrated result are nothing. Distances are to surfaces, not to samples, in % of
the truth's diagonal. f0.5pct, f1pct: harmonic mean of the shares of either surface within that distance of the other.
*_vis: over what the six inputs see of the truth; vis6: how much that is. psnr, ssim, iou: held-out views, unlit.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import open3d as o3d
import trimesh
from mathutils import Matrix
from PIL import Image
from scipy.spatial.transform import Rotation
from skimage.metrics import structural_similarity

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
from stage import prepare, render

SAMPLES = 60_000
# glTF (y up, front +z) to the world (z up, front +x), and the same after Blender's importer has made z up.
FROM_GLTF = np.array([[0.0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
FROM_BLENDER = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


class Surface:
    """A mesh with points on it and the exact distance of any point to it."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        mesh = trimesh.Trimesh(vertices, faces, process=False)
        self.points = trimesh.sample.sample_surface(mesh, SAMPLES, seed=1)[0]
        self._scene = o3d.t.geometry.RaycastingScene()
        self._scene.add_triangles(
            o3d.core.Tensor(np.asarray(vertices, np.float32)), o3d.core.Tensor(np.asarray(faces, np.uint32))
        )

    def nearest(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, 3) the closest points of the surface, and its normals there."""
        found = self._scene.compute_closest_points(o3d.core.Tensor(points.astype(np.float32)))
        return found["points"].numpy().astype(np.float64), found["primitive_normals"].numpy().astype(np.float64)

    def distance(self, points: np.ndarray) -> np.ndarray:
        """(N,) distances to the surface."""
        return self._scene.compute_distance(o3d.core.Tensor(points.astype(np.float32))).numpy().astype(np.float64)

    def visible(self, points: np.ndarray, eyes: list[np.ndarray], slack: float) -> np.ndarray:
        """(N,) whether any eye sees the point: nothing of the surface is more than `slack` before it."""
        seen = np.zeros(len(points), bool)
        for eye in eyes:
            toward = points - eye
            length = np.linalg.norm(toward, axis=1)
            rays = np.concatenate([np.broadcast_to(eye, toward.shape), toward / length[:, None]], 1)
            hit = self._scene.cast_rays(o3d.core.Tensor(rays.astype(np.float32)))["t_hit"].numpy()
            seen |= hit > length - slack
        return seen


def moved(points: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """(N, 3) transformed points."""
    return points @ transform[:3, :3].T + transform[:3, 3]


def align(got: Surface, truth: Surface, eyes: list[np.ndarray], slack: float) -> np.ndarray:
    """(4, 4) from the result's frame to the truth's: same axes at first, then the nearest nine tenths of points.

    Of what the inputs see, and both ways: from the result alone a sheet that is too small fits as well as the true one.
    """
    spans = [np.linalg.norm(np.ptp(s.points, axis=0)) for s in (truth, got)]
    transform = np.diag([spans[0] / spans[1]] * 3 + [1.0])
    transform[:3, 3] = truth.points.mean(0) - moved(got.points, transform).mean(0)
    ours, theirs = got.points[::5], truth.points[::5]
    ours = ours[truth.visible(truth.nearest(moved(ours, transform))[0], eyes, slack)]
    theirs = theirs[truth.visible(theirs, eyes, slack)]
    for _ in range(20):
        here = moved(ours, transform)
        there, across = truth.nearest(here)
        found, upright = got.nearest(moved(theirs, np.linalg.inv(transform)))
        upright = upright @ transform[:3, :3].T / np.cbrt(np.linalg.det(transform[:3, :3]))
        pairs = [(here, there, across), (moved(found, transform), theirs, upright)]
        transform = step([closer(*pair) for pair in pairs]) @ transform
    return transform


def closer(here: np.ndarray, there: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs of which neither place is far from the other: nine in ten. A face without area has no normal."""
    gap = np.linalg.norm(here - there, axis=1)
    keep = (gap <= np.quantile(gap, 0.9)) & np.isfinite(normals).all(1)
    return here[keep], there[keep], normals[keep]


def step(pairs: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> np.ndarray:
    """(4, 4) the small similarity that takes points best to the planes through the others."""
    here, there, normals = (np.concatenate(part) for part in zip(*pairs, strict=True))
    rows = np.column_stack([(here * normals).sum(1), np.cross(here, normals), normals])
    change = np.linalg.lstsq(rows, ((there - here) * normals).sum(1), rcond=None)[0]
    out = np.eye(4)
    out[:3, :3] = (1 + change[0]) * Rotation.from_rotvec(change[1:4]).as_matrix()
    out[:3, 3] = change[4:]
    return out


def f_score(ours: np.ndarray, theirs: np.ndarray, threshold: float) -> float:
    """Harmonic mean of the two shares of distances under the threshold."""
    p, r = float((ours < threshold).mean()), float((theirs < threshold).mean())
    return round(2 * p * r / max(p + r, 1e-9), 4)


def geometry(mesh: trimesh.Trimesh, case: Path, meta: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
    """The marks of the shape, and the transform that aligned it."""
    true = trimesh.load(case / "truth/mesh.ply", process=False)
    diagonal = float(np.linalg.norm(true.bounds[1] - true.bounds[0]))
    truth, raw = Surface(true.vertices, true.faces), Surface(mesh.vertices, mesh.faces)
    eyes = [np.array(pose)[:3, 3] for pose in meta["views"].values()]
    slack = 0.002 * diagonal
    transform = align(raw, truth, eyes, slack)
    got = Surface(moved(mesh.vertices, transform), mesh.faces)
    ours, theirs = truth.distance(got.points), got.distance(truth.points)
    seen_truth = truth.visible(truth.points, eyes, slack)
    seen_ours = truth.visible(truth.nearest(got.points)[0], eyes, slack)
    scale = float(np.cbrt(np.linalg.det(transform[:3, :3])))
    turn = (np.trace(transform[:3, :3]) / scale - 1) / 2
    welded = trimesh.Trimesh(mesh.vertices, mesh.faces, process=True)
    marks = {
        "chamfer_pct": round(50 * (ours.mean() + theirs.mean()) / diagonal, 4),
        "f1pct": f_score(ours, theirs, 0.01 * diagonal),
        "f0.5pct": f_score(ours, theirs, 0.005 * diagonal),
        "vis6": round(float(seen_truth.mean()), 3),
        "chamfer_vis_pct": round(50 * (ours[seen_ours].mean() + theirs[seen_truth].mean()) / diagonal, 4),
        "f0.5pct_vis": f_score(ours[seen_ours], theirs[seen_truth], 0.005 * diagonal),
        "scale": round(scale, 5),
        "rot_deg": round(math.degrees(math.acos(float(np.clip(turn, -1, 1)))), 3),
        "shift_pct": round(float(100 * np.linalg.norm(transform[:3, 3]) / diagonal), 3),
        "faces": len(mesh.faces),
        "watertight": bool(welded.is_watertight),
        "components": int(welded.body_count),
        "genus": float(welded.body_count - welded.euler_number / 2),
    }
    return marks, transform


def unlit(material: bpy.types.Material) -> None:
    """Makes the material shine in its base colour, whatever the light."""
    tree = material.node_tree
    shader = next(node for node in tree.nodes if node.type == "BSDF_PRINCIPLED")
    end = next(node for node in tree.nodes if node.type == "OUTPUT_MATERIAL")
    shine = tree.nodes.new("ShaderNodeEmission")
    base = shader.inputs["Base Color"]
    if base.is_linked:
        tree.links.new(base.links[0].from_socket, shine.inputs["Color"])
    else:
        shine.inputs["Color"].default_value = base.default_value
    tree.links.new(shine.outputs[0], end.inputs["Surface"])


def appearance(path: Path, case: Path, meta: dict[str, Any], transform: np.ndarray) -> dict[str, float]:
    """The marks of the held-out views, means over them, on the union of both silhouettes."""
    # As many rays a pixel as the reference has: with others the truth itself reaches 30 to 44 dB only.
    prepare(samples=meta.get("samples", 8), lit=False)
    bpy.ops.import_scene.gltf(filepath=str(path))
    for solid in [o for o in bpy.data.objects if o.type == "MESH"]:
        solid.matrix_world = Matrix((transform @ FROM_BLENDER @ np.array(solid.matrix_world)).tolist())
        for material in solid.data.materials:
            unlit(material)
    marks: dict[str, list[float]] = {"psnr": [], "ssim": [], "iou": []}
    with tempfile.TemporaryDirectory() as scratch:
        for k, pose in enumerate(meta["novel"]):
            images = []
            reference = case / f"truth/novel/{k:03d}.png"
            with Image.open(reference) as opened:
                size = opened.width
            render(Path(scratch) / "view.png", np.array(pose), meta["fov_deg"], size)
            for image_path in (reference, Path(scratch) / "view.png"):
                with Image.open(image_path) as opened:
                    rgba = np.asarray(opened.convert("RGBA"), np.float64) / 255
                images.append((rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:], rgba[..., 3] > 0.5))
            (want, there), (have, here) = images
            either = there | here
            error = float(((want - have)[either] ** 2).mean())
            _, ssim = structural_similarity(
                want, have, channel_axis=2, data_range=1.0, full=True,
                gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
            )  # fmt: skip
            marks["psnr"].append(-10 * math.log10(max(error, 1e-10)))
            marks["ssim"].append(float(ssim.mean(-1)[either].mean()))
            marks["iou"].append(float((there & here).sum() / either.sum()))
    return {name: round(float(np.mean(values)), 4) for name, values in marks.items()} if meta["novel"] else {}


def main() -> None:
    """Print the marks as one JSON line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("mesh", type=Path)
    parser.add_argument("case", type=Path)
    a = parser.parse_args()
    meta = json.loads((a.case / "truth/cameras.json").read_text())
    mesh = trimesh.load(a.mesh, force="mesh", process=False)
    mesh.apply_transform(FROM_GLTF)
    marks, transform = geometry(mesh, a.case, meta)
    marks.update(appearance(a.mesh, a.case, meta, transform))
    print(json.dumps(marks))


if __name__ == "__main__":
    main()
