"""A job's whole life with nothing but a bucket: submitted over HTTP, run by the real runner, fetched by signed address.

There is no kubelet: the test starts the program of the operator's Pod, with the Pod's environment, and tells its end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
import uuid
import zipfile
from pathlib import Path
from typing import Any

import pytest
from kubecluster.client import eventually
from recon3d_contract.store import open_housekeeping
from recon3d_contract.summary import MAX_SUMMARY_BYTES

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400, func_only=True)]
# The smallest run that goes through every stage; how good it is says nothing, so nothing is asked of it.
SMALL = {
    "profile": "fast",
    "mesh": {"maxFaces": 500},
    "texture": {"size": 512},
    "nvdiffrec": {"iterations": 4, "resolution": 32},
    "quality": {"psnrNormal": 0, "psnrWarning": 0, "ssimNormal": 0, "ssimWarning": 0, "iou": 0,
                "depthErrorPct": 100, "leaveOneOutPsnr": 0},
}  # fmt: skip


def run_pod(cluster: Any, job: str, folder: Path, secrets: dict[str, str]) -> dict[str, Any]:
    """Do what a kubelet does with the job's Pod; return the result that its runner told."""
    pods = f"/api/v1/namespaces/{cluster.namespace}/pods?labelSelector=recon3d.io/job-name={job}"
    pod = eventually(lambda: next(iter(cluster.client.items(pods)), None), what="the job has its Pod")
    container, name = pod["spec"]["containers"][0], pod["metadata"]["name"]
    assert container["envFrom"] == [{"secretRef": {"name": "s3"}}]
    assert {volume["name"] for volume in pod["spec"]["volumes"]} == {"tmp", "shm"}, "no volume has a part in this"
    message = folder / "termination-log"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RECON3D_", "AWS_"))}
    given = {entry["name"]: entry["value"].replace("$$", "$") for entry in container["env"]}
    env = {**kept, **given, **secrets, "RECON3D_SCRATCH": str(folder), "RECON3D_TERMINATION_LOG": str(message)}
    command = [str(Path(sys.executable).parent / container["command"][0]), *container["command"][1:]]
    done = subprocess.run(command, env={**env, "HOME": str(folder)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = message.read_bytes()
    assert len(told) <= MAX_SUMMARY_BYTES
    time = pod["metadata"]["creationTimestamp"]
    ended = {"exitCode": 0, "message": told.decode(), "startedAt": time, "finishedAt": time, "reason": "Completed"}
    entry = {"name": "runner", "state": {"terminated": ended}, "image": "i", "imageID": "i", "ready": False}
    status = {"phase": "Succeeded", "containerStatuses": [{**entry, "restartCount": 0}]}
    cluster.client.pod_status(cluster.namespace, name, status)
    return dict(json.loads(told))


def test_from_submission_to_download_with_everything_in_a_bucket(
    start_shim, start_operator, s3, cluster, files, sweep, tmp_path, monkeypatch
):
    place = f"s3://results/{uuid.uuid4()}"
    start_operator(
        RECON3D_STORE=place, RECON3D_DEVICE="cpu", RECON3D_STORE_SECRET="s3", RECON3D_NAMESPACES=cluster.namespace
    )
    shim = start_shim(RECON3D_STORE=place, RECON3D_SIGNED_URL_S="300", **s3.environment)
    alice = shim.client("alice")
    made = alice.post("/jobs", files=files, data={"parameters": json.dumps(SMALL)})
    assert made.status_code == 202, made.text
    job = made.json()["id"]
    (tmp_path / "pod").mkdir()
    told = run_pod(cluster, job, tmp_path / "pod", s3.environment)
    assert told["status"] == "completed"
    seen = eventually(lambda: (found := alice.get(f"/jobs/{job}").json())["status"] == "completed" and found)
    assert seen["quality"]["psnr"] == pytest.approx(told["psnr"], abs=0.01)
    assert cluster.get(job)["status"]["artifacts"]["path"].startswith(f"{place}/jobs/")

    listed = {file["path"]: file for file in alice.get(f"/jobs/{job}/files").json()["files"]}
    with urllib.request.urlopen(listed["nvdiffrec/mesh.glb"]["url"], timeout=30) as answer:
        mesh = answer.read()
    assert mesh[:4] == b"glTF"
    assert len(mesh) == listed["nvdiffrec/mesh.glb"]["bytes"]
    archive = tmp_path / "result.zip"
    archive.write_bytes(alice.get(f"/jobs/{job}/download").content)
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        assert opened.read(f"{job}/nvdiffrec/mesh.glb") == mesh
        assert json.loads(opened.read(f"{job}/result.json"))["status"] == "completed"
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    assert alice.delete(f"/jobs/{job}").status_code == 204
    sweep(shim)
    keeping = open_housekeeping(place)
    assert (keeping.jobs(), keeping.uploads()) == ([], []), "nothing of it is left in the bucket"
