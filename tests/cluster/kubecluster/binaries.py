"""The programs of a cluster: found, else downloaded, else built, and kept by version outside the checkout.

    $KUBEBUILDER_ASSETS or PATH (of the right minor version) -> the cache -> the official download -> `go build`

The cache is ~/.cache/recon3d/cluster/<version>/; a program appears there whole (written aside, then renamed), so
several test runs may fill it at once. What happens is told on stderr, line by line, since a build takes minutes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

KUBERNETES = "1.34.4"
ETCD = "3.6.6"
COREDNS = "1.14.6"
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
NODE_PROGRAMS = ("kubelet", "kube-proxy", "kubectl", "coredns")
"""What a real node needs beside them, and what people use."""

_DOWNLOAD_TIMEOUT_S = 20


class NoBinariesError(RuntimeError):
    """The programs can neither be found nor downloaded nor built; the text says what was tried."""


def say(text: str) -> None:
    """Tell the person who waits."""
    sys.stderr.write(f"[cluster] {text}\n")
    sys.stderr.flush()


def cache_folder() -> Path:
    """Return where programs are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "recon3d" / "cluster" / f"v{KUBERNETES}"


def find(program: str) -> Path | None:
    """Return a usable `program` that is on this machine already; None if there is none."""
    places = [os.environ.get("KUBEBUILDER_ASSETS"), *os.environ.get("PATH", "").split(os.pathsep)]
    for place in places:
        path = Path(place) / program if place else None
        if path is not None and path.is_file() and os.access(path, os.X_OK) and _fits(path):
            return path
    cached = cache_folder() / program
    return cached if cached.is_file() else None


def any_kubectl() -> Path:
    """Return a kubectl of whatever version, for a cluster that is somebody's own. Raises NoBinariesError."""
    path = find("kubectl") or shutil.which("kubectl")
    return Path(path) if path else ensure(("kubectl",))["kubectl"]


def _fits(path: Path) -> bool:
    """Whether `path` is of the wanted minor version, so that the tests mean the same on every machine."""
    question = ["version", "--client"] if path.name == "kubectl" else ["--version"]
    if path.name == "etcd":
        wanted = re.compile(rb"etcd Version: 3\.(?:[5-9]|\d\d)\.")
    elif path.name == "coredns":
        wanted, question = re.compile(rb"CoreDNS-1\."), ["-version"]
    else:
        wanted = re.compile(rb"v" + ".".join(KUBERNETES.split(".")[:2]).encode().replace(b".", rb"\.") + rb"\.")
    try:
        done = subprocess.run([path, *question], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return wanted.search(done.stdout) is not None


def ensure(programs: tuple[str, ...] = PROGRAMS) -> dict[str, Path]:
    """Return every program's path, after getting those that are missing. Raises NoBinariesError."""
    found = {program: find(program) for program in programs}
    if any(path is None for path in found.values()):
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder / ".lock"):
            for program in programs:
                if find(program) is None:
                    _get(program, folder)
        found = {program: find(program) for program in programs}
    return {program: path for program, path in found.items() if path is not None}


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _get(program: str, folder: Path) -> None:
    problems = []
    for way in (_download, _build):
        try:
            way(program, folder)
        except (OSError, subprocess.SubprocessError, NoBinariesError) as error:
            problems.append(f"{way.__name__.strip('_')}: {error}")
            say(f"{program}: {problems[-1]}")
        else:
            return
    raise NoBinariesError(f"{program} cannot be had; " + "; ".join(problems))


def _place(source: Path, folder: Path, program: str) -> None:
    part = folder / f".{program}.{os.getpid()}"
    shutil.copyfile(source, part)
    part.chmod(0o755)
    part.rename(folder / program)


def architecture() -> str:
    """Return this machine's name in official downloads. Raises NoBinariesError where there are none for it."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine())
    if machine is None or sys.platform != "linux":
        raise NoBinariesError("there is no official download for this machine")
    return machine


def download_checked(url: str, sums: str, target: Path) -> None:
    """Download a file that has the checksum which the file at `sums` gives for it. Raises NoBinariesError, OSError."""
    fetch(url, target)
    listed = target.with_suffix(".sums")
    fetch(sums, listed)
    words = [line.split() for line in listed.read_text().splitlines() if line.strip()]
    name = url.rsplit("/", 1)[-1]
    found = [line[0] for line in words if len(line) == 1 or line[1].lstrip("*").rsplit("/", 1)[-1] == name]
    _check(target, found[0] if found else "")


def _download(program: str, folder: Path) -> None:
    machine = architecture()
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / program
        if program == "etcd":
            name = f"etcd-v{ETCD}-linux-{machine}"
            base = f"https://github.com/etcd-io/etcd/releases/download/v{ETCD}"
            archive = file.with_suffix(".tar.gz")
            download_checked(f"{base}/{name}.tar.gz", f"{base}/SHA256SUMS", archive)
            take(archive, f"{name}/etcd", file)
        elif program == "coredns":
            name = f"coredns_{COREDNS}_linux_{machine}.tgz"
            url = f"https://github.com/coredns/coredns/releases/download/v{COREDNS}/{name}"
            archive = file.with_suffix(".tgz")
            download_checked(url, f"{url}.sha256", archive)
            take(archive, "coredns", file)
        else:
            url = f"https://dl.k8s.io/v{KUBERNETES}/bin/linux/{machine}/{program}"
            download_checked(url, f"{url}.sha256", file)
        _place(file, folder, program)


def take(archive: Path, name: str, target: Path) -> None:
    """Take the file `name` out of an archive."""
    with tarfile.open(archive) as tar:
        member = tar.extractfile(name)
        assert member is not None
        target.write_bytes(member.read())


def fetch(url: str, target: Path) -> None:
    """Download a file, telling so. Raises OSError."""
    say(f"downloading {url}")
    with urllib.request.urlopen(url, timeout=_DOWNLOAD_TIMEOUT_S) as response, target.open("wb") as file:
        shutil.copyfileobj(response, file)


def _check(file: Path, expected: str) -> None:
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != expected:
        raise NoBinariesError(f"{file.name} has the SHA-256 {found}, not {expected}")


def _build(program: str, folder: Path) -> None:
    if shutil.which("go") is None:
        raise NoBinariesError("there is no go on the PATH")
    with tempfile.TemporaryDirectory(prefix="recon3d-gobuild-") as temporary:
        module = Path(temporary)
        target = module / "bin" / program
        if program == "etcd":
            package, flags = "go.etcd.io/etcd/server/v3", "-s -w"
            _one_module(module, package, ETCD)
        elif program == "coredns":
            package, flags = "github.com/coredns/coredns", "-s -w"
            _one_module(module, package, COREDNS)
        else:
            package = f"k8s.io/kubernetes/cmd/{program}"
            flags = "-s -w -X k8s.io/component-base/version.gitVersion=v" + KUBERNETES
            _kubernetes_module(module)
        say(f"building {program} with go (minutes; once)")
        _go(module, "build", "-mod=mod", "-trimpath", "-ldflags", flags, "-o", str(target), package)
        _place(target, folder, program)
        say(f"built {folder / program}")


def _go(module: Path, *arguments: str) -> str:
    command = ["nice", "-n", "10", "go", *arguments]
    flags = f"{os.environ.get('GOFLAGS', '')} -p=2 -buildvcs=false".strip()
    environment = {**os.environ, "GOFLAGS": flags}
    done = subprocess.run(command, cwd=module, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoBinariesError(f"go {arguments[0]} failed: {done.stderr[-2000:]}")
    return done.stdout


def _one_module(module: Path, package: str, version: str) -> None:
    (module / "go.mod").write_text("module recon3d.local/program\n\ngo 1.24.0\n")
    (module / "tools.go").write_text(f'//go:build tools\n\npackage tools\n\nimport _ "{package}"\n')
    _go(module, "get", f"{package}@v{version}")


def _kubernetes_module(module: Path) -> None:
    """Write a module that needs k8s.io/kubernetes, whose own go.mod points its parts at its own tree."""
    (module / "go.mod").write_text("module recon3d.local/kubernetes\n\ngo 1.24.0\n")
    wanted = f"k8s.io/kubernetes@v{KUBERNETES}"
    source = Path(re.search(r'"Dir": "([^"]+)"', _go(module, "mod", "download", "-json", wanted)).group(1))  # type: ignore[union-attr]
    text = (source / "go.mod").read_text()
    parts = re.findall(r"^\s*(k8s\.io/\S+) => \./staging", text, re.MULTILINE)
    version = "v0." + KUBERNETES.split(".", 1)[1]
    go_line = re.search(r"^go .*$", text, re.MULTILINE)
    assert go_line is not None
    lines = ["module recon3d.local/kubernetes", "", go_line.group(0), "", "godebug default=go1.24", ""]
    lines += [f"require k8s.io/kubernetes v{KUBERNETES}", "", "replace ("]
    lines += [f"\t{part} => {part} {version}" for part in parts]
    (module / "go.mod").write_text("\n".join([*lines, ")", ""]))
    programs = [program for program in (*PROGRAMS, *NODE_PROGRAMS) if program not in ("etcd", "coredns")]
    imports = "\n".join(f'\t_ "k8s.io/kubernetes/cmd/{program}"' for program in programs)
    (module / "tools.go").write_text(f"//go:build tools\n\npackage tools\n\nimport (\n{imports}\n)\n")
    _go(module, "mod", "tidy")
