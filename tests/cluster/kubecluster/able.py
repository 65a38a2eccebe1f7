"""What this machine can run of the tests on a cluster: their programs, got ready, and why something is left out.

    python -m kubecluster.able      get the programs (minutes the first time); print the reasons as JSON

A reason is a property of the machine (no root, no namespaces, no way to a program), never a failure of ours: what can
be tried is tried, and fails as a test.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from kubecluster.binaries import NODE_PROGRAMS, PROGRAMS, NoBinariesError, ensure, say
from kubecluster.builds import ROOT, has_docker
from kubecluster.tools import OF_TESTS, tool

LEFT_OUT = "RECON3D_LEFT_OUT"
"""Environment variable: what `main` found, so that the tests need not look again."""
_CGROUPS = Path("/sys/fs/cgroup")
_IN_NAMESPACES = {
    "layers of files (overlay) cannot be mounted": (
        "mkdir a b c d && mount -t overlay -o lowerdir=$PWD/a,upperdir=$PWD/b,workdir=$PWD/c overlay d"
    ),
    "memory cannot be mounted as a folder": "mount -t tmpfs tmpfs a",
    "a setting of the kernel cannot be covered": "touch e && mount --bind e /proc/sys/kernel/panic",
    "no bridge can be made": "ip link add bridge0 type bridge",
    "no link between two networks can be made": "ip link add veth0 type veth peer name veth1",
    "no packet filter can be made": "nft add table ip recon3d",
}
"""Each is tried in namespaces of its own, in an empty folder of this machine's disk."""


def left_out() -> dict[str, str]:
    """Return the reasons, by what is needed, that can be seen without getting anything."""
    found = {"node": why_no_node(), "images": why_no_images()}
    return {need: why for need, why in found.items() if why}


def why_no_node() -> str:
    """Return why no real node can run here; nothing if one can."""
    if os.geteuid() != 0:
        return "a real node needs root"
    missing = [name for name in ("containerd", "runc", "nsenter", "ip", "nft", "unshare") if shutil.which(name) is None]
    if not any(Path(place, "bridge").exists() for place in ("/usr/lib/cni", "/opt/cni/bin")):
        missing.append("the CNI plugins")
    if missing:
        return f"a real node needs {', '.join(missing)}"
    script = "".join(f"{step} || {{ echo '{what}'; exit 1; }}\n" for what, step in _IN_NAMESPACES.items())
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--propagation", "private"]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*command, "sh", "-c", script], cwd=folder, capture_output=True, text=True, check=False, timeout=60
        )
    if done.returncode:
        said = " ".join(done.stderr.split())
        return f"a real node needs namespaces of the kernel: {done.stdout.strip() or 'none can be made'} ({said})"
    try:
        for hierarchy in [_CGROUPS] if (_CGROUPS / "cgroup.controllers").exists() else [_CGROUPS / "memory"]:
            probe = hierarchy / f"recon3d-probe-{os.getpid()}"
            probe.mkdir()
            probe.rmdir()
    except OSError as error:
        return f"a real node needs control groups: {error}"
    return ""


def why_no_images() -> str:
    """Return why the images cannot be built here; nothing if they can."""
    if has_docker() or (os.geteuid() == 0 and shutil.which("buildah") and shutil.which("debootstrap")):
        return ""
    return "images need a Docker engine, or root, buildah and debootstrap"


def get_ready() -> dict[str, str]:
    """Get packages and programs; return the reasons for what cannot run, by what is needed for it."""
    if os.geteuid() == 0:
        for step in ("node", "images"):
            done = subprocess.run([ROOT / "requirements/system.sh", step], stdout=sys.stderr, check=False)
            if done.returncode:
                say(f"not all packages for a step ({step}) can be installed")
    found = left_out()
    wanted: dict[str, Callable[[], object]] = {"cluster": lambda: ensure((*PROGRAMS, "kubectl"))}
    if "node" not in found:
        wanted["node"] = lambda: ensure((*PROGRAMS, *NODE_PROGRAMS))
    for name in OF_TESTS:
        wanted[name] = lambda name=name: tool(name)  # type: ignore[misc]
    for need, get in wanted.items():
        try:
            get()
        except NoBinariesError as error:
            found[need] = str(error)
    return found


if __name__ == "__main__":
    reasons = get_ready()
    for need, why in reasons.items():
        say(f"LEFT OUT are the tests that need {need}: {why}")
    print(json.dumps(reasons))
