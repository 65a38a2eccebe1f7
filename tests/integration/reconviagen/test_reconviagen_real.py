"""The official code with tiny random weights, through the whole runner. Fetches nothing.

Runs where RECON3D_TEST_RECONVIAGEN names a checkout of the official code at the pinned commit and
RECON3D_TEST_RECONVIAGEN_PYTHON an interpreter with the packages that it needs (Python 3.10, torch 2.4.0, torchvision
0.19.0, spconv-cu120 2.3.6, safetensors, huggingface_hub, easydict, tqdm) and the runner's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = os.environ.get("RECON3D_TEST_RECONVIAGEN", "")
PYTHON = os.environ.get("RECON3D_TEST_RECONVIAGEN_PYTHON", "")
ROOT = Path(__file__).resolve().parents[3]
SCENES = ROOT / "tests/unit/runner/scene"

pytestmark = [
    pytest.mark.skipif(
        not (CHECKOUT and PYTHON),
        reason="RECON3D_TEST_RECONVIAGEN and RECON3D_TEST_RECONVIAGEN_PYTHON name no checkout and no interpreter",
    ),
    pytest.mark.timeout(1500),
]


def call(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "PYTHONPATH": f"{ROOT / 'crds'}:{ROOT / 'runner'}",
        "PYTHONWARNINGS": "ignore",
        **variables,
    }
    return subprocess.run([PYTHON, *command], env=environment, capture_output=True, text=True, check=False)


def test_tiny_random_weights_end_as_an_honest_failure(tmp_path: Path) -> None:
    sys.path.insert(0, str(SCENES))
    import drawn_objects
    from drawn_scenes import photograph

    views = photograph(drawn_objects.blob(), size=512, depth_size=256, encoding="black-near", bits=16)
    views.write(tmp_path / "input")
    home, out = tmp_path / "home", tmp_path / "out"
    made = call(str(Path(__file__).parent / "tiny_home.py"), CHECKOUT, str(home))
    assert made.returncode == 0, made.stderr
    ran = call(
        *("-m", "recon3d_runner.cli", "run", str(tmp_path / "input"), "--out", str(out), "--engine", "reconviagen"),
        *("--profile", "fast", "--device", "cpu", "--set", "mesh.max_faces=3000", "--set", "texture.size=512"),
        *("--set", "reconviagen.sparse_structure_steps=2", "--set", "reconviagen.slat_steps=2"),
        RECON3D_RECONVIAGEN_HOME=str(home),
        RECON3D_RECONVIAGEN_CPU="tiny-weights",
        RECON3D_ACCEPT_LICENCES="vggt-weights",
    )
    result = json.loads((out / "result.json").read_text())
    assert result["error"]["code"] == "QUALITY_BELOW_THRESHOLD", ran.stderr
    assert result["verdict"] == "failure"
    files = {path.relative_to(out / "reconviagen").as_posix() for path in (out / "reconviagen").rglob("*")}
    assert {"mesh.glb", "mesh.obj", "mesh.ply", "quality.json", "report.html", "previews/textured_front.png"} <= files
    quality = json.loads((out / "reconviagen/quality.json").read_text())
    assert quality["mesh"]["watertight"]
    assert quality["mesh"]["other"]["generated_voxels"] > 0
    assert 0 <= quality["mesh"]["other"]["alignment_iou"] <= 1
    assert result["provenance"]["licences_accepted"] == ["vggt-weights"]
    assert result["engines"]["reconviagen"]["versions"]["reconviagen"] == "tiny"
    assert {"non_commercial", "reconviagen_code"} <= {warning["code"] for warning in result["warnings"]}
