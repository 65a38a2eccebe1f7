"""Makes this folder's helpers importable. Pictures come from the rasteriser; nothing of the runner is replaced."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recon3d_contract.spec import JobSpec

sys.path.insert(0, str(Path(__file__).parent))

from drawn_scenes import Pictures, Recorder
from recon3d_runner.scene.assemble import Scene, build_scene


@pytest.fixture
def calibrated(tmp_path: Path) -> Callable[..., tuple[Scene, Recorder]]:
    """Write pictures as files and build the scene from them, as a job does; `spec` is the job's JSON."""

    def make(pictures: Pictures, **spec: Any) -> tuple[Scene, Recorder]:
        run = Recorder()
        return build_scene(pictures.write(tmp_path / "in"), JobSpec.model_validate(spec), run), run

    return make
