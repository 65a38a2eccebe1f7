"""A small Debian with Python, as a layer for test images: made once with debootstrap, kept outside the checkout."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
from pathlib import Path

from kubecluster.binaries import cache_folder, say

SUITE = "bookworm"
_PACKAGES = ("python3-minimal", "libpython3-stdlib", "ca-certificates")
_LEFT_OUT = (
    "./usr/share/doc",
    "./usr/share/man",
    "./usr/share/locale",
    "./var/cache",
    "./var/lib/apt",
    "./dev",
    "./proc",
)


def debian_layer(name: str = "", packages: tuple[str, ...] = _PACKAGES) -> Path:
    """Return the tar of a Debian that has python3; makes it once (a minute). Raises RuntimeError.

    One with other `packages` has a `name` of its own.
    """
    target = cache_folder().parent / f"debian-{SUITE}{name and '-'}{name}.tar"
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_file():
            if shutil.which("debootstrap") is None:
                raise RuntimeError("test images need debootstrap, once: apt-get install debootstrap")
            say(f"making a Debian {SUITE} for test images (a minute; once)")
            with tempfile.TemporaryDirectory(prefix="recon3d-debian-") as temporary:
                _make(Path(temporary), target, packages)
    return target


def _make(root: Path, target: Path, packages: tuple[str, ...]) -> None:
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", SUITE, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"debootstrap failed:\n{(done.stdout + done.stderr)[-2000:]}")
    part = target.with_suffix(".part")
    left_out = [f"--exclude={path}/*" for path in _LEFT_OUT]
    subprocess.run(["tar", "-C", str(root), *left_out, "-cf", str(part), "."], check=True)
    part.rename(target)
