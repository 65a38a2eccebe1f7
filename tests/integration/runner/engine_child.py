"""An engine's process that does what a test asks for: RECON3D_TEST_MODE, perhaps for each engine. Not a test.

It speaks through the worker's own `serve`, so that the pipe, the binding to the supervisor and the classification of
errors are the real ones; only the engine is not.
"""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.layout import QUALITY, engine_files
from recon3d_contract.quality import Quality
from recon3d_runner.worker import Events, PipeRun, serve

NOTES = Path(os.environ["RECON3D_TEST_NOTES"])


def note(name: str, **facts: Any) -> None:
    NOTES.mkdir(exist_ok=True)
    temporary = NOTES / f".{name}"
    temporary.write_text(json.dumps({"pid": os.getpid(), **facts}))
    temporary.rename(NOTES / name)


def quality(engine: str, verdict: str) -> Quality:
    numbers = {"psnr_foreground": 30.0, "ssim_foreground": 0.95, "psnr_full": 33.0, "ssim_full": 0.97, "iou": 0.99}
    views = ("front", "back", "left", "right", "top", "bottom")
    return Quality.model_validate(
        {
            "engine": engine,
            "verdict": verdict,
            "reasons": [] if verdict == "normal" else ["PSNR 12.0 dB is below 20 dB, the least for warning"],
            "per_view": dict.fromkeys(views, numbers),
            "means": numbers,
            "worst_view": "top",
            "leave_one_out": {"per_view": dict.fromkeys(views, 26.0), "mean": 26.0},
            "mesh": {
                "vertices": 8,
                "faces": 12,
                "watertight": True,
                "manifold": True,
                "components": 1,
                "genus": 0,
                "degenerate_faces": 0,
                "self_intersections": 0,
                "aspect_ratio": {"median": 1.0, "p95": 1.0, "max": 1.0},
                "volume": 1.0,
                "area": 6.0,
                "diagonal": 1.7,
                "uv_overlap": 0.0,
                "unseen_texel_share": 0.01,
            },
            "calibration": {
                "fov_deg": 40.0,
                "distance": 1.0,
                "depth": None,
                "views": {view: {"roll_deg": 90 if view == "top" else 0} for view in views},
                "confidence": 0.9,
                "residual": 0.1,
            },
        }
    )


def deliver(request: dict[str, Any], events: Events, run: PipeRun, verdict: str, leave_out: str | None) -> None:
    out = Path(request["out_dir"])
    answer = quality(request["engine"], verdict)
    seed = hashlib.sha256(json.dumps(request["spec"]).encode()).digest()
    for name in engine_files():
        if name != leave_out:
            (out / name).parent.mkdir(exist_ok=True)
            (out / name).write_bytes(answer.to_json().encode() if name == QUALITY else seed + name.encode())
    events.send(
        "result",
        result={
            "quality": answer.model_dump(mode="json"),
            "verdict": verdict,
            "reasons": answer.reasons,
            "seconds": run.seconds,
            "peak_memory_bytes": 1_000_000,
            "device_name": "a processor",
            "device": "cpu",
            "versions": {"torch": "2.0"},
            "warnings": run.warnings,
        },
    )


def grandchild() -> int:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid


def hang(request: dict[str, Any], run: PipeRun, stage: str, *, hard: bool) -> None:
    (Path(request["out_dir"]) / "half.glb").write_bytes(b"half")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    with run.stage(stage):
        run.tick(0.5, iteration=50, total=100, loss=0.25)
        note("hangs", grandchild=grandchild())
        if hard:
            hashlib.pbkdf2_hmac("sha256", b"a", b"b", 2_000_000_000)  # minutes inside C
        time.sleep(600)


RAISES: dict[str, Exception] = {
    "memory": MemoryError(),
    "full": OSError(errno.ENOSPC, "No space left on device"),
    "nan": FloatingPointError("the loss is nan"),
    "cuda": RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "defect": ZeroDivisionError("at /secret/place/file.py"),
    "coded": Recon3dError(Code.INCONSISTENT_VIEWS, "left and right disagree", {"view": "left"}),
}


def task(ask: Callable[[], dict[str, Any]], events: Events) -> None:
    request = ask()
    mode = os.environ["RECON3D_TEST_MODE"]
    if "=" in mode:
        mode = dict(part.split("=") for part in mode.split(","))[request["engine"]]
    run = PipeRun(events)
    mode, _, argument = mode.partition(":")
    note(f"began-{request['engine']}", request=request, environment=dict(os.environ), cwd=str(Path.cwd()))
    print(f"working in {request['out_dir']} with {os.environ.get('MY_API_KEY')}", flush=True)
    if mode in ("hang", "spin"):
        hang(request, run, argument, hard=mode == "spin")
    elif mode == "raise":
        raise RAISES[argument]
    elif mode == "signal":
        os.kill(os.getpid(), int(argument))
    elif mode == "silent":
        os._exit(int(argument))
    elif mode == "fill":
        with open(Path(request["out_dir"]) / "mesh.glb", "wb") as file:
            for _ in range(100_000):
                file.write(bytes(1 << 20))
    elif mode == "eat":
        note("hungry")
        while not (NOTES / "eat").exists():
            time.sleep(0.01)
        hoard = [bytes([index % 251]) * 1_000_000 for index in range(2000)]
        note("sated", size=len(hoard))
    elif mode == "nonsense":
        os.write(int(os.environ["RECON3D_EVENTS_FD"]), b'not json\n[1, 2]\n{"event": 5}\n')
        events.send("progress", stage="load", fraction="half")
        time.sleep(600)
    elif mode == "chatter":
        for index in range(60_000):
            print(f"line {index} " + "x" * 40)
    elif mode == "slow":
        for stage in ("load", "geometry", "texture"):
            with run.stage(stage):
                time.sleep(float(argument))
                run.tick(0.5, iteration=1, total=2, loss=0.5)
    run.warn("odd", "The views look odd.")
    for stage in ("load", "geometry", "texture"):
        with run.stage(stage):
            run.tick(0.5, iteration=1, total=2, loss=0.5)
    grandchild_pid = grandchild() if mode == "litter" else None
    if grandchild_pid is not None:
        note("litter", grandchild=grandchild_pid)
    deliver(request, events, run, "failure" if mode == "poor" else "normal", argument if mode == "missing" else None)


if __name__ == "__main__":
    serve(task)
