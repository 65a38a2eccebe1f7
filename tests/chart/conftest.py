"""helm, the chart rendered by it, and a real API server to install it on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubecluster.client import Client
from kubecluster.control_plane import ControlPlane, control_plane
from kubecluster.tools import KUBERNETES_MINOR, tool

sys.path.insert(0, str(Path(__file__).parent))

from chart_world import CHART, Docs, Refusal


@pytest.fixture(scope="session")
def helm() -> Callable[..., str]:
    program = tool("helm")

    def call(*arguments: str) -> str:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=200)
        if done.returncode:
            raise Refusal(done.stderr + done.stdout)
        return done.stdout

    return call


@pytest.fixture(scope="session")
def render_text(helm: Callable[..., str]) -> Callable[..., str]:
    def call(*arguments: str) -> str:
        version = f"1.{KUBERNETES_MINOR}.0"
        return helm("template", "one", str(CHART), "--namespace", "studio", "--kube-version", version, *arguments)

    return call


@pytest.fixture(scope="session")
def render(render_text: Callable[..., str]) -> Callable[..., Docs]:
    def call(*arguments: str) -> Docs:
        return [doc for doc in yaml.safe_load_all(render_text(*arguments)) if doc]

    return call


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    with control_plane() as running:
        yield running


@pytest.fixture(scope="session")
def admin(plane: ControlPlane) -> Client:
    client = Client(plane.kubeconfig)
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    client.create("/api/v1/namespaces", {"metadata": {"name": "studio", "labels": labels}})
    return client


@pytest.fixture
def release(plane: ControlPlane, admin: Client) -> Iterator[Any]:
    """Run helm on that cluster, for the release `one` unless another is named; at the end nothing of it is left."""
    used: set[str] = set()

    def call(verb: str, *arguments: str, name: str = "one", chart: Path = CHART) -> str:
        used.add(name)
        charts = [str(chart)] if verb in ("install", "upgrade") else []
        done = subprocess.run(
            [tool("helm"), verb, name, *charts, "--namespace", "studio", *arguments],
            env={**os.environ, "KUBECONFIG": str(plane.kubeconfig)}, capture_output=True, text=True, check=False,
            timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    yield call
    for name in used:
        subprocess.run(
            [tool("helm"), "uninstall", name, "--namespace", "studio", "--ignore-not-found"],
            env={**os.environ, "KUBECONFIG": str(plane.kubeconfig)}, capture_output=True, check=True, timeout=120,
        )  # fmt: skip
        claims = "/api/v1/namespaces/studio/persistentvolumeclaims"
        for claim in admin.items(claims):
            # Nobody here takes the finalizer off that guards a claim in use.
            admin.merge(f"{claims}/{claim['metadata']['name']}", {"metadata": {"finalizers": None}})
            admin.delete(f"{claims}/{claim['metadata']['name']}")
