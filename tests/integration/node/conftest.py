"""One real node for the session, and an image of a small Debian with Python on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kubecluster.debian import debian_layer
from kubecluster.images import write_image
from kubecluster.node import Cluster, real_cluster

IMAGE = "recon3d.local/debian:1"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    archive = write_image(tmp_path_factory.mktemp("images") / "debian.tar", IMAGE, [debian_layer()])
    with real_cluster(gpus=2) as running:
        running.load_image(archive)
        archive.unlink()
        yield running
