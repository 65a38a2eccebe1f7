"""`recon3d`: submit six views, watch, and fetch the mesh, without Kubernetes.

The service is named by --url or RECON3D_URL, the key by RECON3D_API_KEY or a file (--key-file, RECON3D_API_KEY_FILE).
The exit code is 0 for success, else that of the error's code (see `recon3d errors`).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from recon3d_contract.errors import EXIT_OK, TABLE, Code, Recon3dError, exit_code
from recon3d_contract.job import apply_settings

from recon3d_api.client import terminal
from recon3d_api.client.download import download
from recon3d_api.client.http import ApiClient
from recon3d_api.client.source import source_of

_DEFAULT_URL: Final = "http://127.0.0.1:8000"
_OVER: Final = ("completed", "failed", "cancelled")


def _submit(client: ApiClient, options: argparse.Namespace) -> int:
    source = source_of(options.input)
    for warning in source.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    names = ("engine", "profile", "seed", "priority")
    fields: dict[str, Any] = {name: value for name in names if (value := getattr(options, name)) is not None}
    settings = apply_settings({}, options.settings)
    if settings:
        fields["parameters"] = settings
    job = client.submit(source, fields)
    if not options.watch and options.out is None:
        return _print(job, options, f"{job['id']}\n")
    sys.stderr.write(f"submitted {job['id']}\n")
    code = _follow(client, job["id"], options)
    if options.out is not None and code in (EXIT_OK, exit_code(Code.QUALITY_BELOW_THRESHOLD)):
        _fetch(client, job["id"], options.out, as_zip=options.zip)
    return code


def _upload(client: ApiClient, options: argparse.Namespace) -> int:
    source = source_of(options.input)
    if source.reference is not None:
        raise Recon3dError(Code.INVALID_REQUEST, "Only a folder or ZIP of this machine can be uploaded.")
    made = client.upload(source)
    return _print(made, options, f"{made['id']}\n")


def _watch(client: ApiClient, options: argparse.Namespace) -> int:
    return _follow(client, options.job, options)


def _follow(client: ApiClient, name: str, options: argparse.Namespace) -> int:
    job: dict[str, Any] = {}
    with terminal.JobBar() as bar:
        for job in client.events(name):
            if options.json:
                sys.stdout.write(json.dumps(job) + "\n")
                sys.stdout.flush()
            else:
                bar.show(job)
    if not job or job["status"] not in _OVER:
        raise Recon3dError(Code.JOB_NOT_FOUND, "The job was deleted.")
    if not options.json:
        terminal.outcome(job, sys.stdout)
    return _exit_code_of(job)


def _exit_code_of(job: dict[str, Any]) -> int:
    error = job.get("error")
    if job["status"] == "completed":
        return EXIT_OK
    return exit_code(error["code"]) if error else exit_code(Code.CANCELLED)


def _status(client: ApiClient, options: argparse.Namespace) -> int:
    job = client.job(options.job)
    if options.json:
        return _print(job, options, "")
    if job["status"] in _OVER:
        terminal.outcome(job, sys.stdout)
    else:
        sys.stdout.write(f"{job['id']}  {job['progress']} %  {terminal.describe(job)}\n")
    return EXIT_OK


def _list(client: ApiClient, options: argparse.Namespace) -> int:
    filters = {name: value for name in ("status", "engine", "batch") if (value := getattr(options, name)) is not None}
    jobs = list(client.jobs(filters, options.limit))
    if options.json:
        sys.stdout.writelines(json.dumps(job) + "\n" for job in jobs)
    else:
        terminal.table(jobs, sys.stdout)
    return EXIT_OK


def _cancel(client: ApiClient, options: argparse.Namespace) -> int:
    asked = client.cancel(options.job, confirm=False)
    if not options.yes:
        if not sys.stdin.isatty():
            text = f"cancel_requested until {asked['expires_at']}; confirm with: recon3d cancel {options.job} --yes\n"
            return _print(asked, options, text)
        sys.stderr.write(f"Cancel {options.job}? It cannot be taken back. [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            return EXIT_OK
    done = client.cancel(options.job, confirm=True)
    return _print(done, options, f"{options.job}  {done['status']}\n")


def _download(client: ApiClient, options: argparse.Namespace) -> int:
    target = options.out or Path(f"{options.job}.zip" if options.zip else options.job)
    _fetch(client, options.job, target, as_zip=options.zip)
    return EXIT_OK


def _fetch(client: ApiClient, job: str, target: Path, *, as_zip: bool) -> None:
    with terminal.byte_bar() as bar:
        task = bar.add_task(f"download {job}", total=None)
        place = download(
            client, job, target, as_zip=as_zip, tell=lambda done, total: bar.update(task, completed=done, total=total)
        )
    sys.stdout.write(f"{place}\n")


def _delete(client: ApiClient, options: argparse.Namespace) -> int:
    client.delete(options.job)
    return EXIT_OK


def _print(value: dict[str, Any], options: argparse.Namespace, text: str) -> int:
    sys.stdout.write(json.dumps(value) + "\n" if options.json else text)
    return EXIT_OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recon3d", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default=os.environ.get("RECON3D_URL", _DEFAULT_URL), help="the service's address")
    parser.add_argument("--key-file", type=Path, default=os.environ.get("RECON3D_API_KEY_FILE"), metavar="FILE")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, work: Callable[..., int], text: str, *arguments: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(work=work)
        for argument in arguments:
            made.add_argument(argument)
        made.add_argument("--json", action="store_true", help="print JSON")
        return made

    submit = command("submit", _submit, "submit a job: a folder, a ZIP, builtin:example, upload:ID, https, s3", "input")
    submit.add_argument("--engine", choices=["nvdiffrec", "reconviagen", "both"])
    submit.add_argument("--profile", choices=["fast", "standard", "high"])
    submit.add_argument("--seed", type=int)
    submit.add_argument("--priority", type=int, help="higher goes first")
    submit.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    submit.add_argument("--watch", action="store_true", help="wait for the end, with a progress bar")
    submit.add_argument("--out", type=Path, help="wait, and put the result here")
    submit.add_argument("--zip", action="store_true", help="the result as a ZIP")
    command("upload", _upload, "upload a folder or ZIP for later jobs; prints its id", "input")
    command("watch", _watch, "follow a job to its end", "job")
    command("status", _status, "where a job stands", "job")
    listing = command("list", _list, "your jobs, newest first")
    listing.add_argument("--status", choices=["queued", "processing", *_OVER])
    listing.add_argument("--engine", choices=["nvdiffrec", "reconviagen", "both"])
    listing.add_argument("--batch")
    listing.add_argument("--limit", type=int, default=50)
    cancel = command("cancel", _cancel, "cancel a job", "job")
    cancel.add_argument("--yes", action="store_true", help="do not ask")
    fetch = command("download", _download, "fetch a job's result", "job")
    fetch.add_argument("--out", type=Path, help="folder (or file with --zip) to make; default is the job's id")
    fetch.add_argument("--zip", action="store_true", help="keep it as a ZIP")
    command("delete", _delete, "delete a job and its files", "job")
    commands.add_parser("errors", help="all error codes with their exit codes")
    return parser


def _key(options: argparse.Namespace) -> str | None:
    if options.key_file is None:
        return os.environ.get("RECON3D_API_KEY")
    try:
        return Path(options.key_file).read_text().strip()
    except OSError as error:
        raise Recon3dError(Code.UNAUTHENTICATED, f"The key file cannot be read: {error.strerror}.") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code."""
    options = _parser().parse_args(arguments)
    if options.command == "errors":
        for code, row in sorted(TABLE.items(), key=lambda item: item[1].exit_code):
            sys.stdout.write(f"{row.exit_code:3d}  {code.value:<24} {row.message}\n")
        return EXIT_OK
    try:
        with ApiClient(options.url, _key(options)) as client:
            return int(options.work(client, options))
    except Recon3dError as error:
        sys.stderr.write(f"recon3d: {error.code.value}: {error.message}\n  {error.suggestion}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        return 128 + signal.SIGPIPE


if __name__ == "__main__":
    sys.exit(main())
