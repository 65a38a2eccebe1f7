"""Small real inputs, and the runner started as a user starts it, with an engine process that a test chooses."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SmallDisk = Callable[[Path, str], Path]
"""Make a folder a disk of its own, of a size such as `6m`; returns it."""
VIEWS = ("front", "back", "left", "right", "top", "bottom")


def png(size: int = 256, *, gray: bool = False, value: int = 128) -> bytes:
    """A plain square PNG, 8-bit RGB or gray."""
    channels = 1 if gray else 3
    rows = (b"\0" + bytes([value]) * (size * channels)) * size
    header = struct.pack(">IIBBBBB", size, size, 8, 0 if gray else 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def make_input(folder: Path) -> Path:
    """Six views and six depth renders."""
    for kind in ("multi_views", "depth_renders"):
        (folder / kind).mkdir(parents=True)
        for view in VIEWS:
            (folder / kind / f"{view}.png").write_bytes(png(gray=kind == "depth_renders"))
    return folder


@dataclass
class Runner:
    """Starts `recon3d-runner` with the engine process engine_child.py in `mode`."""

    folder: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(
        self, *arguments: str, mode: str = "good", environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RECON3D_")}
        process = subprocess.Popen(
            [sys.executable, str(HERE / "runner_driver.py"), *arguments],
            env={
                **kept,
                "RECON3D_TEST_MODE": mode,
                "RECON3D_TEST_NOTES": str(self.folder / "notes"),
                "OMP_NUM_THREADS": "1",
                **(environment or {}),
            },
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def run(
        self, *arguments: str, mode: str = "good", environment: Mapping[str, str] | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, mode=mode, environment=environment)
        out, err = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def note(self, name: str) -> dict[str, Any]:
        """What the engine process noted down under `name`, waited for."""
        path = self.folder / "notes" / name
        wait_until(path.exists, f"the engine's note {name}")
        return dict(json.loads(path.read_text()))

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {what}"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def stop_and_time(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> float:
    """Send a signal; return how long the process took to end, less what it stood in line for a processor.

    Other tests compute meanwhile; how long they let it wait is the machine's doing.
    """
    begun = time.monotonic()
    before = after = seconds_in_line(process.pid)
    process.send_signal(number)
    while process.poll() is None:
        assert time.monotonic() - begun < 20, "it does not end"
        after = seconds_in_line(process.pid) or after
        time.sleep(0.01)
    return time.monotonic() - begun - (after - before)


def seconds_in_line(pid: int) -> float:
    """Seconds in which the process could have run, but had no processor; 0 where the kernel does not tell."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def result_of(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "result.json").read_text()))
