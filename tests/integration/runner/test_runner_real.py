"""The real engine, ended in the middle of its work: numba and torch loaded, threads busy, files half made."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from runner_helpers import alive, result_of, stop_and_time, wait_until

EXAMPLE = Path(__file__).parents[3] / "examples" / "input"


def test_the_real_engine_is_cancelled_and_killed_like_any_other(tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        out = tmp_path / number.name
        command = [sys.executable, "-m", "recon3d_runner.cli", "run", str(EXAMPLE), "--out", str(out)]
        process = subprocess.Popen(
            [*command, "--device", "cpu", "--profile", "fast", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stdout is not None
            stages = (json.loads(line).get("stage") for line in process.stdout)
            assert any(stage == "calibrate" for stage in stages)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            assert len(children) == 1
            assert stop_and_time(process, number) < 2.0
            wait_until(lambda: not alive(int(children[0])), "the engine's end")  # noqa: B023 - called in this round
        finally:
            process.kill()
            process.communicate()
        if number == signal.SIGTERM:
            assert process.returncode == 34
            assert sorted(os.listdir(out)) == ["result.json", "run.log"]
            assert result_of(out)["error"]["code"] == "CANCELLED"
        else:
            assert not out.exists()
