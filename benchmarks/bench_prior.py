"""Whether a generated mesh as the prior brings what no view sees closer to the truth, and leaves alone what one sees.

    python benchmarks/bench_prior.py [--profile fast] [--device cpu|cuda] [--no-depth] [--only NAME] [--out FILE.md]

Objects with hollows that six axis views do not see are photographed. A copy, bent and melted like a generated mesh
(made_meshes.py), is thrown into a random frame, brought back by the alignment and given to the engine as its prior.
Distances are in percent of the object's diagonal, between points of truth and result that are both hidden or both seen.
Colours are those of the result where it is nearest to the truth's hidden points, as PSNR.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench_alignment import Quiet, device_name, photograph
from made_meshes import Made, generated, paint
from recon3d_contract.spec import JobSpec
from recon3d_runner.engines.nvdiffrec import collapse, level_set
from recon3d_runner.engines.nvdiffrec.engine import reconstruct
from recon3d_runner.engines.nvdiffrec.prior import Prior
from recon3d_runner.engines.reconviagen.align import align
from recon3d_runner.engines.reconviagen.refine import Shape
from recon3d_runner.engines.reconviagen.similarity import Similarity, from_quaternions
from recon3d_runner.raster import Rasteriser, open_rasteriser
from recon3d_runner.scene.assemble import Scene
from recon3d_runner.surface import sample_texture
from recon3d_runner.types import F64, I32, Bool, Calibration, TexturedMesh, View
from scipy.spatial import cKDTree

CELLS = 144
SAMPLES = 300_000
NEAR_PIXELS = 3.0
"""A point this close behind what a view shows is seen."""

Solid = Callable[[F64, F64, F64], F64]


def _box(x: F64, y: F64, z: F64, low: tuple[float, ...], high: tuple[float, ...]) -> F64:
    parts = [np.maximum(a - p, p - b) for p, a, b in zip((x, y, z), low, high, strict=True)]
    return np.asarray(np.maximum.reduce(parts))


def slot(x: F64, y: F64, z: F64) -> F64:
    """A block with a T-slot, open above and closed at both ends: its wings are hidden."""
    block = _box(x, y, z, (-0.8, -0.6, -0.45), (0.8, 0.6, 0.45))
    neck = _box(x, y, z, (-0.6, -0.12, -0.1), (0.6, 0.12, 0.6))
    wings = _box(x, y, z, (-0.6, -0.42, -0.22), (0.6, 0.42, 0.1))
    return np.asarray(np.maximum(block, -np.minimum(neck, wings)))


def bottle(x: F64, y: F64, z: F64) -> F64:
    """A hollow body with a narrow neck: through it only the floor's middle is seen."""
    r = np.hypot(x, y)
    outside = np.minimum(np.hypot(r, 1.2 * (z + 0.25)) - 0.62, np.maximum(r - 0.26, np.abs(z - 0.4) - 0.4))
    inside = np.minimum(np.hypot(r, 1.2 * (z + 0.25)) - 0.50, np.maximum(r - 0.15, np.abs(z - 0.5) - 0.6))
    return np.asarray(np.maximum(outside, -inside))


def tunnel(x: F64, y: F64, z: F64) -> F64:
    """A cushion with a slanting bore, which no axis looks through."""
    body = (np.abs(x / 0.8) ** 4 + np.abs(y / 0.6) ** 4 + np.abs(z / 0.6) ** 4) ** 0.25 - 1
    axis = np.array([0.7, 0.55, 0.45]) / np.linalg.norm([0.7, 0.55, 0.45])
    along = axis[0] * x + axis[1] * y + axis[2] * z
    away = np.sqrt(np.maximum(x**2 + y**2 + z**2 - along**2, 0))
    return np.asarray(np.maximum(0.6 * body, 0.2 - away))


def shelf(x: F64, y: F64, z: F64) -> F64:
    """A cupboard whose doors stand ajar: shelves behind them are seen by nobody."""
    case = _box(x, y, z, (-0.5, -0.6, -0.8), (0.5, 0.6, 0.8))
    room = np.minimum.reduce([_box(x, y, z, (-0.4, -0.5, low), (0.4, 0.5, low + 0.42)) for low in (-0.7, -0.21, 0.28)])
    gap = _box(x, y, z, (0.3, -0.06, -0.7), (0.6, 0.06, 0.7))
    return np.asarray(np.maximum(case, -np.minimum(room, gap)))


SOLIDS: dict[str, Solid] = {"slot": slot, "bottle": bottle, "tunnel": tunnel, "shelf": shelf}


def truth(name: str) -> Made:
    """Return the object's mesh within the unit ball, painted."""
    at = (np.arange(CELLS) - (CELLS - 1) / 2) * (2.0 / (CELLS - 8))
    field = SOLIDS[name](*np.meshgrid(at, at, at, indexing="ij")).astype(np.float32)
    step = float(at[1] - at[0])
    vertices, faces = level_set.extract(np.clip(field, -4 * step, 4 * step), np.full(3, at[0]), step)
    vertices, faces = collapse.decimate(*level_set.keep_solids(vertices, faces), 40_000)
    vertices = vertices / np.linalg.norm(vertices, axis=1).max()
    return Made(name, vertices, faces, paint(vertices, np.random.default_rng(5)))


def prior_of(thing: Made, views: list[View], seed: int, rasteriser: Rasteriser) -> Prior:
    """Bend, melt, throw and bring back."""
    rng = np.random.default_rng(seed)
    vertices, colours = generated(thing, rng)
    q = rng.normal(size=4)
    thrown = Similarity(
        float(rng.uniform(0.7, 3)), from_quaternions((q / np.linalg.norm(q))[None])[0], rng.normal(size=3)
    )
    shape = Shape(thrown.undo(vertices), thing.faces, colours)
    return Prior(align(shape, views, rasteriser, Quiet()).pose.apply(shape.vertices), thing.faces, colours)


@dataclass(frozen=True)
class Samples:
    """Points spread over a surface by area, the same each time."""

    points: F64
    normals: F64
    face: I32
    weights: F64
    """(N, 3) of the face's corners."""

    def of(self, corners: F64, faces: I32) -> F64:
        """Values at the points of what is known at corners."""
        return np.asarray((corners[faces[self.face]] * self.weights[..., None]).sum(1))


def samples(vertices: F64, faces: I32, count: int = SAMPLES) -> Samples:
    """Sample a mesh."""
    rng = np.random.default_rng(0)
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    area = np.linalg.norm(normal, axis=1)
    face = np.searchsorted(np.cumsum(area) / area.sum(), (np.arange(count) + 0.5) / count).clip(0, len(faces) - 1)
    s, t = np.sqrt(rng.random(count))[:, None], rng.random(count)[:, None]
    points = (1 - s) * a[face] + s * (1 - t) * b[face] + s * t * c[face]
    weights = np.concatenate([1 - s, s * (1 - t), s * t], 1)
    return Samples(points, normal[face] / np.maximum(area[face], 1e-300)[:, None], face, weights)


def away(points: F64, surface: Samples, near: float) -> tuple[F64, I32]:
    """(N,) distance of points from a surface, along its normal where it is nearer than `near`; and its nearest."""
    distance, index = cKDTree(surface.points).query(points, workers=-1)
    along = np.abs(((points - surface.points[index]) * surface.normals[index]).sum(1))
    return np.where(distance < near, along, distance), index


def seen(points: F64, views: list[View]) -> Bool:
    """Whether some view shows what is at a point, by the truth's depth."""
    found = np.zeros(len(points), bool)
    for view in views:
        if view.depth is None:
            raise ValueError("the truth's views have depth")
        size = view.depth.shape[0]
        x, y, z = (points @ view.camera.rotation.T + view.camera.translation).T
        focal = view.camera.focal(size)
        i, j = ((focal * p / z + size / 2).astype(int).clip(0, size - 1) for p in (x, y))
        found |= z < view.depth[j, i] + NEAR_PIXELS * z / focal
    return found


@dataclass(frozen=True)
class Fit:
    """Mean distances in percent of the diagonal, both ways together."""

    hidden: float
    seen: float
    volume: float
    """Off, in percent of the truth's."""
    colour: float
    """PSNR of the hidden parts' colours, dB."""


def compare(thing: Made, mesh: TexturedMesh | Prior, views: list[View]) -> Fit:
    """Measure a result against the truth."""
    vertices, faces = mesh.vertices, mesh.faces
    diagonal = float(np.linalg.norm(np.ptp(thing.vertices, axis=0)))
    ours, theirs = samples(vertices, faces), samples(thing.vertices, thing.faces)
    there, _ = away(ours.points, theirs, 0.01 * diagonal)
    back, nearest = away(theirs.points, ours, 0.01 * diagonal)
    sight = seen(ours.points, views), seen(theirs.points, views)
    if isinstance(mesh, Prior):
        colours = ours.of(np.zeros_like(vertices) if mesh.colours is None else mesh.colours, faces)
    else:
        colours = sample_texture(mesh.texture, ours.of(mesh.uv, mesh.uv_faces)) / 255
    off = (colours[nearest] - theirs.of(thing.colours, thing.faces))[~sight[1]]

    def mean(wanted: bool) -> float:
        parts = [d[s == wanted] for d, s in zip((there, back), sight, strict=True)]
        return 100 * float(np.mean([p.mean() if len(p) else 0.0 for p in parts])) / diagonal

    whole = level_set.volume(thing.vertices, thing.faces)
    volume = 100 * (level_set.volume(vertices, faces) / whole - 1)
    return Fit(mean(False), mean(True), volume, -10 * float(np.log10((off**2).mean())))


def measure(name: str, seed: int, spec: JobSpec, depth: bool, rasteriser: Rasteriser) -> tuple[Fit, Fit, Fit]:
    """Return how the engine alone, with the prior, and the prior itself fit."""
    thing = truth(name)
    exact = photograph(thing, True)
    views = exact if depth else photograph(thing, False)
    scene = Scene(views, Calibration(views[0].camera.fov_deg, 1.0, 1.0, None, None), {})
    prior = prior_of(thing, views, seed, rasteriser)
    alone = compare(thing, reconstruct(scene, spec, rasteriser, Quiet()), exact)
    both = compare(thing, reconstruct(scene, spec, rasteriser, Quiet(), prior), exact)
    return alone, both, compare(thing, prior, exact)


def main() -> int:
    """Run; 1 where a hidden part is not nearer to the truth with the prior than without."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", default="fast", choices=("fast", "standard", "high"))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--no-depth", action="store_true")
    parser.add_argument("--only", choices=tuple(SOLIDS))
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    rasteriser = open_rasteriser(a.device)
    what = "pictures alone" if a.no_depth else "pictures and depth"
    columns = ("object", "hidden: alone", "with the prior", "the prior itself", "seen: alone", "with the prior",
               "the prior itself", "volume off: alone", "with the prior",
               "hidden colours, dB: alone", "with the prior", "the prior itself")  # fmt: skip
    lines = [
        f"{what}, profile {a.profile}, {device_name(a.device)}, {time.strftime('%Y-%m-%d')}.",
        "",
        f"| {' | '.join(columns)} |",
        "| --- " + "| ---: " * (len(columns) - 1) + "|",
    ]
    worse = 0
    for number, name in enumerate([a.only] if a.only else SOLIDS):
        started = time.perf_counter()
        alone, both, prior = measure(name, number, JobSpec(profile=a.profile), not a.no_depth, rasteriser)
        worse += both.hidden >= alone.hidden
        lines.append(
            f"| {name} | {alone.hidden:.3f} | {both.hidden:.3f} | {prior.hidden:.3f} | {alone.seen:.4f} |"
            f" {both.seen:.4f} | {prior.seen:.4f} | {alone.volume:+.1f} % | {both.volume:+.1f} % |"
            f" {alone.colour:.1f} | {both.colour:.1f} | {prior.colour:.1f} |"
        )
        print(f"[prior] {lines[-1]} {time.perf_counter() - started:.1f} s", flush=True)
    text = "\n".join(lines) + "\n"
    print(text)
    if a.out:
        a.out.write_text(text)
    return int(worse > 0)


if __name__ == "__main__":
    sys.exit(main())
