"""Open3D's own way on a case: TSDF fusion, then colour map optimisation. Needs open3d; takes the true cameras.

    python benchmarks/peer_open3d.py CASE OUT.ply [--voxels 320]

What it is given that the engine is not: the cameras and the depth's range, exactly as the case was made. Depth and
colour are brought to one size, as Open3D wants them. Then `python benchmarks/score.py OUT.ply CASE`, or another scorer.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import open3d as o3d
from PIL import Image


def true_depth(path: Path, spec: dict[str, Any]) -> np.ndarray:
    """(n, n) metres, 0 on the background."""
    with Image.open(path) as image:
        code = np.asarray(image).astype(np.float64)
        top = 255.0 if image.mode in ("L", "RGB", "RGBA") else 65535.0
    code = code[..., 0] if code.ndim == 3 else code
    if spec["mode"] == "metric16":
        return code / 10_000
    share = code / top
    empty = share == (1.0 if spec["mode"] == "black-near" else 0.0)
    near = share if spec["mode"] == "black-near" else 1 - share
    return np.where(empty, 0.0, spec["near"] + near * (spec["far"] - spec["near"]))


def main() -> None:
    """Fuse one case and write the mesh with its vertices' colours."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("case", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--voxels", type=int, default=320, help="along the object's longest side")
    parser.add_argument("--iterations", type=int, default=100, help="of the colour map optimisation")
    a = parser.parse_args()
    started = time.monotonic()
    meta = json.loads((a.case / "truth/cameras.json").read_text())
    images, cameras, points = [], [], []
    for name, pose in meta["views"].items():
        depth = true_depth(a.case / f"input/depth_renders/{name}.png", meta["depth"]).astype(np.float32)
        n = depth.shape[0]
        with Image.open(a.case / f"input/multi_views/{name}.png") as opened:
            colour = np.asarray(opened.convert("RGB").resize((n, n), Image.Resampling.BOX))
        focal = 0.5 * n / np.tan(np.radians(meta["fov_deg"]) / 2)
        camera = o3d.camera.PinholeCameraParameters()
        camera.intrinsic = o3d.camera.PinholeCameraIntrinsic(n, n, focal, focal, n / 2 - 0.5, n / 2 - 0.5)
        # The case's cameras look along -z with y up; Open3D's look along +z with y down.
        camera.extrinsic = np.diag([1.0, -1, -1, 1]) @ np.linalg.inv(np.array(pose))
        images.append(
            o3d.geometry.RGBDImage.create_from_color_and_depth(
                o3d.geometry.Image(np.ascontiguousarray(colour)),
                o3d.geometry.Image(depth),
                depth_scale=1.0,
                depth_trunc=1e3,
                convert_rgb_to_intensity=False,
            )
        )
        cameras.append(camera)
        cloud = o3d.geometry.PointCloud.create_from_depth_image(
            o3d.geometry.Image(depth), camera.intrinsic, camera.extrinsic, depth_scale=1.0, depth_trunc=1e3
        )
        points.append(np.asarray(cloud.points))
    cloud_low, cloud_high = (bound(np.concatenate(points), axis=0) for bound in (np.min, np.max))
    voxel = float((cloud_high - cloud_low).max()) / a.voxels
    side = a.voxels + 16
    volume = o3d.pipelines.integration.UniformTSDFVolume(
        length=side * voxel,
        resolution=side,
        sdf_trunc=4 * voxel,
        color_type=o3d.pipelines.integration.TSDFVolumeColorType.RGB8,
        origin=((cloud_low + cloud_high - side * voxel) / 2)[:, None],
    )
    for image, camera in zip(images, cameras, strict=True):
        volume.integrate(image, camera.intrinsic, camera.extrinsic)
    mesh = volume.extract_triangle_mesh()
    fused = time.monotonic()
    trajectory = o3d.camera.PinholeCameraTrajectory()
    trajectory.parameters = cameras
    option = o3d.pipelines.color_map.RigidOptimizerOption(maximum_iteration=a.iterations)
    mesh, _ = o3d.pipelines.color_map.run_rigid_optimizer(mesh, images, trajectory, option)
    mesh.compute_vertex_normals()
    o3d.io.write_triangle_mesh(a.out, mesh)
    row = {
        "case": a.case.name,
        "faces": len(mesh.triangles),
        "watertight": mesh.is_watertight(),
        "fuse_s": round(fused - started, 1),
        "colours_s": round(time.monotonic() - fused, 1),
        "open3d": o3d.__version__,
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
