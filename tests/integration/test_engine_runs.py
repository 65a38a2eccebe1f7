"""The engine through the command line: every file of the contract, measured on disk, the same bytes again.

Nothing is replaced. The real cases lie beside the checkout (../shared/cases, or RECON3D_CASES) and may not be
committed; where they are absent their test says so and is skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image
from recon3d_contract.layout import engine_files
from recon3d_contract.quality import Quality
from recon3d_contract.result import Result
from recon3d_contract.stages import WEIGHTS

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "unit" / "runner" / "scene"))

from drawn_objects import torus  # noqa: E402
from drawn_scenes import photograph  # noqa: E402

CASES = Path(os.environ.get("RECON3D_CASES", ROOT.parent / "shared" / "cases"))
SAME = ("mesh.glb", "mesh.obj", "mesh.ply", "quality.json", "textures/base_color.png", "previews/")


def run(source: Path, out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "recon3d_runner.cli", "run", str(source), "--out", str(out)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RECON3D_")}
    return subprocess.run(
        [*command, "--device", "cpu", "--profile", "fast", *arguments],
        env=environment | {"OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def result_of(out: Path) -> Result:
    return Result.model_validate_json((out / "result.json").read_bytes())


def quality_of(out: Path) -> Quality:
    return Quality.model_validate_json((out / "nvdiffrec" / "quality.json").read_bytes())


def hashes(out: Path) -> dict[str, str]:
    """Of every file in which no time stands."""
    folder = out / "nvdiffrec"
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in engine_files()
        if name.startswith(SAME)
    }


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An input folder: the uneven ring, 16-bit metric depth."""
    pictures = photograph(torus(), size=512, encoding="metric", bits=16)
    return pictures.write(tmp_path_factory.mktemp("ring") / "in")


@pytest.fixture(scope="module")
def first(ring: Path) -> Path:
    out = ring.parent / "first"
    done = run(ring, out)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.mark.timeout(240)
def test_a_run_leaves_every_file_of_the_layout(first: Path) -> None:
    result = result_of(first)
    assert (result.status, result.engine, result.error) == ("completed", "nvdiffrec", None)
    assert [artifact.path for artifact in result.artifacts] == [f"nvdiffrec/{name}" for name in engine_files()]
    found = {str(path.relative_to(first)) for path in first.rglob("*") if path.is_file()}
    assert found == {"result.json", "run.log"} | {f"nvdiffrec/{name}" for name in engine_files()}
    for artifact in result.artifacts:
        data = (first / artifact.path).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (artifact.bytes, artifact.sha256)
    assert set(result.engines["nvdiffrec"].stage_seconds) == set(WEIGHTS["nvdiffrec"])
    assert "Traceback" not in (first / "run.log").read_text()


def test_its_quality_is_that_of_the_object(first: Path) -> None:
    quality = quality_of(first)
    assert (quality.verdict, quality.reasons) == ("normal", [])
    assert (quality.mesh.watertight, quality.mesh.manifold) == (True, True)
    assert (quality.mesh.components, quality.mesh.genus) == (1, 1)
    assert (quality.mesh.self_intersections, quality.mesh.degenerate_faces) == (0, 0)
    assert quality.mesh.uv_overlap == 0
    assert quality.mesh.volume > 0
    assert abs(quality.calibration.fov_deg - 40) < 0.3
    assert quality.calibration.depth is not None
    assert quality.calibration.depth.encoding == "metric"
    assert quality.means.psnr_foreground > 28
    assert quality.means.iou > 0.98
    assert quality.means.depth_error_pct is not None
    assert quality.means.depth_error_pct < 0.1
    assert quality.leave_one_out.mean is not None
    assert quality.leave_one_out.mean > 24


def test_the_files_are_what_quality_json_says(first: Path) -> None:
    quality, folder = quality_of(first), first / "nvdiffrec"
    glb = trimesh.load(folder / "mesh.glb", force="mesh", process=False)
    assert len(glb.faces) == quality.mesh.faces
    ply = trimesh.load(folder / "mesh.ply", force="mesh", process=False)
    x, y, z = np.array(ply.vertices).T
    np.testing.assert_allclose(np.stack([y, z, x], 1).max(0), glb.vertices.max(0), atol=1e-4)
    with Image.open(folder / "textures" / "base_color.png") as image:
        assert image.size[0] == image.size[1]
        assert image.mode == "RGB"
    assert (folder / "report.html").read_text().lower().count("<html") == 1


@pytest.mark.timeout(240)
def test_the_same_input_gives_the_same_bytes_as_a_zip_too(first: Path, ring: Path) -> None:
    archive = ring.parent / "in.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for path in sorted(ring.rglob("*.png")):
            made.write(path, path.relative_to(ring))
    done = run(archive, ring.parent / "second")
    assert done.returncode == 0, done.stdout + done.stderr
    assert hashes(ring.parent / "second") == hashes(first)
    before, after = result_of(first), result_of(ring.parent / "second")
    assert before.provenance.inputs == after.provenance.inputs
    assert before.verdict == after.verdict


@pytest.mark.timeout(240)
def test_silhouettes_alone_give_a_result_that_says_so(ring: Path, tmp_path: Path) -> None:
    """Given the camera; nothing but outlines carries the shape."""
    source = photograph(torus(), size=256, encoding=None, alpha=True).write(tmp_path / "in")
    done = run(source, tmp_path / "out", "--set", "cameras.fov_deg=40", "--set", "output.formats=[]")
    assert done.returncode in (0, 42), done.stdout + done.stderr
    quality, result = quality_of(tmp_path / "out"), result_of(tmp_path / "out")
    assert "no_depth" in {warning.code for warning in result.warnings}
    assert quality.calibration.depth is None
    assert quality.means.depth_error_pct is None
    assert quality.mesh.watertight
    assert quality.means.iou > 0.97
    report = (tmp_path / "out" / "nvdiffrec" / "report.html").read_text()
    assert "silhouettes alone" in report


def spot() -> Path:
    if not (CASES / "spot" / "input").is_dir():
        pytest.skip(f"the case spot is not there: no folder {CASES.name}/spot/input (set RECON3D_CASES)")
    return CASES / "spot"


@pytest.mark.timeout(400)
def test_the_real_case_spot(tmp_path: Path) -> None:
    case = spot()
    done = run(case / "input", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    quality: Quality = quality_of(tmp_path / "out")
    truth: dict[str, Any] = json.loads((case / "truth" / "cameras.json").read_text())
    fov = next(value for key, value in truth.items() if "fov" in key)
    assert quality.verdict == "normal"
    assert abs(quality.calibration.fov_deg - fov) < 0.3
    assert quality.calibration.depth is not None
    assert quality.calibration.depth.encoding == "white-near"
    assert quality.calibration.confidence > 0.5
    mesh = quality.mesh
    assert (mesh.watertight, mesh.manifold, mesh.components, mesh.genus) == (True, True, 1, 0)
    assert (mesh.self_intersections, mesh.uv_overlap) == (0, 0)
    assert mesh.faces <= 150_000
    assert quality.leave_one_out.mean is not None
    assert quality.leave_one_out.mean >= 24
