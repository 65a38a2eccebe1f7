"""Shares the scene tests' drawn objects, and the benchmark's made meshes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "scene"))
sys.path.insert(0, str(Path(__file__).parents[4] / "benchmarks"))

from drawn_scenes import Recorder


@pytest.fixture
def run() -> Recorder:
    return Recorder()
