"""The process of apart.py: `python -m recon3d_runner.scene_worker MEMORY`, one JSON request on standard input.

Stages, progress and warnings are events as any engine's; the scene, or the error, goes to the file MEMORY.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

from recon3d_contract.errors import Code
from recon3d_contract.job import parse_job

from recon3d_runner.apart import send
from recon3d_runner.child import EVENTS_FD, bind_to_parent, loading
from recon3d_runner.worker import Events, PipeRun, classify


def main() -> NoReturn:
    """Import what a scene needs, wait for the request, answer it."""
    bind_to_parent()
    memory, run = int(sys.argv[1]), PipeRun(Events(int(os.environ[EVENTS_FD])))
    try:
        with loading():
            # By name, as in the worker: it needs numerical libraries.
            assemble = importlib.import_module("recon3d_runner.scene.assemble")
        request = json.load(sys.stdin)
        answer: dict[str, Any] = {
            "scene": assemble.build_scene(Path(request["input_dir"]), parse_job(request["spec"]), run),
            "seconds": run.seconds,
            "warnings": run.warnings,
        }
    except Exception as error:  # noqa: BLE001 - the boundary: the worker raises what is told here
        known = classify(error)
        if known.code is Code.INTERNAL:
            traceback.print_exc()
        answer = {"error": known.info().model_dump(mode="json")}
    send(memory, answer)
    os._exit(0)


if __name__ == "__main__":
    main()
