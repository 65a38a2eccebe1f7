"""Child processes that cannot outlive this one, and folders that the next run clears if this one is killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

PREFIX = "recon3d-cluster-"
DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
"""Debian's util-linux: the kernel ends the program when we die, however we die. Not Python's preexec_fn: that runs
Python between fork and exec, which crashed there once gRPC's threads were about."""


class Program:
    """One running program; its output goes to a file."""

    def __init__(
        self, name: str, command: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log
        self._command = [*DIES_WITH_US, *(str(part) for part in command)]
        self._env = {**os.environ, **env} if env else None
        self._process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as file:
            return subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=self._env
            )

    def restart(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it with the signal, and start it again as it was."""
        self.stop(number)
        self._process = self._started()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def running(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def tail(self, size: int = 3000) -> str:
        """Return the end of its output."""
        return self.log.read_bytes()[-size:].decode(errors="replace")

    def children(self) -> list[int]:
        """Return the process ids of what it started itself."""
        with contextlib.suppress(OSError):
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        return []

    def stop(self, number: signal.Signals = signal.SIGTERM, grace: float = 10.0) -> int:
        """End it: ask with the signal, then kill; return its exit status."""
        if self.running():
            self._process.send_signal(number)
            try:
                return self._process.wait(grace)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait()


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that were free a moment ago, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


@contextlib.contextmanager
def own_folder() -> Iterator[Path]:
    """Yield a new folder that is removed at the end; clear those of runs that were killed."""
    sweep()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def sweep() -> list[Path]:
    """Remove the folders of runs that are no more; return them."""
    removed = []
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), (folder / ".lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder)
    return removed
