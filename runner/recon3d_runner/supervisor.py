"""The process that a user starts: it reads the input, runs each engine in a child, and writes result.json.

It never loads torch or numpy, so nothing an engine does can take it down, and it can end a run at once at any stage:

    fetch -> [child: engine] -> [child: engine] -> artifacts -> result.json, run.log
      └────────────┴── a signal or the time limit ends each at once ┘

The first engine's child starts before the fetch, and loads its libraries meanwhile.

`execute` always returns a Result, whatever went wrong, and leaves in the result folder what that Result lists: all
files of the engines that were judged, or result.json and run.log alone.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from recon3d_contract.errors import Code, ErrorInfo, Recon3dError
from recon3d_contract.inputs import InputManifest
from recon3d_contract.job import spec_hash
from recon3d_contract.layout import MESH_GLB, RESULT, RUN_LOG
from recon3d_contract.result import Artifact, Conclusion, EngineEntry, Notice, Result, Timings, conclude
from recon3d_contract.spec import EngineName

from recon3d_runner import licences, parts, provenance
from recon3d_runner.child import Child, Event, surroundings
from recon3d_runner.delivery import error_of_event, error_of_exit, failed_entry, finished_entry, list_artifacts
from recon3d_runner.progress import Progress
from recon3d_runner.runlog import RunLog
from recon3d_runner.stop import Stop, StoppedError
from recon3d_runner.storage import empty, storage_error, write_whole
from recon3d_runner.task import Folders, Task, error_of_stop, now

WORKER: Final = (sys.executable, "-X", "faulthandler", "-m", "recon3d_runner.worker")


class Supervisor:
    """Runs one task. `command` starts an engine's process; another than the worker is for tests."""

    def __init__(
        self, task: Task, *, stop: Stop, progress: Progress, log: RunLog, command: Sequence[str] = WORKER
    ) -> None:
        """Nothing happens before `execute`."""
        self._task = task
        self._stop = stop
        self._progress = progress
        self._log = log
        self._command = command
        self._manifest: InputManifest | None = None
        self._entries: dict[EngineName, EngineEntry] = {}
        self._ahead: dict[EngineName, Child] = {}
        """The child that was started before it was its turn."""
        self._warnings: list[Notice] = []
        self._started_at = now()
        self._begun = time.monotonic()

    def execute(self, folders: Folders, fetch: Callable[[Path, Path], InputManifest]) -> Result:
        """Run the task in `folders`; `fetch(input, scratch)` fills a folder with the checked input.

        Raises only OSError, where not even result.json could be written.
        """
        error: ErrorInfo | None = None
        artifacts: list[Artifact] = []
        try:
            self._start_ahead(folders)
            self._fetch(folders, fetch)
            self._run_engines(folders)
            self._stop.lift_limit()
            self._drop_unjudged(folders)
            artifacts = self._stop.call(lambda: list_artifacts(folders.result))
        except Exception as failure:  # noqa: BLE001 - the boundary: a job always ends with a result
            error = self._classify(failure)
        finally:
            for child in self._ahead.values():
                child.end()
        result = self._result(error, artifacts)
        return self._write(folders, result)

    def _start_ahead(self, folders: Folders) -> None:
        """Start the first engine; what stands against that is told when it is its turn."""
        name = next((name for name in self._task.spec.engines if self._task.share.runs(name)), None)
        if name is not None:
            with suppress(OSError):
                self._ahead[name] = self._start(name, folders)

    def _start(self, name: EngineName, folders: Folders) -> Child:
        scratch = _scratch(name, folders)
        scratch.mkdir(exist_ok=True)
        return Child([*self._command, name, self._task.device], scratch, surroundings(self._task.environment, scratch))

    def _fetch(self, folders: Folders, fetch: Callable[[Path, Path], InputManifest]) -> None:
        self._manifest = self._stop.call(lambda: fetch(folders.input, folders.tmp))
        for warning in self._manifest.warnings:
            self._warn(warning.code, warning.message)

    def _warn(self, code: str, message: str) -> None:
        notice = Notice(code=code, message=message)
        if notice not in self._warnings:
            self._warnings.append(notice)
            self._progress.notice(code, message)

    def _run_engines(self, folders: Folders) -> None:
        share = self._task.share
        names = sorted(self._task.spec.engines, key=share.runs) if share.take else self._task.spec.engines
        for index, name in enumerate(names):
            if not share.runs(name):
                if share.take is not None:
                    self._join(name, share.take, folders)
                continue
            self._progress.engine(name, index if share.leave is None else 0, len(names))
            begun = time.monotonic()
            try:
                self._entries[name] = self._engine(name, folders, begun)
            except StoppedError as stopped:
                info = error_of_stop(stopped).info()
                self._entries[name] = failed_entry(info, time.monotonic() - begun)
                if info.code is Code.CANCELLED:
                    raise
            except Exception as failure:  # noqa: BLE001 - one engine's failure is not the other's
                info = self._classify(failure)
                self._log.line(f"{name}: {info.code.value}: {info.message}")
                self._entries[name] = failed_entry(info, time.monotonic() - begun)

    def _join(self, name: EngineName, place: Path, folders: Folders) -> None:
        """Take what another container of the Pod left of this job."""
        part = self._stop.call(lambda: parts.take(place, name, self._task.share.lost.get(name), folders.result / name))
        self._entries[name] = part.entry
        self._log.line(part.log)
        if part.result is not None:
            self._started_at = part.result.timings.started_at
            self._begun -= part.result.timings.total_seconds
            for warning in part.result.warnings:
                self._warn(warning.code, warning.message)

    def _engine(self, name: EngineName, folders: Folders, begun: float) -> EngineEntry:
        out = folders.result.resolve() / name
        answers: dict[str, Any] = {}
        try:
            out.mkdir(mode=0o755)
            child = self._ahead.pop(name, None) or self._start(name, folders)
            ended = child.run(
                json.dumps(self._request(name, folders, out)),
                stop=self._stop,
                log=self._log,
                on_event=lambda event: self._on_event(event, answers),
            )
        finally:
            shutil.rmtree(_scratch(name, folders), ignore_errors=True)
        if "error" in answers:
            raise error_of_event(answers["error"])
        if ended.code != 0 or "result" not in answers or "done" not in answers:
            raise error_of_exit(ended)
        for licence in licences.used(name, str(answers["result"].get("device")), answers["result"]["versions"]):
            self._warn("non_commercial", licence.notice())
        return self._stop.call(
            lambda: finished_entry(out, answers["result"], self._task.spec, time.monotonic() - begun)
        )

    def _request(self, name: EngineName, folders: Folders, out: Path) -> dict[str, Any]:
        prior = self._prior(name, folders)
        return {
            "engine": name,
            "spec": json.loads(self._task.spec.to_json()),
            "device": self._task.device,
            "input_dir": str(folders.input.resolve()),
            "out_dir": str(out),
            "manifest": self._manifest.to_dict() if self._manifest else {},
            "prior": str(prior) if prior else None,
        }

    def _prior(self, name: EngineName, folders: Folders) -> Path | None:
        """Return the other engine's mesh where the job wants it as a prior; a warning where that is none to go by."""
        if name != "nvdiffrec" or self._task.spec.nvdiffrec.prior != "reconviagen":
            return None
        entry = self._entries.get("reconviagen")
        if entry is not None and entry.verdict in ("normal", "warning"):
            return folders.result.resolve() / "reconviagen" / MESH_GLB
        why = entry.error.message if entry is not None and entry.error is not None else "It has no result."
        self._warn("prior_unavailable", f"reconviagen gave no prior; what no view sees is closed smoothly. {why}")
        return None

    def _on_event(self, event: Event, answers: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "stage":
            self._log.line(f"stage {event.get('name')}")
            self._progress.stage(str(event.get("name")))
        elif kind == "progress":
            self._progress.tick(
                str(event.get("stage")),
                float(event.get("fraction") or 0.0),
                event.get("iteration"),
                event.get("total"),
                event.get("loss"),
            )
        elif kind == "warning":
            self._warn(str(event.get("code")), str(event.get("message")))
        elif kind == "error":
            answers["error"] = event
        elif kind == "result":
            answers["result"] = event.get("result")
        elif kind == "done":
            answers["done"] = True

    def _drop_unjudged(self, folders: Folders) -> None:
        """An engine without a verdict leaves no files; with none judged at all, nothing is left."""
        for name in self._task.spec.engines:
            entry = self._entries.get(name)
            if entry is None or entry.verdict is None:
                shutil.rmtree(folders.result / name, ignore_errors=True)

    def _classify(self, failure: Exception) -> ErrorInfo:
        if isinstance(failure, StoppedError):
            return error_of_stop(failure).info()
        if isinstance(failure, Recon3dError):
            return failure.info()
        if isinstance(failure, OSError):
            return storage_error(failure, "the result").info()
        self._log.line(traceback.format_exc())
        return Recon3dError(Code.INTERNAL, details={"type": type(failure).__name__}).info()

    def _result(self, error: ErrorInfo | None, artifacts: list[Artifact]) -> Result:
        task = self._task
        if error is None:
            end = conclude(self._entries)
        else:
            status = "cancelled" if error.code is Code.CANCELLED else "failed"
            end = Conclusion(status, None, [], None, None, error)  # type: ignore[arg-type]
        entries = self._entries
        return Result(
            job_uid=task.job_uid,
            attempt=task.attempt,
            spec_sha256=spec_hash(task.spec),
            status=end.status,
            verdict=end.verdict,
            reasons=end.reasons,
            engine=end.engine,
            summary=end.summary,
            engines=entries,
            artifacts=artifacts if error is None else [],
            timings=Timings(
                started_at=self._started_at,
                finished_at=now(),
                total_seconds=round(time.monotonic() - self._begun, 3),
            ),
            warnings=self._warnings,
            error=end.error,
            provenance=provenance.build(
                task.spec,
                self._manifest,
                task.environment,
                device=next((entry.device for entry in entries.values() if entry.device), task.device),
                licences_accepted=task.licences_accepted,
                engine_versions={k: v for entry in entries.values() for k, v in entry.versions.items()},
            ),
        )

    def _write(self, folders: Folders, result: Result) -> Result:
        """Write result.json and run.log; on a full disk give up the engines' files to make room for them."""
        try:
            if not result.artifacts:
                empty(folders.result)
            self._write_files(folders, result)
        except OSError as failure:
            info = storage_error(failure, "the result").info()
            for folder in (folders.result, folders.input, folders.tmp):
                empty(folder)
            result = self._result(info, [])
            self._write_files(folders, result)
        if result.status == "completed" and self._task.share.leave is None:
            self._progress.finished()
        return result

    def _write_files(self, folders: Folders, result: Result) -> None:
        error = result.error
        if text := self._log.text() or (f"{error.code.value}: {error.message}\n" if error else ""):
            write_whole(folders.result / RUN_LOG, text)
        write_whole(folders.result / RESULT, result.to_json())


def _scratch(name: EngineName, folders: Folders) -> Path:
    """Where the child of an engine works. Absolute, since that is elsewhere."""
    return folders.tmp.resolve() / name
