"""One installation on one real node for the session; it needs root, and whatever it made is gone afterwards."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubecluster.node import real_cluster

sys.path.insert(0, str(Path(__file__).parent))

from e2e_world import FULL, World


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A node with the images and two stores, one of which has next to no room."""
    folder = tmp_path_factory.mktemp("e2e")
    for place in (folder, *folder.parents[:2]):
        place.chmod(0o755)
    (folder / "store").mkdir()
    os.chown(folder / "store", 65532, 65532)
    (folder / FULL).mkdir()
    with real_cluster(gpus=1) as cluster:
        # In the node's own namespace, with which it goes.
        options = "size=400k,uid=65532,gid=65532"
        cluster.capsule.run("mount", "-t", "tmpfs", "-o", options, "tmpfs", folder / FULL)
        yield World(cluster, folder)


@pytest.fixture(scope="session")
def world(node: World) -> World:
    """That node with the chart installed."""
    node.seconds_to_ready = node.install()
    return node
