"""The command line: `recon3d-runner run | check | job`.

Signal handlers come before the slow imports, so that a SIGTERM in the first moment already is a clean cancellation.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon3d_runner.stop import Stop, StoppedError

if TYPE_CHECKING:
    from recon3d_contract.result import Result
    from recon3d_contract.spec import JobSpec

    from recon3d_runner.progress import JsonLines, Watcher

_EXAMPLES = """\
examples:
  recon3d-runner run builtin:example --out result
  recon3d-runner run photos.zip --out result --profile fast --device cpu
  recon3d-runner run scan/ --out result --set cameras.fov_deg=40 --set depth.encoding=white-near
  recon3d-runner run scan/ --out result --engine both --seed 7 --json > progress.jsonl

INPUT is a folder or ZIP with multi_views/{front,back,left,right,top,bottom}.png and, if there are depth renders,
depth_renders/ with the same six names. OUT appears whole when the run ends; a run that fails leaves result.json and
run.log in it, and one that is killed leaves nothing.

exit codes: 0 done; 2 wrong command line or job; 10-20 the input; 34 cancelled; 40 engine not available;
41 diverged; 42 quality below the threshold; 50-58 device, memory, storage, time; 1 a defect. result.json names the
error, its details and what to do.
"""
_JOB_HELP = """\
environment:
  RECON3D_JOB            the job as JSON, the schema of the resource's spec (or --job FILE)
  RECON3D_JOB_UID        its uid (or --job-uid);  RECON3D_ATTEMPT  this attempt's number (or --attempt)
  RECON3D_INPUT          where the input is (or --input);  RECON3D_OUTPUT  the store (or --output)
  RECON3D_PROGRESS_URL   where progress is posted; RECON3D_TOKEN and RECON3D_CA are files: bearer token, trusted CA
  RECON3D_INPUT_HOSTS    hosts that an https input may come from; RECON3D_INPUT_CA  the CA to trust there
  RECON3D_IMAGE_DIGEST, RECON3D_ACCEPT_LICENCES  for the result's provenance
  RECON3D_TERMINATION_LOG  instead of /dev/termination-log;  RECON3D_SCRATCH  folder for temporary files

The result goes to OUTPUT/jobs/<uid>/attempts/<n>/ and is published once as OUTPUT/jobs/<uid>/current. An attempt that
finds a published result of the same job reports that one and ends. SIGTERM cancels.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recon3d-runner", description="Six axis views of an object in, a validated, textured mesh out."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="reconstruct INPUT into the folder OUT",
        description="Reconstruct INPUT into the folder OUT.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument("input", metavar="INPUT", nargs="?", help="folder, ZIP, builtin:example; or as in --job")
    run.add_argument("--out", metavar="OUT", required=True, help="folder to make")
    run.add_argument("--engine", choices=("nvdiffrec", "reconviagen", "both"), help="default nvdiffrec")
    run.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto", help="default auto: a GPU if usable")
    run.add_argument("--profile", choices=("fast", "standard", "high"), help="default standard")
    run.add_argument("--seed", type=int, metavar="N", help="default 0")
    run.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="settings",
        help="any field of a job; repeatable",
    )
    run.add_argument("--job", metavar="FILE", help="a job as JSON; the other options go before it")
    run.add_argument("--time-limit", type=int, metavar="S", help="end with TIME_LIMIT_EXCEEDED after S seconds")
    run.add_argument("--json", action="store_true", help="progress and the end as JSON lines on standard output")
    run.add_argument("--force", action="store_true", help="replace OUT even if it is not an earlier result")
    check = commands.add_parser("check", help="check INPUT without reconstructing it")
    check.add_argument("input", metavar="INPUT")
    check.add_argument("--json", action="store_true", help="the findings as one JSON object")
    job = commands.add_parser(
        "job",
        help="run a job as a cluster's Pod does",
        description="Run a job as a cluster's Pod does: from the environment, into a store.",
        epilog=_JOB_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    job.add_argument("--job", metavar="FILE", help="the job as JSON, instead of RECON3D_JOB")
    job.add_argument("--input", metavar="REF", help="path, s3://..., https://...#sha256=..., builtin:example")
    job.add_argument("--output", metavar="REF", help="the store: a folder or s3://bucket/prefix")
    job.add_argument("--device", choices=("auto", "cuda", "cpu"), help="cuda or cpu; auto is refused")
    job.add_argument("--job-uid", metavar="UID")
    job.add_argument("--attempt", type=int, metavar="N")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the process's exit code."""
    with Stop() as stop:
        args = _parser().parse_args(argv)
        from recon3d_contract.errors import Recon3dError

        from recon3d_runner.task import error_of_stop

        try:
            if args.command == "run":
                return _run(args, stop)
            if args.command == "check":
                return _check(args, stop)
            from recon3d_runner.pod import run_pod

            return run_pod(args, stop, dict(os.environ))
        except StoppedError as stopped:
            return _complain(error_of_stop(stopped), as_json=getattr(args, "json", False))
        except Recon3dError as error:
            return _complain(error, as_json=getattr(args, "json", False))
        except Exception:
            if os.environ.get("RECON3D_TRACEBACK"):
                raise
            hint = "Set RECON3D_TRACEBACK=1 to see where, and report it."
            return _complain(Recon3dError("INTERNAL", suggestion=hint), as_json=getattr(args, "json", False))


def _complain(error: Any, *, as_json: bool) -> int:
    info = error.info()
    if as_json:
        print(json.dumps({"event": "error", **info.model_dump(mode="json")}, ensure_ascii=False), flush=True)
    print(f"{info.code.value}: {info.message}", file=sys.stderr)
    problems = [item for item in info.details.get("problems", []) if isinstance(item, dict)]
    if len(problems) > 1:
        for item in problems:
            print(f"  {item.get('path') or item.get('file') or ''}: {item.get('problem')}", file=sys.stderr)
    print(f"  {info.suggestion}", file=sys.stderr, flush=True)
    return int(error.exit_code)


def read_job_file(path: str) -> dict[str, Any]:
    """Return the JSON object in the file `path`; INVALID_REQUEST where it is not one."""
    from recon3d_contract.errors import Code, Recon3dError
    from recon3d_contract.job import MAX_JOB_BYTES, parse_job

    try:
        with open(path, "rb") as file:
            data = file.read(MAX_JOB_BYTES + 1)
    except OSError as error:
        raise Recon3dError(Code.INVALID_REQUEST, f"The job file cannot be read: {error.strerror}.") from error
    spec = parse_job(data)
    return dict(json.loads(spec.to_json()))


def _spec(args: argparse.Namespace) -> JobSpec:
    from recon3d_contract.job import apply_settings, parse_job

    data = read_job_file(args.job) if args.job else {}
    given = {name: getattr(args, name) for name in ("engine", "profile", "seed") if getattr(args, name) is not None}
    data.update(given)
    if args.time_limit is not None:
        data["limits"] = {**data.get("limits", {}), "softSeconds": args.time_limit}
    if args.input is not None:
        data.pop("input", None)  # the command line's INPUT is no part of the job: the same files, the same result
    return parse_job(apply_settings(data, args.settings))


def _run(args: argparse.Namespace, stop: Stop) -> int:
    from recon3d_contract.errors import EXIT_OK, Code, Recon3dError, exit_code
    from recon3d_contract.store import parse_reference

    from recon3d_runner import licences
    from recon3d_runner.outfolder import OutFolder, check_target
    from recon3d_runner.progress import JsonLines, Progress
    from recon3d_runner.runlog import RunLog, secrets_of
    from recon3d_runner.source import fetcher, local_path
    from recon3d_runner.supervisor import Supervisor
    from recon3d_runner.task import Task

    environment = dict(os.environ)
    spec = _spec(args)
    reference = args.input or (spec.input.reference if spec.input else None)
    if reference is None:
        raise Recon3dError(Code.INVALID_REQUEST, "Give INPUT, or a job whose input is a path, URL or built-in.")
    out = Path(args.out).resolve()
    task = Task(spec, args.device, environment, licences.accepted(environment))
    local = local_path(parse_reference(reference), environment)
    check_target(out, force=args.force, keep=(local.resolve(),) if local else ())
    if spec.limits.soft_seconds is not None:
        stop.limit(spec.limits.soft_seconds)
    folder = OutFolder.claim(out)
    try:
        log = RunLog(secrets=secrets_of(environment), paths={str(folder.root): "<work>"})
        lines = JsonLines(sys.stdout) if args.json else None
        progress = Progress([lines or _watcher()])
        try:
            supervisor = Supervisor(task, stop=stop, progress=progress, log=log)
            result = supervisor.execute(folder, fetcher(reference, environment))
        except OSError as error:
            from recon3d_runner.storage import storage_error

            raise storage_error(error, "the result") from error
        finally:
            progress.close()
        folder.commit()
    finally:
        folder.discard()
    _show_end(result, out, spec, lines)
    return exit_code(result.error.code) if result.error else EXIT_OK


def _watcher() -> Watcher:
    if sys.stderr.isatty():
        from recon3d_runner.terminal import Bar

        return Bar(sys.stderr)
    from recon3d_runner.progress import PlainLines

    return PlainLines(sys.stderr)


def _show_end(result: Result, out: Path, spec: JobSpec, lines: JsonLines | None) -> None:
    try:
        if lines is not None:
            summary = result.to_summary().model_dump(mode="json", exclude_none=True)
            lines.write({"event": "result", "out": str(out), **summary})
        else:
            from recon3d_runner.terminal import verdict_report

            verdict_report(result, out, sys.stdout, spec.quality)
    except BrokenPipeError:
        # Whoever read our output has left; the result is there all the same.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check(args: argparse.Namespace, stop: Stop) -> int:
    import tempfile

    from recon3d_contract.inputs import check_source
    from recon3d_contract.store import parse_reference

    from recon3d_runner.source import own_policy, reader

    reference = parse_reference(args.input)
    with tempfile.TemporaryDirectory(prefix="recon3d-") as scratch:
        inputs = reader(own_policy(reference, os.environ), os.environ)
        manifest = stop.call(lambda: check_source(inputs.read(reference, Path(scratch))))
    if args.json:
        print(json.dumps(manifest.to_dict(), ensure_ascii=False, indent=2))
        return 0
    for file in manifest.files:
        kind = {0: "gray", 2: "RGB", 6: "RGBA"}.get(file.colour_type, "?")
        size = f"{file.width}x{file.height}"
        print(f"{file.name:<26} {size:>9}  {file.bit_depth:>2}-bit {kind:<4}  {file.bytes:>10} bytes  {file.source}")
    for warning in manifest.warnings:
        print(f"warning: {warning.message} [{warning.code}]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
