"""What a person at a terminal sees: a progress bar while it runs, a verdict table at the end."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from recon3d_contract.layout import MESH_GLB, QUALITY, REPORT, RESULT, RUN_LOG
from recon3d_contract.quality import Quality
from recon3d_contract.result import EngineEntry, Result
from recon3d_contract.spec import QualityThresholds
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from recon3d_runner.progress import Snapshot, duration

_COLOURS = {"normal": "green", "warning": "yellow", "failure": "red"}


class Bar:
    """A watcher that draws one bar; for a terminal only."""

    def __init__(self, stream: TextIO) -> None:
        """Draw on `stream`."""
        self._bar = RichProgress(
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=Console(file=stream),
            refresh_per_second=8,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task("start", total=100.0, detail="", left="")
        self._bar.start()

    def update(self, snapshot: Snapshot) -> None:
        """Draw the latest state."""
        detail = ""
        if snapshot.iteration is not None:
            detail = f"{snapshot.iteration}/{snapshot.total}" if snapshot.total else str(snapshot.iteration)
        if snapshot.loss is not None:
            detail += f" loss {snapshot.loss:.3g}"
        left = f"{duration(snapshot.eta_s)} left" if snapshot.eta_s else ""
        name = f"{snapshot.engine}: {snapshot.stage}" if snapshot.engine else snapshot.stage
        self._bar.update(self._task, completed=snapshot.percent, description=name, detail=detail, left=left)

    def notice(self, code: str, message: str) -> None:
        """Print a warning above the bar."""
        self._bar.console.print(Text(f"warning: {message} [{code}]", style="yellow"))

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.stop()


def _number(value: float | None, digits: int, unit: str = "") -> str:
    return "-" if value is None else f"{value:.{digits}f}{unit}"


def _depth_text(quality: Quality) -> str:
    depth = quality.calibration.depth
    if depth is None:
        return "no depth renders: silhouettes alone carry the shape"
    return f"{depth.encoding}, {depth.kind}-depth, {depth.near:.4g} to {depth.far:.4g}"


def _turned(quality: Quality) -> str:
    turned = [
        f"{name} {view.roll_deg}°{' mirrored' if view.mirror else ''}"
        for name, view in quality.calibration.views.items()
        if view.roll_deg or view.mirror
    ]
    return ", ".join(turned) or "all as declared"


def _load(out: Path, engine: str) -> Quality | None:
    try:
        return Quality.model_validate_json((out / engine / QUALITY).read_bytes())
    except (OSError, ValueError):
        return None


def _engine_rows(table: Table, entry: EngineEntry, quality: Quality | None, limits: QualityThresholds) -> None:
    facts, mesh = entry.quality, entry.mesh
    if facts is not None:
        table.add_row("PSNR", _number(facts.psnr, 2, " dB"), f"normal from {limits.psnr_normal:g} dB")
        table.add_row("SSIM", _number(facts.ssim, 4), f"normal from {limits.ssim_normal:g}")
        table.add_row("Silhouette IoU", _number(facts.iou, 4), f"from {limits.iou:g}")
        table.add_row(
            "Depth error", _number(facts.depth_error_pct, 3, " %"), f"to {limits.depth_error_pct:g} % of diagonal"
        )
        alone = _number(facts.leave_one_out_psnr, 2, " dB")
        table.add_row("Leave-one-view-out", alone, f"from {limits.leave_one_out_psnr:g} dB")
        table.add_row("Worst view", facts.worst_view, "")
    if mesh is not None:
        closed = "watertight" if mesh.watertight else "not watertight"
        parts = "1 component" if mesh.components == 1 else f"{mesh.components} components"
        genus = "" if mesh.genus is None else f", genus {mesh.genus}"
        table.add_row("Mesh", f"{mesh.faces} faces", f"{closed}, {parts}{genus}")
        table.add_row("Self-intersections", str(mesh.self_intersections), "")
    if quality is not None:
        found = quality.calibration
        table.add_row("Field of view", f"{found.fov_deg:.2f}°", f"confidence {found.confidence:.2f}")
        table.add_row("Camera distance", f"{found.distance:.4g}", found.prior or "")
        table.add_row("Depth", _depth_text(quality), "")
        table.add_row("Views", _turned(quality), "")
    where = f"on {entry.device}" if entry.device else ""
    table.add_row("Time", duration(entry.seconds), where)


def verdict_report(result: Result, out: Path, stream: TextIO, limits: QualityThresholds) -> None:
    """Print how the run ended, each engine's numbers, and where the files are."""
    console = Console(file=stream, highlight=False, width=None if stream.isatty() else 110)
    for name, entry in result.engines.items():
        verdict = entry.verdict or entry.phase.value.lower()
        title = Text(f"{name}: {verdict}", style=f"bold {_COLOURS.get(verdict, 'red')}")
        table = Table(title=title, title_justify="left", show_header=False, min_width=60)
        _engine_rows(table, entry, _load(out, name), limits)
        console.print(table)
        for reason in entry.reasons:
            console.print(Text(f"  because {reason}"))
        if entry.error is not None and entry.error != result.error:
            console.print(Text(f"  {entry.error.code.value}: {entry.error.message}", style="red"))
    if result.error is not None:
        console.print(Text(f"{result.error.code.value}: {result.error.message}", style="bold red"), soft_wrap=True)
        console.print(Text(f"  {result.error.suggestion}"), soft_wrap=True)
    shown = [(result.engine, file) for file in (REPORT, MESH_GLB)] if result.engine and result.artifacts else []
    for engine, file in shown:
        console.print(Text(f"{file:<12} {out / str(engine) / file}"), soft_wrap=True)
    for file in (RESULT, RUN_LOG):
        if (out / file).is_file():
            console.print(Text(f"{file:<12} {out / file}"), soft_wrap=True)
