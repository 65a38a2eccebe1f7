"""What a person at a terminal sees: bars while something goes on, tables and one-line facts else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Final, TextIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

_COLOURS: Final = {
    "completed": "green", "failed": "red", "cancelled": "yellow", "normal": "green", "warning": "yellow",
    "failure": "red",
}  # fmt: skip


class JobBar:
    """The progress of one job: a bar on a terminal, a line for each change elsewhere."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._console = Console(file=stream, highlight=False)
        self._last = ""
        self._bar: Progress | None = None
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}"),
                console=self._console,
            )
            self._task = self._bar.add_task("", total=100, note="")

    def __enter__(self) -> JobBar:
        """Draw it."""
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave it as it is."""
        if self._bar is not None:
            self._bar.stop()

    def show(self, job: Mapping[str, Any]) -> None:
        """Draw the job's latest state."""
        note = describe(job)
        if self._bar is not None:
            self._bar.update(self._task, completed=job["progress"], description=str(job["id"]), note=note)
        elif (line := f"{job['id']}  {job['progress']:3d} %  {note}") != self._last:
            self._console.print(line, soft_wrap=True, markup=False)
            self._last = line


def describe(job: Mapping[str, Any]) -> str:
    """Return where a job stands, in a few words."""
    if job["status"] == "queued":
        place = f", place {job['queue_position']}" if job.get("queue_position") else ""
        return f"queued{place}" + (f" ({job['waiting_for']})" if job.get("waiting_for") else "")
    if job["status"] == "processing":
        words = [job.get("running_engine"), job.get("stage")]
        text = ": ".join(word for word in words if word) or "processing"
        return text + (f", {duration(job['eta_seconds'])} left" if job.get("eta_seconds") else "")
    return str(job["status"])


def duration(seconds: float) -> str:
    """Return `1:02:03` or `2:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def outcome(job: Mapping[str, Any], stream: TextIO) -> None:
    """Print how a job ended."""
    console = Console(file=stream, highlight=False)
    status = str(job["status"])
    console.print(Text.assemble(f"{job['id']}  ", (status, _COLOURS.get(status, ""))))
    quality = job.get("quality")
    if quality:
        verdict = str(quality.get("verdict"))
        numbers = [("PSNR", "psnr", " dB"), ("SSIM", "ssim", ""), ("IoU", "iou", ""), ("faces", "faces", "")]
        facts = [f"{name} {quality[key]:g}{unit}" for name, key, unit in numbers if quality.get(key) is not None]
        console.print(Text.assemble("  verdict ", (verdict, _COLOURS.get(verdict, "")), "  ", ", ".join(facts)))
        for reason in quality.get("reasons", ()):
            console.print(f"  because {reason}", markup=False, soft_wrap=True)
    for warning in job.get("warnings", ()):
        console.print(f"  warning: {warning}", markup=False, soft_wrap=True)
    error = job.get("error")
    if error:
        console.print(Text(f"  {error['code']}: {error['message']}", style="red"), soft_wrap=True)
        if error.get("suggestion"):
            console.print(f"  {error['suggestion']}", markup=False, soft_wrap=True)


def table(jobs: Iterable[Mapping[str, Any]], stream: TextIO) -> None:
    """Print a list of jobs."""
    console = Console(file=stream, highlight=False, width=None if stream.isatty() else 110)
    shown = Table(box=None, pad_edge=False)
    for name in ("JOB", "STATUS", "PROGRESS", "ENGINE", "PROFILE", "VERDICT", "PSNR", "CREATED"):
        shown.add_column(name, no_wrap=True)
    for job in jobs:
        quality = job.get("quality") or {}
        status, verdict = str(job["status"]), str(quality.get("verdict") or "")
        shown.add_row(
            job["id"],
            Text(status, style=_COLOURS.get(status, "")),
            f"{job['progress']} %",
            job["engine"],
            job["profile"],
            Text(verdict, style=_COLOURS.get(verdict, "")),
            f"{quality['psnr']:.2f}" if quality.get("psnr") is not None else "",
            job["created_at"],
        )
    console.print(shown)


def byte_bar(stream: TextIO = sys.stderr) -> Progress:
    """Return a bar for bytes; it draws on terminals only."""
    console = Console(file=stream)
    return Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn(), console=console,
        disable=not console.is_terminal,
    )  # fmt: skip
