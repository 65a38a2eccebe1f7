"""The pinned packages, the official code with tiny random weights, and the whole runner on top. Fetches nothing.

    RECON3D_TEST_RECONVIAGEN_PYTHON   a Python 3.10 with requirements/runner-reconviagen.txt
    RECON3D_TEST_RECONVIAGEN          a checkout of the official code at the commit in pins.py

`make test-reconviagen` makes both where they can be had, as CI does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from recon3d_runner.engines.reconviagen import pins

CHECKOUT = os.environ.get("RECON3D_TEST_RECONVIAGEN", "")
PYTHON = os.environ.get("RECON3D_TEST_RECONVIAGEN_PYTHON", "")
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
SCENES = ROOT / "tests/unit/runner/scene"

needs_python = pytest.mark.skipif(
    not PYTHON, reason="RECON3D_TEST_RECONVIAGEN_PYTHON names no Python 3.10 with ReconViaGen's pins"
)
needs_checkout = pytest.mark.skipif(
    not CHECKOUT, reason="RECON3D_TEST_RECONVIAGEN names no checkout of ReconViaGen's code"
)
pytestmark = [needs_python, pytest.mark.timeout(1500)]


def call(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "NUMBA_CACHE_DIR") if name in os.environ},
        "PYTHONPATH": f"{ROOT / 'crds'}:{ROOT / 'runner'}",
        "PYTHONWARNINGS": "ignore",
        **variables,
    }
    return subprocess.run([PYTHON, *command], env=environment, capture_output=True, text=True, check=False)


def test_the_pinned_packages_are_installed_and_import() -> None:
    ran = call(str(HERE / "import_all.py"), "torch", "torchvision", "xformers.ops", "spconv.pytorch")
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["python"] == [3, 10]
    wanted = {name: found["versions"].get(name, "").partition("+")[0] for name in pins.PACKAGES}
    assert wanted == pins.PACKAGES


def test_contract_and_runner_import_there() -> None:
    ran = call(str(HERE / "import_all.py"), "--package", "recon3d_contract", "--package", "recon3d_runner")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["modules"] > 100


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reconviagen") / "home"
    made = call(str(HERE / "tiny_home.py"), CHECKOUT, str(folder))
    assert made.returncode == 0, made.stderr
    return folder


@needs_checkout
def test_the_official_code_has_the_recorded_interface(home: Path) -> None:
    # load_module and load_pipeline compare; they raise where anything is not as recorded.
    ran = call(
        "-c",
        "import pathlib, sys; from recon3d_runner.engines.reconviagen.generate import Model;"
        " Model(pathlib.Path(sys.argv[1]), 'cpu')",
        str(home),
    )
    assert ran.returncode == 0, ran.stderr


@needs_checkout
def test_tiny_random_weights_end_as_an_honest_failure(home: Path, tmp_path: Path) -> None:
    sys.path.insert(0, str(SCENES))
    import drawn_objects
    from drawn_scenes import photograph

    views = photograph(drawn_objects.blob(), size=256, depth_size=256, encoding="black-near", bits=16)
    views.write(tmp_path / "input")
    out = tmp_path / "out"
    ran = call(
        *("-m", "recon3d_runner.cli", "run", str(tmp_path / "input"), "--out", str(out), "--engine", "reconviagen"),
        *("--profile", "fast", "--device", "cpu", "--set", "mesh.max_faces=1000", "--set", "texture.size=512"),
        *("--set", "reconviagen.sparse_structure_steps=1", "--set", "reconviagen.slat_steps=1"),
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
    # What the alignment says is said of the delivered mesh: the evaluation, which knows nothing of it, agrees.
    assert quality["mesh"]["other"]["alignment_iou"] == pytest.approx(quality["means"]["iou"], abs=0.03)
    assert result["provenance"]["licences_accepted"] == ["vggt-weights"]
    assert result["engines"]["reconviagen"]["versions"]["reconviagen"] == "tiny"
    assert {"non_commercial", "reconviagen_code"} <= {warning["code"] for warning in result["warnings"]}
