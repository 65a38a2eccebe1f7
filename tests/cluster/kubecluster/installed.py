"""The chart on a cluster of ours: installed with images of this checkout, and used as its users do."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kubecluster.binaries import any_kubectl, say
from kubecluster.builds import REGISTRY, ROOT, Image
from kubecluster.tools import tool

CHART = ROOT / "charts/recon3d"
RELEASE = NAMESPACE = "recon3d"


def image_values(images: Mapping[str, Image]) -> list[str]:
    """Return the values that name images which the nodes have already."""
    named = [f"image.{name}.tag={image.tag}" for name, image in images.items()]
    return [f"--set-string={value}" for value in (f"image.registry={REGISTRY}", *named)]


def helm(environment: Mapping[str, str], *arguments: str | Path) -> str:
    """Run helm; return what it wrote. Raises RuntimeError with what it said."""
    done = subprocess.run(
        [tool("helm"), *map(str, arguments)], env=dict(environment), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"helm {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def install(
    environment: Mapping[str, str], images: Mapping[str, Image], *values: str | Path, chart: Path = CHART
) -> float:
    """Install or upgrade the chart in its namespace; return after how many seconds everything was ready."""
    started = time.monotonic()
    try:
        helm(
            environment, "upgrade", "--install", RELEASE, chart, "--namespace", NAMESPACE, "--create-namespace",
            *image_values(images), *values, "--wait", "--timeout", "2m",
        )  # fmt: skip
    except RuntimeError as error:
        raise RuntimeError(f"{error}\n{why_not(environment)}") from error
    return time.monotonic() - started


def why_not(environment: Mapping[str, str]) -> str:
    """Return what the cluster says of an installation that does not become ready."""
    program = any_kubectl()
    texts = []
    for arguments in (
        ["get", "pods,persistentvolumeclaims", "-n", NAMESPACE],
        ["get", "events", "-n", NAMESPACE, "--sort-by=.lastTimestamp"],
        ["logs", "-n", NAMESPACE, "-l", "app.kubernetes.io/part-of=recon3d", "--prefix", "--tail=10"],
    ):
        done = subprocess.run(
            [program, *arguments], env=dict(environment), capture_output=True, text=True, check=False, timeout=60
        )
        texts.append("\n".join((done.stdout + done.stderr).splitlines()[-15:]))
    return "\n".join(texts)


TERMINAL = ("Completed", "Failed", "Cancelled")


def follow(read: Callable[[], Mapping[str, Any]], tell: Callable[[str], None], limit_s: float) -> Mapping[str, Any]:
    """Tell how a job goes until it ends, or the time is over; return its status."""
    end, said = time.monotonic() + limit_s, ""
    while True:
        status = dict(read().get("status") or {})
        text = line_of(status)
        if text != said:
            tell(text)
            said = text
        if status.get("phase") in TERMINAL or time.monotonic() > end:
            return status
        time.sleep(1.0)


def line_of(status: Mapping[str, Any]) -> str:
    """Return one line that tells where a job is."""
    phase = str(status.get("phase") or "new")
    progress = status.get("progress") or {}
    if phase == "Queued":
        why = next((c["reason"] for c in status.get("conditions") or () if c["status"] == "False"), "")
        place = status.get("queuePosition")
        return f"queued{f', at position {place}' if place else ''}{f' ({why})' if why else ''}"
    if phase == "Processing" and progress:
        eta = progress.get("etaSeconds")
        minutes = f"{eta // 60} min " if eta is not None and eta >= 60 else ""
        left = f"   about {minutes}{eta % 60} s left" if eta is not None else ""
        return f"{progress.get('percent', 0):3d} %  {progress.get('stage', ''):<10}{left}"
    return phase.lower()


def ready(message: str, started: float) -> None:
    """Say that something is done, and how long it took."""
    say(f"{message} ({time.monotonic() - started:.0f} s)")
