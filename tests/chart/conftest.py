"""helm, and the chart rendered by it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
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
