"""Throws deformed meshes into random frames and counts how many the alignment brings back.

    python benchmarks/bench_alignment.py [--count 50] [--cases DIR] [--device cpu|cuda] [--no-depth] [--part 1/4]
        [--rows PART.jsonl]
    python benchmarks/bench_alignment.py --join PART.jsonl ... --out FILE.md

Each mesh is photographed by six cameras, then bent, melted and recoloured like a generated one (made_meshes.py),
turned, scaled and moved at random, and aligned. Cases (folders with input/ and truth/mesh.ply) come first: their views
go through the whole calibration, and the mesh's colours are sampled from the views. Counted as brought back: within
0.5 degrees and 0.5 % of scale of the truth.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import trimesh
from made_meshes import Made, generated, made, subdivided
from recon3d_contract.conventions import POSITION, VIEWS
from recon3d_contract.spec import JobSpec
from recon3d_runner.engines.device import cpu_name
from recon3d_runner.engines.reconviagen.align import align
from recon3d_runner.engines.reconviagen.refine import Shape
from recon3d_runner.engines.reconviagen.similarity import Similarity, from_quaternions
from recon3d_runner.raster import Rasteriser, open_rasteriser
from recon3d_runner.raster.cpu import project, rasterize
from recon3d_runner.run import Unheard
from recon3d_runner.scene.agreement import frames
from recon3d_runner.scene.assemble import build_scene
from recon3d_runner.types import F32, F64, Camera, View

Make = Callable[[], tuple[Made, list[View]]]
DEGREES, PERCENT = 0.5, 0.5
FOV, DISTANCE, SIZE = 40.0, 3.3, 512


@dataclass(frozen=True)
class Row:
    """One mesh's outcome."""

    name: str
    degrees: float
    percent: float
    seconds: float
    iou: float
    depth_error: float | None
    margin: float

    @property
    def back(self) -> bool:
        """Whether it was brought back."""
        return self.degrees < DEGREES and self.percent < PERCENT


def photograph(thing: Made, depth: bool) -> list[View]:
    """Six views by six cameras; colours and outlines of four samples a pixel."""
    views = []
    for name in VIEWS:
        rotation = frames()[name]
        camera = Camera(rotation, -rotation @ (np.array(POSITION[name]) * DISTANCE), FOV)
        n = 2 * SIZE
        face, _, bary = rasterize(project(thing.vertices, camera, n), thing.faces, n)
        weights = np.concatenate([1 - bary.sum(-1, keepdims=True), bary], -1)
        colour = (thing.colours[thing.faces[np.maximum(face, 0)]] * weights[..., None]).sum(-2)
        colour[face < 0] = 1.0
        rgb: F32 = colour.reshape(SIZE, 2, SIZE, 2, 3).mean((1, 3)).astype(np.float32)
        alpha: F32 = (face >= 0).reshape(SIZE, 2, SIZE, 2).mean((1, 3)).astype(np.float32)
        _, z, _ = rasterize(project(thing.vertices, camera, SIZE), thing.faces, SIZE)
        views.append(View(name, camera, rgb, alpha, z if depth else None))
    return views


def sampled(vertices: F64, views: list[View]) -> F64:
    """(V, 3) colours of the views that see each vertex, by depth; grey where none does."""
    total, count = np.zeros((len(vertices), 3)), np.zeros(len(vertices))
    for view in views:
        if view.depth is None:
            continue
        side, size = view.depth.shape[0], view.rgb.shape[0]
        at = project(vertices, view.camera, side)
        i, j = (np.clip(at[:, k].astype(int), 0, side - 1) for k in (0, 1))
        seen = np.abs(view.depth[j, i] - at[:, 2]) < 0.01 * float(np.linalg.norm(view.camera.centre))
        p = (at[:, :2] * size / side).astype(int).clip(0, size - 1)
        total[seen] += view.rgb[p[seen, 1], p[seen, 0]]
        count[seen] += 1
    return np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], 0.5)


def of_case(folder: Path, depth: bool) -> tuple[Made, list[View]]:
    """A case's truth, brought into the calibrated world, and its views."""
    views = build_scene(folder / "input", JobSpec(), Unheard()).views
    truth = json.loads((folder / "truth/cameras.json").read_text())
    mesh = trimesh.load(folder / "truth/mesh.ply", process=False)
    # Flat sides may be two triangles, and melting and painting are done at the vertices.
    unit = float(truth["distance"])  # calibration's unit is the distance
    radius = float(np.linalg.norm(np.ptp(mesh.vertices, axis=0))) / 2
    vertices, faces = subdivided(mesh, 0.06 * radius)
    vertices /= unit
    thing = Made(folder.name, vertices, faces, sampled(vertices, views))
    if not depth:
        views = [View(v.name, v.camera, v.rgb, v.alpha, None) for v in views]
    return thing, views


def of_number(number: int, depth: bool) -> tuple[Made, list[View]]:
    """A made mesh, and its views."""
    thing = made(number)
    return thing, photograph(thing, depth)


def things(count: int, cases: Path | None, depth: bool) -> list[Make]:
    """What makes each mesh and its views, the cases first."""
    folders = sorted(p.parent.parent for p in cases.glob("*/truth/mesh.ply")) if cases else []
    folders = [folder for folder in folders if not depth or (folder / "input/depth_renders").is_dir()][:count]
    made_ones: list[Make] = [partial(of_number, number, depth) for number in range(count - len(folders))]
    return [*(partial(of_case, folder, depth) for folder in folders), *made_ones]


def shown(thing: Made, views: list[View], size: int = 256) -> F64:
    """(V,) how many pixels of all views show each vertex."""
    total = np.zeros(len(thing.vertices))
    for view in views:
        face, _, bary = rasterize(project(thing.vertices, view.camera, size), thing.faces, size)
        weights = np.concatenate([1 - bary.sum(-1, keepdims=True), bary], -1)[face >= 0]
        np.add.at(total, thing.faces[face[face >= 0]], weights)
    return total


def measure(thing: Made, views: list[View], number: int, rasteriser: Rasteriser) -> Row:
    """Deform, throw, align."""
    rng = np.random.default_rng(number)
    radius = float(np.linalg.norm(thing.vertices - thing.vertices.mean(0), axis=1).max())
    unit = Made(thing.name, thing.vertices / radius, thing.faces, thing.colours)
    vertices, colours = generated(unit, rng, seen=shown(thing, views))
    q = rng.normal(size=4)
    turn = from_quaternions((q / np.linalg.norm(q))[None])[0]
    truth = Similarity(radius * float(rng.uniform(0.7, 3)), turn, radius * rng.normal(size=3) * 0.3)
    own = truth.undo(vertices * radius)
    started = time.perf_counter()
    found = align(Shape(own, thing.faces, colours), views, rasteriser, Unheard())
    seconds = time.perf_counter() - started
    off = 100 * abs(found.pose.scale / truth.scale - 1)
    angle = found.pose.angle_to(truth)
    return Row(thing.name, angle, off, seconds, found.iou, found.depth_error, found.runner_up)


def table(rows: list[Row], device: str, depth: bool) -> str:
    """Markdown."""
    seconds = sorted(row.seconds for row in rows)
    back = sum(row.back for row in rows)
    seen = "six depth maps" if depth else "silhouettes and colours alone"
    lines = [
        f"{back} of {len(rows)} meshes brought back within {DEGREES} degrees and {PERCENT} % of scale; {seen}.",
        f"{device}, {time.strftime('%Y-%m-%d')}.",
        "",
        f"Seconds a mesh: median {seconds[len(seconds) // 2]:.1f}, most {seconds[-1]:.1f}.",
        "",
        "| mesh | degrees off | scale off, % | silhouette IoU | depth error, % | seconds | back |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for r in rows:
        error = "" if r.depth_error is None else f"{r.depth_error:.2f}"
        lines.append(
            f"| {r.name} | {r.degrees:.2f} | {r.percent:.2f} | {r.iou:.3f} | {error} | {r.seconds:.1f} |"
            f" {'yes' if r.back else 'no'} |"
        )
    return "\n".join(lines) + "\n"


def ahead(made: list[Make]) -> Iterator[tuple[Made, list[View]]]:
    """Make a few things at a time, on all cores, so that nothing else runs while one is aligned."""
    few = len(os.sched_getaffinity(0))
    for first in range(0, len(made), few):
        with ProcessPoolExecutor(few, get_context("spawn")) as pool:
            done = [pool.submit(make) for make in made[first : first + few]]
            things = [each.result() for each in done]
        yield from things


def measured(a: argparse.Namespace, rasteriser: Rasteriser) -> Iterator[tuple[int, Row]]:
    """Measure this part's meshes, the cases first; number and row of each."""
    part, parts = (int(word) for word in a.part.split("/"))
    chosen = list(enumerate(things(a.count, a.cases, not a.no_depth)))[part - 1 :: parts]
    warm = False
    for number, (thing, views) in zip(
        [number for number, _ in chosen], ahead([make for _, make in chosen]), strict=True
    ):
        if not warm:
            measure(thing, views, number, rasteriser)  # kernels are compiled, the device is woken
            warm = True
        r = measure(thing, views, number, rasteriser)
        print(
            f"[align] {thing.name}: {r.degrees:.3f} deg, {r.percent:.3f} %, IoU {r.iou:.3f}, {r.seconds:.1f} s,"
            f" margin {r.margin:.2f}{'' if r.back else '  NOT BACK'}",
            flush=True,
        )
        yield number, r


def main() -> int:
    """Run; 1 where more than one mesh in 50 was not brought back."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--cases", type=Path)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--no-depth", action="store_true")
    parser.add_argument("--part", default="1/1", help="2/5 measures the second fifth of the meshes")
    parser.add_argument("--rows", type=Path, help="a file that takes each row as JSON, as it is measured")
    parser.add_argument("--join", type=Path, nargs="+", help="make the table of such files instead")
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    if a.join:
        given = [json.loads(line) for path in a.join for line in path.read_text().splitlines()]
        given.sort(key=lambda row: int(row["number"]))
        device, depth = given[0]["device"], given[0]["depth"]
        rows = [Row(**row["row"]) for row in given]
    else:
        device, depth, rows = device_name(a.device), not a.no_depth, []
        for number, row in measured(a, open_rasteriser(a.device)):
            rows.append(row)
            if a.rows:
                with a.rows.open("a") as file:
                    line = {"number": number, "device": device, "depth": depth, "row": asdict(row)}
                    file.write(json.dumps(line) + "\n")
    text = table(rows, device, depth)
    print(text)
    if a.out:
        a.out.write_text(text)
    return int(sum(not row.back for row in rows) > len(rows) / 50)


def device_name(device: str) -> str:
    """Return what computes, in words."""
    if device == "cuda":
        import torch

        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{cpu_name()}, CPU"


if __name__ == "__main__":
    sys.exit(main())
