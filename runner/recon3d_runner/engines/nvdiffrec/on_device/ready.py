"""Each pass once on next to nothing: a device loads code where it is first asked for, which takes a second in all."""

from __future__ import annotations

from typing import Final

import numpy as np

from recon3d_runner.engines.nvdiffrec.fusion import Silhouette
from recon3d_runner.engines.nvdiffrec.geometry import HOLD, GeometryOptions
from recon3d_runner.engines.nvdiffrec.on_device.fusion import carve
from recon3d_runner.engines.nvdiffrec.on_device.geometry import OnDevice, Targets
from recon3d_runner.engines.nvdiffrec.on_device.sight import count_faces
from recon3d_runner.engines.nvdiffrec.on_device.texture import System, solve
from recon3d_runner.engines.nvdiffrec.remesh import edge_table
from recon3d_runner.engines.nvdiffrec.texture import SETTLED, Samples
from recon3d_runner.raster.cpu import project
from recon3d_runner.raster.port import TensorRasteriser
from recon3d_runner.run import Unheard
from recon3d_runner.surface import vertex_normals
from recon3d_runner.types import Camera, View

SIZE: Final = 32
VERTICES: Final = np.array([[0, 0, 0.3], [0.3, 0, -0.2], [-0.2, 0.3, -0.2], [-0.2, -0.3, -0.2]])
FACES: Final = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]], np.int32)


def _ignore(iteration: int, loss: float) -> None:
    """Progress of the texture's iterations."""


def get_ready(rasteriser: TensorRasteriser) -> None:
    """Make `rasteriser` and its device load what the passes will need."""
    flat = np.full((SIZE, SIZE), 3.0, np.float32)
    view = View(
        "front", Camera(np.eye(3), np.array([0.0, 0.0, 3.0]), 40.0), np.zeros((1, 1, 3), np.float32), flat, flat
    )
    prepared = [Silhouette(flat - 3, flat, flat - 3)]
    carve([view], prepared, np.full(3, -0.5), 0.1, 8, Unheard(), rasteriser.device)
    images = Targets.of([view], prepared, rasteriser.device)
    solver = OnDevice(FACES, edge_table(FACES), images, GeometryOptions(), rasteriser, np.zeros(len(VERTICES)), HOLD)
    solver.solve(VERTICES, vertex_normals(VERTICES, FACES), 1.0, 1.0)
    count_faces(project(VERTICES, view.camera, SIZE), FACES, SIZE, rasteriser)
    samples = Samples(np.ones((4, 3), np.float32), np.ones((4, 3), np.float32), np.ones(4, np.float32))
    system = System([samples], SIZE, 3, rasteriser.device)
    solve(system, np.zeros((SIZE, SIZE, 3), np.float32), 2, 0.3, _ignore, SETTLED)
