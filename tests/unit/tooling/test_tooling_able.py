"""What a machine cannot run is left out, with the reason; what it can run, is not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from kubecluster import able
from kubecluster.binaries import NoBinariesError

ROOT = Path(__file__).resolve().parents[3]


def test_what_is_left_out_is_skipped_with_its_reason_and_nothing_else():
    reasons = {"node": "no root here", "cluster": "no programs here"}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    chosen = ("tests/e2e", "tests/integration/operator/test_harness.py", "tests/unit/contract/test_contract_collect.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *chosen],
        cwd=ROOT, env={**environment, able.LEFT_OUT: json.dumps(reasons)}, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert re.search(r"4 passed, \d\d skipped in", done.stdout.splitlines()[-1]), done.stdout
    assert "LEFT OUT: no programs here; no root here" in done.stdout
    assert "LEFT OUT: no programs here\n" in done.stdout


def test_programs_that_cannot_be_had_are_a_reason_and_the_rest_is_got(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def none(programs: tuple[str, ...]) -> None:
        asked.append(programs)
        raise NoBinariesError("no way to them")

    monkeypatch.setattr(able, "ensure", none)
    monkeypatch.setattr(able, "tool", asked.append)
    monkeypatch.setattr(able, "left_out", lambda: {"node": "no root"})
    monkeypatch.setattr(able.os, "geteuid", lambda: 1000)
    assert able.get_ready() == {"node": "no root", "cluster": "no way to them"}
    assert "helm" in asked


def test_whoever_is_not_root_is_told_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(able.os, "geteuid", lambda: 1000)
    assert able.why_no_node() == "a real node needs root"
    monkeypatch.setattr(able, "has_docker", lambda: False)
    assert "root, buildah and debootstrap" in able.why_no_images()
