"""Stands in for ReconViaGen's model, which needs its weights: everything else of that engine is what users get.

`make(FOLDER, MESH)` fills FOLDER. A runner with `variables(FOLDER)` then generates the mesh of that GLB, turned and
scaled into a frame of its own, whatever its views show: this file lies in FOLDER as `sitecustomize.py`, and takes the
place of the module that runs the model. Needs no torch; used by the runner's tests and in the image of tests/e2e.
"""

from __future__ import annotations

import shutil
import sys
import types
from pathlib import Path
from typing import Any

MESH = "mesh.npz"
TURN = ((0.36, 0.48, -0.8), (-0.8, 0.6, 0.0), (0.48, 0.64, 0.6))


def variables(folder: str) -> dict[str, str]:
    """What a runner needs, wherever `folder` lies for it."""
    return {
        "PYTHONPATH": folder,
        "RECON3D_RECONVIAGEN_HOME": f"{folder}/home",
        "RECON3D_RECONVIAGEN_CPU": "tiny-weights",
        "RECON3D_ACCEPT_LICENCES": "vggt-weights",
    }


def make(folder: Path, mesh: Path) -> None:
    """Fill `folder`: this file, the mesh, and a home whose manifest is right."""
    import numpy as np
    from recon3d_runner.engines.reconviagen import pins
    from recon3d_runner.engines.reconviagen.digests import file_sha256, tree_sha256
    from recon3d_runner.engines.reconviagen.weights import CODE, WEIGHTS, Entry, Manifest
    from recon3d_runner.glb import read_glb
    from recon3d_runner.surface import vertex_colours

    home = folder / "home"
    shutil.rmtree(folder, ignore_errors=True)
    dino = home / WEIGHTS / pins.DINO_FOLDER
    for root, names in ((home / CODE, pins.CODE_FOLDERS), (dino, pins.DINO_FOLDERS)):
        for name in names:
            place = root / name if name.endswith(".py") else root / name / "none.py"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text("# no model\n")
    (home / WEIGHTS / "none").write_text("no weights\n")
    weight = Entry("none", 11, file_sha256(home / WEIGHTS / "none"), "nobody")
    digests = tree_sha256(home / CODE, pins.CODE_FOLDERS), tree_sha256(dino, pins.DINO_FOLDERS)
    Manifest("stand-in", digests[0], "stand-in", digests[1], {}, (weight,)).write(home)

    seen = read_glb(mesh)
    middle = (seen.vertices.min(0) + seen.vertices.max(0)) / 2
    vertices = (seen.vertices - middle) @ np.array(TURN).T
    vertices *= 0.45 / np.abs(vertices).max()
    np.savez_compressed(folder / MESH, vertices=vertices, faces=seen.faces, colours=vertex_colours(seen)[:, :3] / 255.0)
    shutil.copyfile(__file__, folder / "sitecustomize.py")


def _generate(model: Any, views: Any, settings: Any, seed: int, run: Any) -> Any:
    import numpy as np
    from recon3d_runner.engines.reconviagen.interface import Generated

    with np.load(Path(__file__).with_name(MESH)) as made:
        return Generated(made["vertices"], made["faces"], made["colours"], 1000)


if __name__ == "sitecustomize":
    module = types.ModuleType("recon3d_runner.engines.reconviagen.generate")
    module.Model = lambda home, device: None  # type: ignore[attr-defined]
    module.generate = _generate  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
