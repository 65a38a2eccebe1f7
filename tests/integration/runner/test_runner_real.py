"""The real engine, ended in the middle of its work: numba and torch loaded, threads busy, files half made."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from runner_helpers import alive, result_of, stop_and_time, wait_until

EXAMPLE = Path(__file__).parents[3] / "examples" / "input"


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_the_real_engine_is_cancelled_and_killed_like_any_other(tmp_path: Path) -> None:
    # On a CPU, and where torch loads while another process makes the scene.
    for number, device in itertools.product((signal.SIGTERM, signal.SIGKILL), ("cpu", "auto")):
        out = tmp_path / f"{number.name}-{device}"
        command = [sys.executable, "-m", "recon3d_runner.cli", "run", str(EXAMPLE), "--out", str(out)]
        process = subprocess.Popen(
            [*command, "--device", device, "--profile", "fast", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stdout is not None
            stages = (json.loads(line).get("stage") for line in process.stdout)
            assert any(stage == "calibrate" for stage in stages)
            children = _children(process.pid)
            assert len(children) == 1
            others = _children(children[0])
            assert len(others) == (device == "auto" and importlib.util.find_spec("torch") is not None)
            assert stop_and_time(process, number) < 2.0
            wait_until(lambda: not any(map(alive, children + others)), "the engine's end")  # noqa: B023 - called here
        finally:
            process.kill()
            process.communicate()
        if number == signal.SIGTERM:
            assert process.returncode == 34
            assert sorted(os.listdir(out)) == ["result.json", "run.log"]
            assert result_of(out)["error"]["code"] == "CANCELLED"
        else:
            assert not out.exists()
