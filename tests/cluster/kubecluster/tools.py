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

from kubecluster.binaries import NoBinariesError, architecture, cache_folder, download_checked, say, take

KUBERNETES_MINOR = 34


@dataclass(frozen=True)
class Tool:
    """A program that can be downloaded, and built by `go install`."""

    package: str
    version: str
    version_command: tuple[str, ...]
    fits: str
    """What the answer to the version command must hold for a program of the machine's own to be used."""
    url: str
    """Of the official download, with {version}, {number} (without the v) and {machine}."""
    sums: str = "{url}.sha256sum"
    """Where its SHA-256 is."""
    member: str = ""
    """The program's path in the archive; empty: the download is the program."""
    flags: str = ""


_HELM = "helm.sh/helm/v3"
_ACTIONLINT = "https://github.com/rhysd/actionlint/releases/download/{version}/actionlint_{number}_"
_KUBE_SCORE = "https://github.com/zegl/kube-score/releases/download/{version}/"
TOOLS = {
    "helm": Tool(
        f"{_HELM}/cmd/helm",
        "v3.22.0",
        ("version", "--short"),
        "v3.",
        "https://get.helm.sh/helm-{version}-linux-{machine}.tar.gz",
        member="linux-{machine}/helm",
        flags=f"-X {_HELM}/internal/version.version=v3.22.0"
        f" -X {_HELM}/pkg/lint/rules.k8sVersionMajor=1 -X {_HELM}/pkg/lint/rules.k8sVersionMinor={KUBERNETES_MINOR}"
        f" -X {_HELM}/pkg/chartutil.k8sVersionMajor=1 -X {_HELM}/pkg/chartutil.k8sVersionMinor={KUBERNETES_MINOR}",
    ),
    "kind": Tool(
        "sigs.k8s.io/kind",
        "v0.33.0",
        ("version",),
        "kind v0.",
        "https://github.com/kubernetes-sigs/kind/releases/download/{version}/kind-linux-{machine}",
    ),
    "actionlint": Tool(
        "github.com/rhysd/actionlint/cmd/actionlint",
        "v1.7.8",
        ("--version",),
        "1.7",
        f"{_ACTIONLINT}linux_{{machine}}.tar.gz",
        f"{_ACTIONLINT}checksums.txt",
        "actionlint",
    ),
    "kube-score": Tool(
        "github.com/zegl/kube-score/cmd/kube-score",
        "v1.20.0",
        ("version",),
        "1.",
        f"{_KUBE_SCORE}kube-score_{{number}}_linux_{{machine}}",
        f"{_KUBE_SCORE}checksums.txt",
    ),
}
OF_TESTS = ("helm", "actionlint", "kube-score")


def tool(name: str) -> Path:
    """Return the program's path, after getting it if it must be. Raises NoBinariesError."""
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
            try:
                _download(name, wanted, target)
            except (OSError, NoBinariesError) as error:
                say(f"{name}: download: {error}")
                _build(name, wanted, target)
    return target


def _download(name: str, wanted: Tool, target: Path) -> None:
    named = {"version": wanted.version, "number": wanted.version.removeprefix("v"), "machine": architecture()}
    url = wanted.url.format(**named)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        file, program = Path(folder) / "download", Path(folder) / name
        download_checked(url, wanted.sums.format(url=url, **named), file)
        if wanted.member:
            take(file, wanted.member.format(**named), program)
        else:
            file.rename(program)
        program.chmod(0o755)
        program.rename(target)


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
        raise NoBinariesError(
            f"{name} {wanted.version} is not on the PATH, and can neither be downloaded nor built: there is no go"
        )
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
