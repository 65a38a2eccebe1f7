"""Cameras, renders and depth images of a case, in the conventions that the project declares.

Blender's Cycles makes the colours and Open3D's ray caster the depths: neither takes part in a reconstruction.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import bpy
import numpy as np
import open3d as o3d
from mathutils import Matrix
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "crds"))
from recon3d_contract.conventions import POSITION, UP, VIEWS

DEPTH_MODES = ("white-near", "black-near", "linear16", "metric16", "none")
METRIC_STEPS = 10_000  # of a 16-bit metric image, a unit of length: tenths of a millimetre for metres

__all__ = ["DEPTH_MODES", "VIEWS", "axis_camera", "encode_depth", "novel_camera", "over_white", "prepare", "render"]


def prepare(*, samples: int, lit: bool) -> None:
    """An empty scene with a camera, transparent film, and lights only when `lit`."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = samples
    scene.cycles.use_denoising = False
    scene.cycles.use_adaptive_sampling = False
    scene.cycles.max_bounces = 2 if lit else 0
    scene.view_settings.view_transform = "Standard"
    scene.render.film_transparent = True
    scene.render.dither_intensity = 0.0
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGBA"
    scene.render.use_persistent_data = True
    world = bpy.data.worlds.new("world")
    scene.world = world
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs["Strength"].default_value = 0.7 if lit else 0.0
    world.node_tree.nodes["Background"].inputs["Color"].default_value = (1, 1, 1, 1)
    if lit:
        sun = bpy.data.lights.new("sun", "SUN")
        sun.energy, sun.angle = 1.6, 0.3
        lamp = bpy.data.objects.new("sun", sun)
        lamp.rotation_euler = (0.6, 0.3, 0.4)
        scene.collection.objects.link(lamp)
    camera = bpy.data.cameras.new("camera")
    scene.camera = bpy.data.objects.new("camera", camera)
    scene.collection.objects.link(scene.camera)
    camera.lens_unit, camera.sensor_fit, camera.clip_start = "FOV", "HORIZONTAL", 0.01


def looking(position: np.ndarray, up: np.ndarray) -> np.ndarray:
    """(4, 4) camera to world, OpenGL axes (x right, y up, z backwards), aimed at the origin."""
    back = position / np.linalg.norm(position)
    right = np.cross(up, back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(back, right), back, position], 1)
    return pose


def axis_camera(view: str, distance: float) -> np.ndarray:
    """(4, 4) pose of one of the six input cameras."""
    return looking(np.array(POSITION[view]) * distance, np.array(UP[view]))


def novel_camera(k: int, count: int, distance: float) -> np.ndarray:
    """(4, 4) pose k of `count` spread evenly over the sphere, none of them on an axis."""
    z = 1 - 2 * (k + 0.5) / count
    turn = k * math.pi * (3 - math.sqrt(5)) + 0.4
    r = math.sqrt(1 - z * z)
    return looking(distance * np.array([r * math.cos(turn), r * math.sin(turn), z]), np.array([0.0, 0.0, 1.0]))


def render(path: Path, pose: np.ndarray, fov_deg: float, size: int) -> None:
    """An RGBA PNG of the scene."""
    scene = bpy.context.scene
    scene.camera.data.angle = math.radians(fov_deg)
    scene.camera.matrix_world = Matrix(pose.tolist())
    bpy.context.view_layer.update()
    scene.render.resolution_x = scene.render.resolution_y = size
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)


def over_white(path: Path, noise: float, rng: np.random.Generator) -> None:
    """Lays the RGBA image at `path` over white, with Gaussian noise of `noise` grey levels, and saves it as RGB."""
    with Image.open(path) as opened:
        rgba = np.asarray(opened.convert("RGBA"), np.float64)
    alpha = rgba[..., 3:] / 255
    rgb = rgba[..., :3] * alpha + 255 * (1 - alpha)
    if noise:
        rgb += rng.normal(0, noise, rgb.shape)
    Image.fromarray(np.clip(rgb + 0.5, 0, 255).astype(np.uint8)).save(path, optimize=True)


class DepthCamera:
    """Casts a ray through the centre of every pixel of a triangle mesh's image."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        self._scene = o3d.t.geometry.RaycastingScene()
        self._scene.add_triangles(
            o3d.core.Tensor(vertices.astype(np.float32)), o3d.core.Tensor(faces.astype(np.uint32))
        )

    def depth(self, pose: np.ndarray, fov_deg: float, size: int, *, ray: bool) -> np.ndarray:
        """(size, size) z-depth, or distance along the ray; infinite where there is no surface."""
        focal = 0.5 * size / math.tan(math.radians(fov_deg) / 2)
        across = (np.arange(size) + 0.5 - size / 2) / focal
        x, y = np.meshgrid(across, -across)
        directions = np.stack([x, y, -np.ones_like(x)], -1)
        if ray:
            directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
        rays = np.concatenate([np.broadcast_to(pose[:3, 3], directions.shape), directions @ pose[:3, :3].T], -1)
        # Directions have z = -1 in the camera's frame, so the parameter of the hit is the z-depth.
        return self._scene.cast_rays(o3d.core.Tensor(rays.astype(np.float32)))["t_hit"].numpy().astype(np.float64)


def encode_depth(depth: np.ndarray, mode: str, near: float, far: float) -> np.ndarray:
    """A depth image as 8- or 16-bit gray; the background is the far end, or 0 in a metric image."""
    hit = np.isfinite(depth)
    if mode == "metric16":
        return np.where(hit, np.clip(depth * METRIC_STEPS + 0.5, 1, 65535), 0).astype(np.uint16)
    near_to_far = np.clip((np.where(hit, depth, far) - near) / (far - near), 0, 1)
    bright = near_to_far if mode == "black-near" else 1 - near_to_far
    if mode == "linear16":
        return (bright * 65535 + 0.5).astype(np.uint16)
    return (bright * 255 + 0.5).astype(np.uint8)
