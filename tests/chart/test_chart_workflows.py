"""The Dockerfiles and the workflows, read by the programs that know them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from chart_world import ROOT
from kubecluster.tools import tool


@pytest.mark.needs("actionlint")
def test_actionlint_finds_nothing_in_the_workflows():
    files = sorted((ROOT / ".github/workflows").glob("*.yml"))
    assert {file.name for file in files} == {"test.yml", "publish.yml"}
    # shellcheck is not everywhere, and would make the answer depend on the machine.
    done = subprocess.run(
        [tool("actionlint"), "-shellcheck=", "-pyflakes=", *files], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", ["Dockerfile.operator", "Dockerfile.runner"])
def test_hadolint_finds_nothing(name: str):
    hadolint = Path(sys.executable).parent / "hadolint"
    if not hadolint.exists():
        pytest.skip("hadolint's package is for x86-64 Linux only")
    done = subprocess.run(
        [hadolint, "--no-color", "--config", ROOT / ".hadolint.yaml", ROOT / name],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")


def test_only_the_build_stages_have_pip_and_a_compiler():
    for name in ("Dockerfile.operator", "Dockerfile.runner"):
        for stage in (ROOT / name).read_text().split("\nFROM ")[1:]:
            head = stage.splitlines()[0]
            if "build" not in head:
                assert "pip" not in stage, head
                assert "g++" not in stage, head
                assert "USER 65532:65532" in stage, head
