"""The project's own images, built from its Dockerfiles and kept by content: a second build takes no time.

With a Docker engine, Docker builds them on their official base images. Without one, buildah does, as root, on a Debian
made by debootstrap: no registry is asked for anything. What a build needs of this machine to reach a package index (its
certificates, pip's settings) is mounted while it runs and is not in the image.

    python -m kubecluster.builds          # build both, print their archives
"""

from __future__ import annotations

import configparser
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kubecluster.binaries import cache_folder, say
from kubecluster.debian import debian_layer

ROOT = Path(__file__).resolve().parents[3]
REGISTRY = "recon3d.local"
_BASE_PACKAGES = ("python3", "python3-venv", "ca-certificates")
_KEPT = 3


@dataclass(frozen=True)
class Recipe:
    """How an image is made."""

    dockerfile: str
    target: str | None
    sources: tuple[str, ...]
    """Files and folders, relative to the repository, whose content decides what is in the image."""


RECIPES = {
    "operator": Recipe(
        "Dockerfile.operator",
        None,
        ("requirements/build.txt", "requirements/operator.txt", "pyproject.toml", "crds/recon3d_contract", "operator",
         "api"),
    ),
    "runner": Recipe(
        "Dockerfile.runner",
        "cpu",
        ("requirements/build.txt", "requirements/runner-cpu.txt", "pyproject.toml", "crds/recon3d_contract", "runner",
         "examples/input"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Image:
    """A built image: recon3d.local/<name>:<tag>."""

    name: str
    tag: str
    archive: Path
    """As `docker save` writes it."""

    @property
    def reference(self) -> str:
        """Its full name."""
        return f"{REGISTRY}/{self.name}:{self.tag}"


def build(name: str) -> Image:
    """Return the image `operator` or `runner` (for the CPU) of this checkout. Raises RuntimeError."""
    recipe = RECIPES[name]
    folder = cache_folder().parents[1] / "images"
    folder.mkdir(parents=True, exist_ok=True)
    tag = _content(recipe)
    image = Image(name, tag, folder / f"{name}-{tag}.tar")
    with (folder / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not image.archive.is_file():
            started = time.monotonic()
            say(f"building the image {image.reference} (minutes; once for this content)")
            part = image.archive.with_suffix(".part")
            part.unlink(missing_ok=True)
            (_with_docker if has_docker() else _with_buildah)(recipe, image, part)
            part.rename(image.archive)
            size = image.archive.stat().st_size / 1e6
            say(f"built {image.reference}: {size:.0f} MB unpacked, {time.monotonic() - started:.0f} s")
        image.archive.touch()
        for old in sorted(folder.glob(f"{name}-*.tar"), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
            old.unlink()
    return image


def has_docker() -> bool:
    """Whether a Docker engine answers."""
    if shutil.which("docker") is None:
        return False
    done = subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=30)
    return done.returncode == 0 and b"ERROR" not in done.stderr


def _content(recipe: Recipe) -> str:
    digest = hashlib.sha256(" ".join(_BASE_PACKAGES).encode())
    for source in (recipe.dockerfile, *recipe.sources):
        top = ROOT / source
        files = [top] if top.is_file() else sorted(path for path in top.rglob("*") if path.is_file())
        for file in files:
            if "__pycache__" not in file.parts and not any(part.endswith(".egg-info") for part in file.parts):
                digest.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def _with_docker(recipe: Recipe, image: Image, archive: Path) -> None:
    target = ["--target", recipe.target] if recipe.target else []
    _run("docker", "build", "--file", recipe.dockerfile, *target, "--tag", image.reference, ".")
    _run("docker", "save", "--output", str(archive), image.reference)


def _with_buildah(recipe: Recipe, image: Image, archive: Path) -> None:
    if os.geteuid() != 0 or shutil.which("buildah") is None:
        raise RuntimeError("images need a Docker engine, or root and buildah: apt-get install buildah debootstrap")
    buildah = _buildah()
    target = ["--target", recipe.target] if recipe.target else []
    with _machine() as volumes:
        _run(
            *buildah, "bud", "--quiet", "--layers", "--force-rm", "--isolation", "chroot", *volumes,
            "--build-arg", f"BASE_IMAGE={_base(buildah)}", "--file", recipe.dockerfile, *target,
            "--tag", image.reference, ".",
        )  # fmt: skip
    _run(*buildah, "push", "--quiet", image.reference, f"docker-archive:{archive}:{image.reference}")


def _buildah() -> list[str]:
    storage = cache_folder().parents[1] / "images" / "storage"
    driver = os.environ.get("STORAGE_DRIVER", "overlay")
    return ["buildah", "--root", str(storage), "--runroot", "/run/recon3d-buildah", "--storage-driver", driver]


def _base(buildah: list[str]) -> str:
    """Return the base image's name, after making it if it is not there."""
    name = f"localhost/recon3d-base:{hashlib.sha256(' '.join(_BASE_PACKAGES).encode()).hexdigest()[:12]}"
    if subprocess.run([*buildah, "inspect", name], capture_output=True, check=False).returncode:
        layer = debian_layer("python", _BASE_PACKAGES)
        with tempfile.TemporaryDirectory(dir=layer.parent) as context:
            os.link(layer, Path(context) / "debian.tar")
            (Path(context) / "Dockerfile").write_text("FROM scratch\nADD debian.tar /\n")
            _run(*buildah, "bud", "--quiet", "--isolation", "chroot", "--tag", name, context)
    return name


@contextlib.contextmanager
def _machine() -> Iterator[list[str]]:
    """Yield the mounts by which a build reaches what this machine reaches."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
        inside = "/etc/ssl/certs/ca-certificates.crt"
        settings = configparser.RawConfigParser()
        settings.read([Path("/etc/pip.conf"), Path.home() / ".config/pip/pip.conf", Path.home() / ".pip/pip.conf"])
        if not settings.has_section("global"):
            settings.add_section("global")
        for name, value in os.environ.items():
            found = re.fullmatch(r"PIP_(INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST|DEFAULT_TIMEOUT|PROXY)", name)
            if found:
                settings.set("global", found[1].lower().replace("_", "-").replace("default-", ""), value)
        mounts = []
        if bundle and Path(bundle).is_file():
            settings.set("global", "cert", inside)
            mounts += ["--volume", f"{Path(bundle).resolve()}:{inside}:ro"]
        file = Path(folder) / "pip.conf"
        with file.open("w") as text:
            settings.write(text)
        yield [*mounts, "--volume", f"{file}:/etc/pip.conf:ro"]


def _run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:2])} failed:\n{done.stdout[-4000:]}")


if __name__ == "__main__":
    for each in sys.argv[1:] or RECIPES:
        print(build(each).archive)
