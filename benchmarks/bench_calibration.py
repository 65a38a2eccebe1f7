"""Calibrates drawn objects whose cameras are known, and says how far off the angle of view is and how sure it was.

    python benchmarks/bench_calibration.py [--size 512] [--seed 0] [--count 48]

No case is anybody's favourite: shape, angle of view (20 to 70 degrees), size in frame, bits and range of depth, light
and noise are drawn by a seed. They are the pictures that the unit tests use, in another size. The rule to keep is the
last line: nothing that is more than half a degree off may be as sure as .9.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "unit" / "runner" / "scene"))

import drawn_objects as objects  # noqa: E402
from drawn_scenes import Recorder, photograph  # noqa: E402
from recon3d_contract.errors import Recon3dError  # noqa: E402
from recon3d_contract.spec import JobSpec  # noqa: E402
from recon3d_runner.scene.assemble import build_scene  # noqa: E402

FAR_OFF, SURE = 0.5, 0.9


def _edges(rng: np.random.Generator) -> tuple[float, float, float]:
    """Edge lengths of which no two are nearly alike."""
    long = rng.uniform(0.9, 1.1)
    middle = long * rng.uniform(0.6, 0.85)
    edges = np.array([long, middle, middle * rng.uniform(0.5, 0.85)])
    x, y, z = rng.permutation(edges).tolist()
    return x, y, z


SHAPES: dict[str, Callable[[np.random.Generator], objects.Drawn]] = {
    "box": lambda rng: objects.box(_edges(rng)),
    "soft box": lambda rng: objects.soft_box(_edges(rng), rng.uniform(0.03, 0.12)),
    "fins": lambda rng: objects.fins(_edges(rng)),
    "L-block": lambda _: objects.l_block(),
    "cylinder": lambda rng: objects.cylinder(rng.uniform(0.25, 0.7)),
    "blob": lambda _: objects.blob(),
    "torus": lambda rng: objects.torus(rng.uniform(0.2, 0.9)),
    "egg": lambda _: objects.egg(),
}


def draw(name: str, seed: int, size: int) -> tuple[Any, float, str]:
    """Pictures of one case, its angle of view, and the rest in words."""
    rng = np.random.default_rng([seed, *name.encode()])
    fov, fill, margin = rng.uniform(20, 70), rng.uniform(0.4, 0.92), rng.uniform(0.05, 0.5)
    bits = int(rng.choice([8, 8, 16]))
    noise, lit = float(rng.choice([0, 0, 2, 4])), bool(rng.uniform() < 0.3)
    encoding = str(rng.choice(["white-near", "black-near"]))
    thing = SHAPES[name](rng)
    pictures = photograph(
        thing, fov=fov, size=size, bits=bits, fill=fill, margin=margin, noise=noise, lit=lit, encoding=encoding
    )
    words = f"{bits} bit, fills {fill:.0%}{', lit' if lit else ''}{f', noise {noise:g}' if noise else ''}"
    return pictures, fov, words


def calibrate(name: str, seed: int, size: int) -> dict[str, Any]:
    """One row of the table."""
    pictures, fov, words = draw(name, seed, size)
    row: dict[str, Any] = {"case": f"{name} {seed}", "pictures": words, "fov": f"{fov:.1f}"}
    started = time.process_time()
    try:
        with tempfile.TemporaryDirectory() as folder:
            scene = build_scene(pictures.write(Path(folder)), JobSpec(), Recorder())
    except Recon3dError as error:
        return {**row, "note": error.code}
    found = scene.calibration
    ratio, off = pictures.setup.distance / found.distance, []
    for view, exact in zip(scene.views, pictures.truth, strict=True):
        off.append(np.abs(view.depth * ratio - exact.depth)[np.isfinite(view.depth) & np.isfinite(exact.depth)])
    row["depth"] = 100 * float(np.concatenate(off).mean()) / pictures.setup.distance
    row["error"], row["confidence"] = found.fov_deg - fov, found.confidence
    return {**row, "cpu_s": time.process_time() - started, "note": "prior" if found.prior else ""}


def main() -> int:
    """Run the cases; 1 when one that is far off says that it is sure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=512, help="of the colour images; depth has half of it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--only", choices=sorted(SHAPES))
    a = parser.parse_args()
    names = [a.only] if a.only else list(SHAPES)
    rows = []
    for k in range(a.count):
        rows.append(calibrate(names[k % len(names)], a.seed + k // len(names), a.size))
        print(_line(rows[-1]), flush=True)
    fixed = [row for row in rows if "error" in row and row["note"] != "prior"]
    errors = np.abs([row["error"] for row in fixed])
    lies = [row for row in rows if abs(row.get("error", 0)) > FAR_OFF and row["confidence"] >= SURE]
    print(
        f"{len(fixed)} of {len(rows)} fixed the angle: median {np.median(errors):.3f} deg, 90 % within "
        f"{np.quantile(errors, 0.9):.3f}, worst {errors.max():.3f}; within .2 deg: {(errors <= 0.2).sum()}; "
        f"depth off by {np.mean([row['depth'] for row in fixed]):.3f} % of the distance"
    )
    print(f"more than {FAR_OFF} deg off with confidence >= {SURE}: {[row['case'] for row in lies] or 'none'}")
    return int(bool(lies))


def _line(row: dict[str, Any]) -> str:
    found = f"{row['error']:+7.3f} {row['confidence']:.2f} {row['depth']:.3f}" if "error" in row else " " * 18
    return f"{row['case']:12} {row['fov']:>5} {found} {row.get('cpu_s', 0):5.1f} s  {row['pictures']} {row['note']}"


if __name__ == "__main__":
    sys.exit(main())
