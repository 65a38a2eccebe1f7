"""The engine without its model, once, on a mesh that is there: the build of an image compiles its kernels by that.

python -m recon3d_runner.engines.reconviagen.rehearse INPUT MESH.glb
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from recon3d_contract.job import parse_job

from recon3d_runner.engines.reconviagen.engine import Outcome, complete
from recon3d_runner.engines.reconviagen.interface import Generated
from recon3d_runner.glb import read_glb
from recon3d_runner.raster import open_rasteriser
from recon3d_runner.run import Unheard
from recon3d_runner.scene.assemble import build_scene
from recon3d_runner.surface import vertex_colours

JOB = {"profile": "fast", "mesh": {"maxFaces": 4000}}


def rehearse(source: Path, mesh: Path) -> Outcome:
    """Bring the mesh of a GLB, as if it had been generated, into the views of an input folder, on the CPU."""
    spec, run = parse_job(JOB), Unheard()
    scene = build_scene(source, spec, run)
    given = read_glb(mesh)
    vertices = given.vertices - (given.vertices.min(0) + given.vertices.max(0)) / 2
    vertices *= 0.5 / np.abs(vertices).max()
    made = Generated(vertices, given.faces, vertex_colours(given)[:, :3] / 255.0, 1)
    return complete(made, scene, spec, open_rasteriser("cpu"), run, {})


if __name__ == "__main__":
    rehearse(*map(Path, sys.argv[1:]))
