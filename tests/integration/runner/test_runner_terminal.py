"""What a person sees, on a real pseudo-terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from runner_helpers import HERE


def watch(arguments: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Run the driver with a terminal as its standard output and error; return its exit code and what was drawn."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(HERE / "runner_driver.py"), *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", **environment},
    )
    os.close(theirs)
    drawn = b""
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.2)[0]:
                try:
                    data = os.read(ours, 65_536)
                except OSError:  # the other end is closed
                    break
                if not data:
                    break
                drawn += data
        return process.wait(timeout=10), drawn.decode()
    finally:
        os.close(ours)
        if process.poll() is None:
            process.kill()
            process.wait()


def test_a_person_sees_a_bar_and_a_table(source: Path, tmp_path: Path) -> None:
    environment = {"RECON3D_TEST_MODE": "slow:0.4", "RECON3D_TEST_NOTES": str(tmp_path / "notes")}
    code, drawn = watch(["run", str(source), "--out", str(tmp_path / "out")], environment)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn)
    assert code == 0
    assert "nvdiffrec: geometry" in text
    assert "100%" in text
    assert "━" in text
    assert "The views look odd. [odd]" in text
    assert re.search(r"PSNR\s+│ 30\.00 dB", text)
    assert re.search(r"report\.html\s+\S*/out/nvdiffrec/report\.html", text)
    assert "Traceback" not in text


def test_colours_stay_out_of_a_pipe(runner: Any, source: Path, tmp_path: Path) -> None:
    done = runner.run("run", str(source), "--out", str(tmp_path / "out"))
    assert "\x1b" not in done.stdout + done.stderr
    assert re.search(r"^ *\d+\.\d %  nvdiffrec: geometry", done.stderr, re.MULTILINE)
