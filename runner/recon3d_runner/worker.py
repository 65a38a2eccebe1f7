"""One engine's process: `python -m recon3d_runner.worker ENGINE DEVICE`, one JSON request on standard input.

It loads its libraries before the request comes.

It answers in JSON lines on the pipe RECON3D_EVENTS_FD: stage, progress, warning, then result and done, or error.
Standard output and error are the supervisor's run.log. Errors without a code get theirs here, in one place.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.job import parse_job
from recon3d_contract.stages import STAGES

from recon3d_runner import engines
from recon3d_runner.apart import Apart
from recon3d_runner.child import EVENTS_FD, bind_to_parent, loading
from recon3d_runner.delivery import error_of_event
from recon3d_runner.request import EngineRequest, EngineResult
from recon3d_runner.storage import is_full

_TICK_S = 0.05


class Events:
    """Writes events; an end of the supervisor ends this process."""

    def __init__(self, fd: int) -> None:
        """Write to the pipe `fd`."""
        self._fd = fd

    def send(self, event: str, **fields: Any) -> None:
        """Send one event."""
        data = memoryview((json.dumps({"event": event, **fields}, allow_nan=False) + "\n").encode())
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except BrokenPipeError:
            raise SystemExit(1) from None  # nobody is left to work for

    def error(self, error: Recon3dError) -> None:
        """Send an error of the contract."""
        info = error.info()
        self.send(
            "error",
            code=info.code.value,
            message=info.message,
            details=info.details,
            suggestion=info.suggestion,
        )


class PipeRun:
    """The Run of run.py: every stage and iteration becomes an event. Cancelling is the supervisor's: it kills."""

    def __init__(self, events: Events, clock: Callable[[], float] = time.monotonic) -> None:
        """Report to `events`."""
        self._events = events
        self._clock = clock
        self._stage = STAGES[0]
        self._last_tick = 0.0
        self.seconds: dict[str, float] = {}
        """Wall time of each finished stage."""
        self.warnings: list[dict[str, str]] = []

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as stage `name` and report it; ValueError if the contract does not have it."""
        if name not in STAGES:
            raise ValueError(f"unknown stage {name!r}")
        self._stage = name
        self._events.send("stage", name=name)
        self._last_tick = 0.0
        begun = self._clock()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + self._clock() - begun
        self._events.send("progress", stage=name, fraction=1.0)

    def tick(
        self, fraction: float, *, iteration: int | None = None, total: int | None = None, loss: float | None = None
    ) -> None:
        """Report progress within the stage; ValueError where the loss is no longer a number."""
        if loss is not None and not abs(loss) < float("inf"):
            raise FloatingPointError(f"the loss is {loss} in stage {self._stage}")
        now = self._clock()
        if now - self._last_tick < _TICK_S and iteration != total:
            return
        self._last_tick = now
        self._events.send("progress", stage=self._stage, fraction=fraction, iteration=iteration, total=total, loss=loss)

    def warn(self, code: str, message: str) -> None:
        """Record a warning; the same one only once."""
        warning = {"code": code, "message": message}
        if warning not in self.warnings:
            self.warnings.append(warning)
            self._events.send("warning", **warning)


def classify(error: BaseException) -> Recon3dError:
    """Return the contract's error for whatever an engine raised."""
    if isinstance(error, Recon3dError):
        return error
    if is_full(error):
        return Recon3dError(Code.STORAGE_FULL)
    if isinstance(error, MemoryError):
        return Recon3dError(Code.OUT_OF_MEMORY)
    # By name, so that torch is not imported to ask: torch.OutOfMemoryError, torch.cuda.OutOfMemoryError.
    if type(error).__name__ == "OutOfMemoryError":
        return Recon3dError(Code.GPU_OUT_OF_MEMORY)
    if isinstance(error, RuntimeError) and "CUDA out of memory" in str(error):
        return Recon3dError(Code.GPU_OUT_OF_MEMORY)
    if isinstance(error, RuntimeError) and "can't allocate memory" in str(error):  # torch on a CPU
        return Recon3dError(Code.OUT_OF_MEMORY)
    if isinstance(error, RuntimeError) and "CUDA error" in str(error):
        return Recon3dError(Code.GPU_UNAVAILABLE, "The GPU failed while it computed.")
    if isinstance(error, FloatingPointError):
        return Recon3dError(Code.OPTIMIZATION_DIVERGED, details={"reason": str(error)})
    return Recon3dError(Code.INTERNAL, details={"type": type(error).__name__})


def result_json(result: EngineResult, run: PipeRun) -> dict[str, Any]:
    """Return the engine's answer as plain JSON values; the driver's own warnings and times complete it."""
    warnings = list(run.warnings)
    for item in result.warnings:
        plain = item if isinstance(item, dict) else {"code": item.code, "message": item.message}
        if plain not in warnings:
            warnings.append(plain)
    return {
        "quality": result.quality.model_dump(mode="json"),
        "verdict": result.verdict,
        "reasons": list(result.reasons),
        "seconds": {**run.seconds, **result.seconds},
        "peak_memory_bytes": result.peak_memory_bytes,
        "device_name": result.device_name,
        "versions": dict(result.versions),
        "warnings": warnings,
    }


def check_passes(engine: str, seconds: Mapping[str, float]) -> None:
    """Raise INTERNAL unless every stage that `engine` must go through was entered and left without an error."""
    missing = [stage for stage in engines.REQUIRED_STAGES[engine] if stage not in seconds]
    if missing:
        raise Recon3dError(Code.INTERNAL, "The engine ended without all of its passes.", {"missing": missing})


def work(engine: str, device: str, ask: Callable[[], dict[str, Any]], events: Events) -> None:
    """Load what `engine` needs, and run it on what `ask` says as soon as somebody knows."""
    engines.require(engine)
    run = PipeRun(events)
    aside = ThreadPoolExecutor(4)  # nobody waits for it where a device is refused: this process just ends
    asked, begun = aside.submit(ask), []
    # To load what a GPU needs takes seconds, and nothing asks for it before the views are calibrated. Imports go one
    # after the other, by name, since this module is imported where there are no numerical libraries; a device takes
    # its moments beside them.
    loads = device != "cpu" and sys.platform == "linux" and importlib.util.find_spec("torch") is not None
    with loading():
        if loads:
            begun.append(aside.submit(_made_apart, Apart(), asked, run))
            with contextlib.suppress(ImportError):
                importlib.import_module("torch")
        devices = importlib.import_module("recon3d_runner.engines.device")
        choosing = aside.submit(devices.choose, device, engine)
        if loads:
            with contextlib.suppress(ImportError):
                importlib.import_module(devices.READY)
            begun.append(aside.submit(lambda: devices.open_device(choosing.result().device)))
        pipeline = importlib.import_module("recon3d_runner.pipeline")
    raw = asked.result()
    choice = choosing.result()
    if choice.why is not None:
        run.warn("cpu_used", f"The CPU is used. {choice.why}")
    request = EngineRequest(
        engine=engine,
        spec=parse_job(raw["spec"]),
        device=choice.device,
        input_dir=Path(raw["input_dir"]),
        out_dir=Path(raw["out_dir"]),
        manifest=raw["manifest"],
        prior=Path(raw["prior"]) if raw.get("prior") else None,
    )
    result = pipeline.reconstruct(request, run, *begun)
    check_passes(engine, run.seconds)
    events.send("result", result={**result_json(result, run), "device": request.device})


def _made_apart(apart: Apart, asked: Future[dict[str, Any]], run: PipeRun) -> Any:
    """The scene out of the other process, whose times and warnings become this run's."""
    raw = asked.result()
    apart.ask({"input_dir": raw["input_dir"], "spec": raw["spec"]})
    answer = apart.answer()
    if "error" in answer:
        raise error_of_event(answer["error"])
    run.seconds.update(answer["seconds"])
    for warning in answer["warnings"]:
        run.warn(**warning)
    return answer["scene"]


def serve(task: Callable[[Callable[[], dict[str, Any]], Events], None]) -> NoReturn:
    """Bind this process to its supervisor, run `task`, which asks for the request, and exit with the error's code."""
    bind_to_parent()
    events = Events(int(os.environ[EVENTS_FD]))
    try:
        task(lambda: json.load(sys.stdin), events)
        events.send("done")
    except Exception as error:  # noqa: BLE001 - the boundary: whatever it is, it leaves here as a code
        # The traceback is for run.log alone.
        if not isinstance(error, Recon3dError) or error.code is Code.INTERNAL:
            traceback.print_exc()
        classified = classify(error)
        events.error(classified)
        _leave(classified.exit_code)
    _leave(0)


def _leave(code: int) -> NoReturn:
    """Exit without the interpreter's tear-down, in which GPU libraries like to hang or crash."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve(partial(work, sys.argv[1], sys.argv[2]))
