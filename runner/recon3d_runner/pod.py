"""`recon3d-runner job`: a job as a cluster's Pod runs it.

    environment -> job -> [published already? report it] -> attempt in the store -> publish once -> termination message

The store's attempt becomes visible whole; `current` names the one that counts. A result that may still come out
otherwise in another attempt (cancelled, or an error that can go away by itself) is stored but never published.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import shutil
import sys
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recon3d_contract.errors import EXIT_OK, Code, Recon3dError, exit_code
from recon3d_contract.job import JobSpec, parse_job, spec_hash
from recon3d_contract.layout import RESULT
from recon3d_contract.result import Result
from recon3d_contract.store import Staging, Store, open_store
from recon3d_contract.summary import ResultSummary

from recon3d_runner import licences
from recon3d_runner.parts import Share, leave, seconds_taken
from recon3d_runner.poster import Endpoint, Poster
from recon3d_runner.progress import JsonLines, Progress, Watcher
from recon3d_runner.runlog import RunLog, secrets_of
from recon3d_runner.source import fetcher, pod_policy
from recon3d_runner.stop import Stop, StoppedError, within
from recon3d_runner.storage import empty, storage_error, write_whole
from recon3d_runner.supervisor import Supervisor
from recon3d_runner.task import Task, error_of_stop

TERMINATION_LOG: Final = Path("/dev/termination-log")
_LAST_STORE_S: Final = 0.8
_MAX_RESULT: Final = 4_000_000


@dataclass(frozen=True)
class Settings:
    """Everything that a Pod is told, from the command line or else the environment."""

    raw_job: bytes
    job_uid: str
    attempt: int
    device: str
    input: str | None
    output: str | None
    scratch: Path

    @classmethod
    def of(cls, args: argparse.Namespace, environment: Mapping[str, str]) -> Settings:
        """Read them. Raises INVALID_REQUEST that names everything missing."""

        def given(name: str, option: object) -> str | None:
            return str(option) if option is not None else environment.get(name) or None

        raw = environment.get("RECON3D_JOB", "").encode()
        problems: list[dict[str, object]] = []
        if args.job is not None:
            try:
                raw = Path(args.job).read_bytes()
            except OSError as error:
                problems.append({"path": "--job", "problem": f"cannot be read: {error.strerror}"})
        uid = given("RECON3D_JOB_UID", args.job_uid)
        attempt = given("RECON3D_ATTEMPT", args.attempt) or "1"
        device = given("RECON3D_DEVICE", args.device)
        if not raw and not problems:
            problems.append({"path": "RECON3D_JOB", "problem": "is not set, and there is no --job"})
        if uid is None:
            problems.append({"path": "RECON3D_JOB_UID", "problem": "is not set, and there is no --job-uid"})
        if not attempt.isdecimal():
            problems.append({"path": "RECON3D_ATTEMPT", "problem": "is not a number"})
        if device not in ("cuda", "cpu"):
            problems.append({"path": "--device", "problem": "must be cuda or cpu; auto is for a person's own machine"})
        if problems:
            text = "; ".join(f"{problem['path']} {problem['problem']}" for problem in problems)
            raise Recon3dError(Code.INVALID_REQUEST, text, {"problems": problems})
        return cls(
            raw_job=raw,
            job_uid=uid or "",
            attempt=int(attempt),
            device=device or "",
            input=given("RECON3D_INPUT", args.input),
            output=given("RECON3D_OUTPUT", args.output),
            scratch=Path(environment.get("RECON3D_SCRATCH") or tempfile.gettempdir()),
        )


@dataclass(frozen=True)
class _Folders:
    input: Path
    tmp: Path
    result: Path


def run_pod(args: argparse.Namespace, stop: Stop, environment: Mapping[str, str]) -> int:
    """Run the job; return its exit code. Whatever happens, the termination message tells it."""
    lines = JsonLines(sys.stdout)
    settings: Settings | None = None
    try:
        settings = Settings.of(args, environment)
        summary = _run(settings, stop, environment, lines)
    except (StoppedError, Recon3dError) as error:
        known = error if isinstance(error, Recon3dError) else error_of_stop(error)
        summary = _summary_of_error(known, settings)
    except Exception:  # noqa: BLE001 - the boundary: the operator must always learn how it ended
        traceback.print_exc()
        summary = _summary_of_error(Recon3dError(Code.INTERNAL), settings)
    write_termination_log(summary, environment)
    with contextlib.suppress(OSError):
        lines.write({"event": "result", **summary.model_dump(mode="json", exclude_none=True)})
    if summary.error is None or (environment.get("RECON3D_LEAVE") and summary.status != "cancelled"):
        return EXIT_OK  # a part's failure is told by whoever joins the parts, which has yet to begin
    return exit_code(summary.error.code)


def write_termination_log(summary: ResultSummary, environment: Mapping[str, str]) -> None:
    """Write the summary for the kubelet; a machine without its file gets none, and that is no failure."""
    given = environment.get("RECON3D_TERMINATION_LOG")
    path = Path(given) if given else TERMINATION_LOG
    if not given and not path.exists():
        return
    try:
        path.write_text(summary.to_json(), encoding="utf-8")  # in place: it is a bind-mounted file
    except OSError as error:
        sys.stderr.write(f"the termination message cannot be written: {error.strerror}\n")


def _summary_of_error(error: Recon3dError, settings: Settings | None) -> ResultSummary:
    status = "cancelled" if error.code is Code.CANCELLED else "failed"
    raw = settings.raw_job if settings else b""
    uid = settings.job_uid if settings else ""
    try:
        spec_sha = spec_hash(parse_job(raw))
    except Recon3dError:
        spec_sha = hashlib.sha256(raw).hexdigest()  # not a job: at least tell two wrong ones apart
    return ResultSummary.build(
        quality={},
        reasons=[],
        engines={},
        error=error.info(),
        warnings=[],
        job_uid=uid if len(uid) <= 64 and uid.replace("-", "").replace("_", "").replace(".", "").isalnum() else "",
        attempt=settings.attempt if settings else 0,
        spec_sha256=spec_sha,
        status=status,
    )


def _run(settings: Settings, stop: Stop, environment: Mapping[str, str], lines: JsonLines) -> ResultSummary:
    spec = parse_job(settings.raw_job)
    reference = settings.input or (spec.input.reference if spec.input else None)
    output = settings.output or spec.output.ref
    if reference is None or output is None:
        raise Recon3dError(Code.INVALID_REQUEST, "The job needs an input and an output (--input, --output).")
    share = Share.of(environment, spec)
    endpoint = Endpoint.of(environment)
    accepted = licences.accepted(environment)
    if spec.limits.soft_seconds is not None:
        stop.limit(max(1.0, spec.limits.soft_seconds - seconds_taken(share)))
    store = open_store(output)
    earlier = stop.call(lambda: _earlier(store, settings, spec))
    if earlier is not None:
        sys.stderr.write(f"attempt {earlier.result.attempt} of this job is published; nothing to do\n")
        return earlier.summary()

    log = RunLog(secrets=secrets_of(environment), mirror=_mirror)
    staging = stop.call(lambda: store.begin(settings.job_uid, settings.attempt))
    scratch: Path | None = None
    watchers: list[Watcher] = [lines]
    if endpoint is not None:
        facts = {"jobUid": settings.job_uid, "attempt": settings.attempt}
        watchers.append(Poster(endpoint, facts, log=_mirror))
    progress = Progress(watchers)
    try:
        try:
            scratch = Path(tempfile.mkdtemp(prefix="recon3d-", dir=settings.scratch))
            folders = _Folders(scratch / "input", scratch / "tmp", staging.path)
            folders.input.mkdir()
            folders.tmp.mkdir()
            log.hide_path(scratch, "<work>")
            log.hide_path(staging.path, "<result>")
            task = Task(spec, settings.device, environment, accepted, settings.job_uid, settings.attempt, share)
            supervisor = Supervisor(task, stop=stop, progress=progress, log=log)
            result = supervisor.execute(folders, fetcher(reference, environment, pod_policy(environment)))
            if share.leave is not None and share.engine is not None:
                if result.status != "cancelled":
                    leave(share.leave, share.engine, staging.path)
                return result.to_summary()
        except OSError as error:
            raise storage_error(error, "the result") from error
        return _store(store, staging, result, stop).summary()
    finally:
        progress.close()
        store.discard(staging)
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _mirror(line: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


@dataclass(frozen=True)
class _Stored:
    """A result, and the SHA-256 of its result.json in the store; empty where it could not be stored."""

    result: Result
    sha256: str = ""

    def summary(self) -> ResultSummary:
        return self.result.to_summary(self.sha256 or None)


def _read_result(store: Store, job_uid: str, attempt: int) -> _Stored:
    with store.open(job_uid, attempt, RESULT) as file:
        data = file.read(_MAX_RESULT)
    try:
        return _Stored(Result.model_validate_json(data), hashlib.sha256(data).hexdigest())
    except ValueError:
        raise Recon3dError(Code.STORAGE_UNAVAILABLE, f"The result of attempt {attempt} is damaged.") from None


def _earlier(store: Store, settings: Settings, spec: JobSpec) -> _Stored | None:
    """Return the result that makes this attempt needless: published, or stored by this very attempt and publishable.

    Raises JOB_ALREADY_FINISHED where another job of the same uid has been published.
    """
    number = store.published(settings.job_uid)
    if number is None and settings.attempt in store.attempts(settings.job_uid):
        # Ended between commit and publish, and started again under the same number.
        own = _read_result(store, settings.job_uid, settings.attempt).result
        if publishable(own) and own.spec_sha256 == spec_hash(spec):
            number = store.publish(settings.job_uid, settings.attempt)
    if number is None:
        return None
    stored = _read_result(store, settings.job_uid, number)
    if stored.result.spec_sha256 != spec_hash(spec):
        raise Recon3dError(
            Code.JOB_ALREADY_FINISHED, "Another job of the same uid has a published result.", {"attempt": number}
        )
    return stored


def publishable(result: Result) -> bool:
    """Whether another attempt could not do better: the job is done, or failed by its own fault."""
    if result.status == "completed":
        return True
    return result.error is not None and not result.error.retryable and result.error.code is not Code.CANCELLED


def _store(store: Store, staging: Staging, result: Result, stop: Stop) -> _Stored:
    """Store the attempt and publish it if it counts; return the result that is the job's."""
    file = staging.path / RESULT
    made = _Stored(result, hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "")
    if result.status == "cancelled":
        # There are two seconds in all, and the grace time is the cluster's: an attempt, no more.
        within(_LAST_STORE_S, lambda: store.commit(staging))
        return made
    try:
        stop.call(lambda: store.commit(staging))
    except StoppedError as stopped:
        return _Stored(_failed(result, error_of_stop(stopped)))
    except Recon3dError as error:
        failed = _failed(result, error)
        with contextlib.suppress(OSError, Recon3dError):
            empty(staging.path)
            write_whole(staging.path / RESULT, failed.to_json())
            store.commit(staging)
        return _Stored(failed)
    if not publishable(result):
        return made
    number = store.publish(staging.job_uid, staging.attempt)
    return made if number == staging.attempt else _read_result(store, staging.job_uid, number)


def _failed(result: Result, error: Recon3dError) -> Result:
    """Return `result` as one that could not be stored."""
    status = "cancelled" if error.code is Code.CANCELLED else "failed"
    nothing: dict[str, object] = {"artifacts": [], "verdict": None, "reasons": [], "engine": None, "summary": None}
    return result.model_copy(update={**nothing, "status": status, "error": error.info()})


__all__ = ["Settings", "publishable", "run_pod", "write_termination_log"]
