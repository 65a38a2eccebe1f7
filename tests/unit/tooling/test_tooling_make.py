"""The Makefile and .ci/run: one way to check everything, and its last word is pytest's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MAKEFILE = (ROOT / "Makefile").read_text()

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*arguments: str) -> str:
    """Return what make prints, with none of the outer make's settings."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def test_ci_runs_make_test_and_nothing_else() -> None:
    script = ROOT / ".ci/run"
    lines = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    assert lines == ["set -e", 'cd "$(dirname "$0")/.."', "exec make test"]
    assert os.access(script, os.X_OK)


def test_help_names_every_target_that_is_for_people() -> None:
    shown = set(re.findall(r"^  make (\S+)", make("help"), re.MULTILINE))
    documented = set(re.findall(r"^([a-z0-9-]+):.*##", MAKEFILE, re.MULTILINE))
    assert shown == documented
    assert {"env", "demo", "test", "bench-engine", "lock", "clean", "help"} <= shown


def test_every_target_is_phony() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", MAKEFILE, re.MULTILINE))
    assert targets == set(re.findall(r"^\.PHONY: (\S+)", MAKEFILE, re.MULTILINE))


def test_pytest_is_the_last_step_of_test() -> None:
    steps = [line for line in make("--dry-run", "test").splitlines() if line.strip()]
    assert "-m pytest" in steps[-1]
    assert not any("-m pytest" in step for step in steps[:-1])
    plan = "\n".join(steps)
    for word in ("env.sh", "system.sh test", "ruff check", "format --check", "mypy", "lint-imports"):
        assert word in plan


@pytest.mark.parametrize("target", ["demo-runner", "test", "lint", "bench-engine"])
def test_each_target_makes_its_own_environment(target: str) -> None:
    first = next(line for line in make("--dry-run", target).splitlines() if line.strip())
    assert "requirements/env.sh .venv requirements/dev.txt --project" in first


def test_demo_is_the_bundled_example() -> None:
    assert "recon3d-runner run builtin:example --out out/demo --profile fast" in make("--dry-run", "demo-runner")
