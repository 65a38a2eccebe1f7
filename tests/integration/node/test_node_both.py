"""A job of both engines on a real node: a Pod of two containers, one result, whatever becomes of the first one.

The image has no weights, so reconviagen cannot run in it: it ends with an error of its own, or dies as told.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubecluster.builds import build
from kubecluster.client import JOBS, eventually
from kubecluster.images import with_layer
from kubecluster.load import install, started_operator
from kubecluster.node import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.needs("node", "images"), pytest.mark.timeout(900, func_only=True)]
ROOT = Path(__file__).resolve().parents[3]
PLACE = "both"
# The node's GPU is a device plugin's: nobody can compute on it.
WRAPPER = """#!/bin/sh
[ "$RECON3D_ENGINE:$RECON3D_TEST_DIES" = reconviagen:yes ] && exit 139
RECON3D_DEVICE=cpu exec /opt/recon3d/bin/recon3d-runner "$@"
"""


@pytest.fixture(scope="module")
def images(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two names for the runner's image: in the second one, the container of reconviagen dies at once."""
    plain = build("runner")
    names = []
    for word, dies in (("lives", "no"), ("dies", "yes")):
        name, archive = f"{plain.reference}-{word}", tmp_path_factory.mktemp("images") / "runner.tar"
        environment = {"PATH": "/opt/test:/opt/recon3d/bin:/usr/bin:/bin", "RECON3D_TEST_DIES": dies}
        with_layer(plain.archive, archive, name, {"/opt/test/recon3d-runner": WRAPPER.encode()}, environment)
        cluster.load_image(archive)
        archive.unlink()
        names.append(name)
    return names[0], names[1]


@pytest.fixture(scope="module")
def store(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    install(cluster.plane)
    cluster.client.namespace(PLACE, 1)
    folder = tmp_path_factory.mktemp("store")
    for place in (folder, *folder.parents[:2]):
        place.chmod(0o755)
    os.chown(folder, 65532, 65532)
    cluster.folder_volume("results", folder)
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    spec |= {"storageClassName": "", "volumeName": "results"}
    claims = f"/api/v1/namespaces/{PLACE}/persistentvolumeclaims"
    cluster.client.create(claims, {"metadata": {"name": "results"}, "spec": spec})
    return folder


def run(cluster: Cluster, images: tuple[str, str], name: str, first: str) -> dict[str, Any]:
    job = yaml.safe_load((ROOT / "examples/job.yaml").read_text())
    job["metadata"]["name"] = name
    job["spec"]["engine"] = "both"
    path = f"{JOBS}/namespaces/{PLACE}/reconstructionjobs"
    settings = {"RECON3D_RUNNER_IMAGE": images[0], "RECON3D_RECONVIAGEN_IMAGE": first, "RECON3D_STORE": "pvc:results"}
    settings |= {"RECON3D_CPU": "500m", "RECON3D_MEMORY": "3Gi", "RECON3D_SHM": "64Mi", "RECON3D_RETRY_BASE_S": "0.5"}
    with started_operator(cluster.plane, RECON3D_IMAGE_PULL_POLICY="Never", **settings):
        cluster.client.create(path, job)

        def ended() -> dict[str, Any] | None:
            status = cluster.client.get(f"{path}/{name}").get("status") or {}
            return status if status.get("phase") in ("Completed", "Failed") else None

        return eventually(ended, seconds=600, what=f"{name} has ended") or {}


def result(store: Path, status: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads((store / status["artifacts"]["path"].split("/", 1)[1] / "result.json").read_text()))


def test_the_second_engines_result_is_the_jobs_and_the_first_ones_error_stands_beside_it(cluster, images, store):
    status = run(cluster, images, "chair", images[0])
    assert status["phase"] == "Completed", status
    assert status["summary"]["engine"] == "nvdiffrec"
    assert status["engines"]["reconviagen"]["phase"] == "Failed"
    assert status["engines"]["reconviagen"]["code"] == "ENGINE_UNAVAILABLE"
    assert status["engines"]["nvdiffrec"]["watertight"] is True
    assert status["engines"]["nvdiffrec"]["peakMemoryBytes"] > 10**7
    assert len(status["attempts"]) == 1
    written = result(store, status)
    assert set(written["engines"]) == {"nvdiffrec", "reconviagen"}
    print(json.dumps(status["summary"]))


def test_a_container_that_dies_costs_one_run_and_no_result(cluster, images, store):
    status = run(cluster, images, "table", images[1])
    assert status["phase"] == "Completed", status
    first, second = status["attempts"]
    assert (first["lostEngine"], first["lostCode"]) == ("reconviagen", "INTERNAL")
    assert second["reason"] == "Completed"
    assert status["engines"]["reconviagen"]["code"] == "INTERNAL"
    assert status["summary"]["verdict"] in ("normal", "warning")
