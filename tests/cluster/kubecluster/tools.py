"""Programs that are used on a cluster or look at what is installed on one: found, else built with Go, once.

PATH (of the right major version) -> ~/.cache/recon3d/tools -> `go install`
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kubecluster.binaries import NoBinariesError, cache_folder, say

KUBERNETES_MINOR = 34


@dataclass(frozen=True)
class Tool:
    """A program that `go install` can build."""

    package: str
    version: str
    version_command: tuple[str, ...]
    fits: str
    """What the answer to the version command must hold for a program of the machine's own to be used."""
    flags: str = ""


_HELM = "helm.sh/helm/v3"
TOOLS = {
    "helm": Tool(
        f"{_HELM}/cmd/helm",
        "v3.22.0",
        ("version", "--short"),
        "v3.",
        f"-X {_HELM}/internal/version.version=v3.22.0"
        f" -X {_HELM}/pkg/lint/rules.k8sVersionMajor=1 -X {_HELM}/pkg/lint/rules.k8sVersionMinor={KUBERNETES_MINOR}"
        f" -X {_HELM}/pkg/chartutil.k8sVersionMajor=1 -X {_HELM}/pkg/chartutil.k8sVersionMinor={KUBERNETES_MINOR}",
    ),
    "actionlint": Tool("github.com/rhysd/actionlint/cmd/actionlint", "v1.7.8", ("--version",), "1.7"),
    "kube-score": Tool("github.com/zegl/kube-score/cmd/kube-score", "v1.20.0", ("version",), "1."),
}


def tool(name: str) -> Path:
    """Return the program's path, after building it if it must be. Raises NoBinariesError."""
    wanted = TOOLS[name]
    found = shutil.which(name)
    if found and _answers(Path(found), wanted):
        return Path(found)
    folder = cache_folder().parents[1] / "tools"
    target = folder / f"{name}-{wanted.version}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_file():
            _build(name, wanted, target)
    return target


def _answers(program: Path, wanted: Tool) -> bool:
    try:
        done = subprocess.run(
            [program, *wanted.version_command], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and wanted.fits in done.stdout


def _build(name: str, wanted: Tool, target: Path) -> None:
    if shutil.which("go") is None:
        raise NoBinariesError(f"{name} {wanted.version} is neither on the PATH nor can it be built: there is no go")
    say(f"building {name} {wanted.version} with go (minutes; once)")
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        flags = f"{os.environ.get('GOFLAGS', '')} -p=2 -buildvcs=false".strip()
        command = ["nice", "-n", "10", "go", "install", "-trimpath", "-ldflags", f"-s -w {wanted.flags}"]
        done = subprocess.run(
            [*command, f"{wanted.package}@{wanted.version}"],
            env={**os.environ, "GOFLAGS": flags, "GOBIN": folder},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise NoBinariesError(f"{name} cannot be built: {done.stderr[-2000:]}")
        (Path(folder) / name).rename(target)
