"""The client `recon3d` as a person uses it: the program itself against the real service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from kubecluster.client import eventually
from recon3d_api.auth.keys import new_key

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240, func_only=True)]
EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "input"


@pytest.fixture
def recon3d(shim, tmp_path):
    def run(*arguments, principal="alice", **options):
        env = {**os.environ, "RECON3D_URL": shim.url, "RECON3D_API_KEY": shim.keys[principal]}
        command = [Path(sys.executable).parent / "recon3d", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, env=env, cwd=tmp_path, check=False, timeout=100, **options
        )

    return run


def test_submit_watch_and_download(recon3d, cluster, shim, tmp_path):
    made = recon3d("submit", EXAMPLE, "--profile", "fast", "--set", "mesh.max_faces=20000")
    assert made.returncode == 0, made.stderr
    job = made.stdout.strip()
    assert cluster.get(job)["spec"]["mesh"] == {"maxFaces": 20000}
    cluster.store_result(job, shim.store)
    seen = []
    watching = threading.Thread(target=lambda: seen.append(recon3d("watch", job)))
    watching.start()
    cluster.status(job, phase="Processing", progress={"percent": 40, "stage": "geometry", "engine": "nvdiffrec"})
    eventually(lambda: "recon3d_api_event_listeners 1.0" in shim.client(None).get("/metrics").text, what="it watches")
    cluster.finish(job, summary={"verdict": "normal", "psnr": 31.5, "ssim": 0.95})
    watching.join(30)
    assert seen[0].returncode == 0, seen[0].stderr
    assert "nvdiffrec: geometry" in seen[0].stderr
    assert "completed" in seen[0].stdout
    assert "PSNR 31.5 dB" in seen[0].stdout
    got = recon3d("download", job)
    assert got.returncode == 0, got.stderr
    assert (tmp_path / job / "nvdiffrec" / "mesh.glb").read_bytes()[:4] == b"glTF"
    assert not list(tmp_path.glob(".*"))
    assert "OUTPUT_EXISTS" in recon3d("download", job).stderr


def test_a_job_made_with_kubectl_is_downloaded_by_who_has_the_scope(recon3d, cluster, shim, tmp_path):
    cluster.create("chair")
    cluster.store_result("chair", shim.store)
    cluster.finish("chair")
    eventually(lambda: recon3d("status", "chair", principal="chief").returncode == 0, what="it is known")
    got = recon3d("download", "chair", "--zip", principal="chief")
    assert got.returncode == 0, got.stderr
    with zipfile.ZipFile(tmp_path / "chair.zip") as archive:
        assert "chair/result.json" in archive.namelist()
    hidden = recon3d("download", "chair", "--out", "elsewhere", principal="bob")
    assert hidden.returncode == 30
    assert "JOB_NOT_FOUND" in hidden.stderr


def test_list_cancel_upload_and_delete(recon3d, cluster, operator, tmp_path):
    archive = tmp_path / "input.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for path in EXAMPLE.glob("*/*.png"):
            made.write(path, path.relative_to(EXAMPLE))
    upload = recon3d("upload", archive)
    assert upload.returncode == 0, upload.stderr
    assert recon3d("upload", EXAMPLE).stdout == upload.stdout  # what is in it makes the id
    job = recon3d("submit", f"upload:{upload.stdout.strip()}").stdout.strip()
    assert job in recon3d("list", "--status", "queued").stdout
    assert json.loads(recon3d("list", "--json").stdout)["id"] == job
    assert recon3d("list", "--json", principal="bob").stdout == ""
    asked = recon3d("cancel", job, stdin=subprocess.DEVNULL)
    assert "--yes" in asked.stdout
    assert recon3d("cancel", job, "--yes").stdout.split() == [job, "cancelled"]
    assert recon3d("watch", job).returncode == 34
    assert recon3d("delete", job).returncode == 0
    assert recon3d("status", job).returncode == 30


def test_what_is_wrong_is_told_before_anything_is_sent(recon3d, tmp_path):
    answer = recon3d("submit", tmp_path / "nothing")
    assert answer.returncode == 18
    (tmp_path / "empty").mkdir()
    answer = recon3d("submit", tmp_path / "empty")
    assert (answer.returncode, "MISSING_VIEW" in answer.stderr) == (10, True)


def test_a_wrong_key_and_a_wrong_address_are_told(recon3d, shim):
    shim.keys["mallory"] = new_key("mallory")[0]
    assert recon3d("list", principal="mallory").returncode == 21
