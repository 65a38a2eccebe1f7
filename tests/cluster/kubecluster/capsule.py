"""Namespaces of this kernel's in which a node lives: its own processes, mounts and network, gone the moment it ends.

A node's Pods are mounts, bridges, packet filters and processes that survive their kubelet. So the node has a first
process of its own that dies with us, however we die; with it the kernel takes everything else. Only control groups
outlive their processes: they carry the name of the run's folder, and the next run clears them (sweep).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kubecluster.binaries import cache_folder
from kubecluster.process import PREFIX, Program

_CGROUPS = Path("/sys/fs/cgroup")
_NETWORKS = 250
# What a kubelet would set for the whole machine; it finds it set already, and the machine is left as it is.
_KERNEL = {"vm/overcommit_memory": "1", "kernel/panic": "10", "kernel/panic_on_oops": "1"}


class CapsuleError(RuntimeError):
    """This machine, or this user, cannot have one."""


@dataclass(frozen=True)
class Capsule:
    """Running namespaces, tied to this machine by a network link."""

    folder: Path
    pid: int
    """Of the first process in there; with it, all others end."""
    host_address: str
    """Where Pods and the node reach this machine."""
    address: str
    """Where this machine reaches the node."""
    pod_subnet: str

    @property
    def cgroup(self) -> str:
        """The control group that holds the node."""
        return f"/{self.folder.name}"

    def command(self, *arguments: str | Path) -> list[str]:
        """Return the command that runs `arguments` in there."""
        return ["nsenter", "-t", str(self.pid), "-n", "-m", "-p", "--", *map(str, arguments)]

    def run(self, *arguments: str | Path) -> str:
        """Run a command in there; return what it wrote. Raises CapsuleError."""
        return _run(self.command(*arguments))

    def end(self) -> None:
        """End everything in there, as a loss of power does."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def pause_program() -> Path:
    """Return the program that only waits, statically linked; it is compiled once."""
    target = cache_folder() / "pause"
    if not target.is_file():
        if shutil.which("gcc") is None:
            raise CapsuleError("a node needs gcc and a static C library, once: apt-get install gcc libc6-dev")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as part:
            path = Path(part.name)
        _run(["gcc", "-Os", "-static", "-o", str(path), str(Path(__file__).with_name("pause.c"))])
        path.chmod(0o755)
        path.rename(target)
    return target


@contextlib.contextmanager
def capsule(folder: Path) -> Iterator[Capsule]:
    """Yield namespaces whose /var is `folder`/var; they and all that runs in them are gone afterwards."""
    sweep_cgroups()
    for place in ("var/lib", "var/log", "var/tmp", "var/cache", "var/lib/kubelet", "kernel"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    (folder / "var/run").symlink_to("/run")
    first = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    holder = Program("node", [*first, "--propagation", "private", pause_program()], folder / "node.log")
    try:
        pid = _first_process(holder)
        network = _link(pid)
        made = Capsule(folder, pid, f"10.213.{network}.1", f"10.213.{network}.2", f"10.214.{network}.0/24")
        _furnish(made, network)
        yield made
    finally:
        for pid in holder.children():
            os.kill(pid, signal.SIGKILL)
        holder.stop()
        _remove_cgroups(folder.name)


def _first_process(holder: Program) -> int:
    """Wait until the namespaces' first process is what it shall be; return its process id out here."""
    end = time.monotonic() + 10
    while time.monotonic() < end and holder.running():
        for child in holder.children():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/exe").resolve().name == "pause":
                    return child
        time.sleep(0.01)
    raise CapsuleError(f"namespaces cannot be made here (a node needs root): {holder.tail()}")


def _link(pid: int) -> int:
    """Tie the namespaces to this machine; return the number of the network, which nobody else has."""
    for number in range(_NETWORKS):
        with contextlib.suppress(CapsuleError):
            name = f"recon3d{number}"
            _run(["ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(pid)])
            _run(["ip", "address", "add", f"10.213.{number}.1/30", "dev", name])
            _run(["ip", "link", "set", name, "up"])
            return number
    raise CapsuleError("no network link can be made: is iproute2 installed, and may this user make one?")


def _furnish(made: Capsule, network: int) -> None:
    folder = made.folder
    steps = ["mount --make-rshared /", f"mount --bind {folder}/var /var", "mount -t tmpfs -o mode=755 tmpfs /run"]
    for name, value in _KERNEL.items():
        file = folder / "kernel" / name.replace("/", "-")
        file.write_text(f"{value}\n")
        steps.append(f"mount --bind {file} /proc/sys/{name}")
    steps += ["ip link set lo up", f"ip address add {made.address}/30 dev eth0", "ip link set eth0 up"]
    steps += [f"ip route add default via {made.host_address}", "echo 1 > /proc/sys/net/ipv4/ip_forward"]
    made.run("sh", "-ec", "\n".join(steps))
    _run(["ip", "route", "add", made.pod_subnet, "via", made.address, "dev", f"recon3d{network}"])
    for hierarchy in _hierarchies():
        (hierarchy / folder.name).mkdir(exist_ok=True)
        if hierarchy.name == "cpuset":  # a group of the first version has no processors until it is told
            for file in ("cpuset.cpus", "cpuset.mems"):
                (hierarchy / folder.name / file).write_text((hierarchy / file).read_text())
        # All of a node together would else count as much as one other process of this machine, and starve beside ten.
        for file, value in (("cpu.shares", "8192"), ("cpu.weight", "800")):
            if (hierarchy / folder.name / file).exists():
                (hierarchy / folder.name / file).write_text(value)


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise CapsuleError(f"{command[0]}: {error}") from error
    if done.returncode:
        raise CapsuleError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def _hierarchies() -> list[Path]:
    """Return the roots of the control groups: one, or one for each controller in the first version."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    return [path for path in sorted(_CGROUPS.iterdir()) if path.is_dir() and not path.is_symlink()]


def _remove_cgroups(name: str) -> None:
    """Remove the control groups of a node that is no more; its last processes may take a moment to go."""
    end = time.monotonic() + 10
    roots = [hierarchy / name for hierarchy in _hierarchies()]
    while any(root.exists() for root in roots) and time.monotonic() < end:
        for root in roots:
            for group in sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True):
                with contextlib.suppress(OSError):
                    group.rmdir()
            with contextlib.suppress(OSError):
                root.rmdir()
        time.sleep(0.02)


def sweep_cgroups() -> list[str]:
    """Remove the control groups of runs that were killed; return their names."""
    swept = []
    for name in sorted({path.name for hierarchy in _hierarchies() for path in hierarchy.glob(f"{PREFIX}*")}):
        lock = Path(tempfile.gettempdir()) / name / ".lock"
        with contextlib.suppress(BlockingIOError), contextlib.ExitStack() as stack:
            if lock.exists():
                fcntl.flock(stack.enter_context(lock.open()), fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_cgroups(name)
            swept.append(name)
    return swept
