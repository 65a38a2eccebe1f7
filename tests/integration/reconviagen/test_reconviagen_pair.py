"""A job of both engines as the two containers of its Pod run it, the first one's mesh being the second one's prior.

Real processes, real engines, a real store; only the model that generates is a stand-in (stand_in.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import stand_in
from PIL import Image
from recon3d_contract.result import Result
from recon3d_contract.store import FolderStore
from recon3d_runner.engines.reconviagen.rehearse import rehearse

ROOT = Path(__file__).parents[3]
MESH = ROOT / "examples/result/nvdiffrec/mesh.glb"
UID = "0b6e2f1c-7d0a-4a53-9d0e-1f0c1c1d2e3f"
SPEC = {"engine": "both", "profile": "fast", "mesh": {"maxFaces": 6000}, "nvdiffrec": {"prior": "reconviagen"}}


@pytest.fixture
def views(tmp_path: Path) -> Path:
    """The bundled example, small."""
    for file in sorted((ROOT / "examples/input").rglob("*.png")):
        small = tmp_path / "views" / file.parent.name / file.name
        small.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(file) as picture:
            picture.resize((256, 256), Image.Resampling.NEAREST).save(small)
    return tmp_path / "views"


@pytest.mark.timeout(900)
def test_what_the_first_container_leaves_is_the_second_one_s_prior(views: Path, tmp_path: Path) -> None:
    stand_in.make(tmp_path / "stand-in", MESH)
    (tmp_path / "parts").mkdir()
    (tmp_path / "scratch").mkdir()
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RECON3D_")}

    def container(engine: str, **more: str) -> None:
        job = {
            "RECON3D_JOB": json.dumps(SPEC),
            "RECON3D_JOB_UID": UID,
            "RECON3D_ATTEMPT": "1",
            "RECON3D_TERMINATION_LOG": str(tmp_path / "termination-log"),
            "RECON3D_SCRATCH": str(tmp_path / "scratch"),
            "RECON3D_ENGINE": engine,
        }
        place = ("--input", str(views), "--output", str(tmp_path / "store"), "--device", "cpu")
        command = [sys.executable, "-m", "recon3d_runner.cli", "job", *place]
        done = subprocess.run(command, env={**kept, **job, **more}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
        assert list((tmp_path / "scratch").iterdir()) == []

    container("reconviagen", RECON3D_LEAVE=str(tmp_path / "parts"), **stand_in.variables(str(tmp_path / "stand-in")))
    container("nvdiffrec", RECON3D_TAKE=str(tmp_path / "parts"))

    store = FolderStore(tmp_path / "store")
    with store.open(UID, 1, "result.json") as file:
        result = Result.model_validate_json(file.read())
    assert {entry.verdict for entry in result.engines.values()} <= {"normal", "warning"}  # of pictures this small
    assert set(result.engines) == {"nvdiffrec", "reconviagen"}
    assert not {"prior_unavailable", "prior_unfit"} & {warning.code for warning in result.warnings}
    told = {}
    for engine in result.engines:
        with store.open(UID, 1, f"{engine}/quality.json") as file:
            told[engine] = json.loads(file.read())["mesh"]["other"]
    assert told["reconviagen"]["alignment_iou"] > 0.95
    assert told["nvdiffrec"]["prior"] == "reconviagen"


def test_what_comes_after_the_model_is_rehearsed_without_it(views: Path) -> None:
    made = rehearse(views, MESH)
    assert float(made.facts["alignment_iou"] or 0) > 0.95
    assert len(made.mesh.faces) <= 4000
