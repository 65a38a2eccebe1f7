"""One engine's process: started, given its request, listened to, and ended at once when the run has to stop.

The child leads its own process group, so that whatever it starts ends with it, and binds its life to ours
(`bind_to_parent`, called by the child itself: a fork hook would not be safe beside our threads). Events come as JSON
lines through a pipe of their own; standard output and error go to run.log.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recon3d_runner import kernels, provenance
from recon3d_runner.runlog import RunLog
from recon3d_runner.stop import Stop, StoppedError

Event = dict[str, Any]

EVENTS_FD: Final = "RECON3D_EVENTS_FD"
SUPERVISOR_PID: Final = "RECON3D_SUPERVISOR_PID"
_WITHHELD: Final = frozenset({"RECON3D_TOKEN", "RECON3D_JOB", "RECON3D_PROGRESS_URL", "RECON3D_CA"})
_PR_SET_PDEATHSIG: Final = 1
_POLL_S: Final = 0.25
_DRAIN_S: Final = 0.5
_MAX_EVENT: Final = 4_000_000


def bind_to_parent() -> None:
    """Die with the supervisor, however it ends, and be the first to go when memory runs out. Called by the child."""
    parent = os.environ.get(SUPERVISOR_PID, "")
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("800")
    # The parent may have died before the line above took effect.
    if parent.isdigit() and os.getppid() != int(parent):
        os.kill(os.getpid(), signal.SIGKILL)


def surroundings(environment: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """Return the environment of an engine's process that keeps its own files in `scratch`."""
    kept = {key: value for key, value in environment.items() if key not in _WITHHELD}
    threads = str(provenance.threads(kept))
    kept |= kernels.cache(kept, scratch)
    return {
        "OMP_NUM_THREADS": threads,
        "NUMBA_NUM_THREADS": threads,
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it cuBLAS may choose differently each time
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # images come in pages of 2 MB, not in thousands of small ones
        **kept,
        "PYTHONHASHSEED": "0",
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(scratch),
    }


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """While libraries load nothing becomes garbage, and looking for it takes a twentieth of the time."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


def memory_kills() -> int | None:
    """Return how many processes this machine has killed for want of memory; None where it does not say."""
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return None


@dataclass(frozen=True)
class Exit:
    """How the child ended, not by our hand."""

    code: int
    """Exit status; negative is the signal that ended it."""
    memory_kills: int | None
    """Processes that the machine killed for want of memory while the child ran; None where it does not say."""


class _Lines:
    """Complete lines out of a stream that comes in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()[-_MAX_EVENT:]
        return lines


class Child:
    """An engine's process, started before it is known what it is to do: to load its libraries takes seconds."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        """Start `command` in `folder`. Raises OSError."""
        self._memory_kills = memory_kills()
        self._events, write = os.pipe()
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**environment, EVENTS_FD: str(write), SUPERVISOR_PID: str(os.getpid())},
                pass_fds=(write,),
                start_new_session=True,
            )
        except OSError:
            os.close(self._events)
            raise
        finally:
            os.close(write)

    def run(self, request: str, *, stop: Stop, log: RunLog, on_event: Callable[[Event], None]) -> Exit:
        """Hand over `request` and listen until the process ends.

        Raises StoppedError when the run has to end; the whole process group is killed first. An event that is not a
        JSON object is logged and skipped.
        """
        try:
            stop.call(lambda: self._tell(request))
            code = _listen(self._process, self._events, stop, log, on_event)
        finally:
            self.end()
            log.flush()
        after = memory_kills()
        return Exit(code, None if self._memory_kills is None or after is None else after - self._memory_kills)

    def _tell(self, request: str) -> None:
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101 - Popen was given PIPE
        with contextlib.suppress(BrokenPipeError):  # one that has ended already says why as any other
            stdin.write(request.encode())
            stdin.close()

    def end(self) -> None:
        """End the process and all that it started; nothing happens where it has ended."""
        if self._process.stdout is None or self._process.stdout.closed:
            return
        if self._process.returncode is None:
            _kill_group(self._process.pid)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)  # one stuck in the kernel is left to it
        os.close(self._events)
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if stream is not None:
                    stream.close()


def _listen(
    process: subprocess.Popen[bytes], events: int, stop: Stop, log: RunLog, on_event: Callable[[Event], None]
) -> int:
    assert process.stdout is not None  # noqa: S101 - Popen was given PIPE
    output = process.stdout.fileno()
    lines = _Lines()
    open_fds = {events, output}
    ended_at: float | None = None
    with selectors.DefaultSelector() as selector:
        for fd in (events, output, stop.fd):
            selector.register(fd, selectors.EVENT_READ)
        # After the exit both pipes are read to their end; a grandchild that keeps one open does not hold us.
        while ended_at is None or (open_fds and time.monotonic() - ended_at < _DRAIN_S):
            remaining = stop.remaining()
            ready = selector.select(_POLL_S if remaining is None else min(_POLL_S, remaining))
            if ended_at is None:
                stop.check()
            for key, _ in ready:
                if key.fd not in open_fds:
                    continue
                data = os.read(key.fd, 65_536)
                if not data:
                    selector.unregister(key.fd)
                    open_fds.discard(key.fd)
                elif key.fd == output:
                    log.feed(data)
                else:
                    for line in lines.feed(data):
                        _dispatch(line, log, on_event)
            if ended_at is None and _has_exited(process.pid):
                ended_at = time.monotonic()
                # Not yet reaped: its group still is its own, so nobody else's can be hit.
                _kill_group(process.pid)
    return process.wait()


def _dispatch(line: bytes, log: RunLog, on_event: Callable[[Event], None]) -> None:
    if not line.strip():
        return
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if isinstance(event, dict) and isinstance(event.get("event"), str):
        on_event(event)
    else:
        log.line(f"not an event: {line[:200]!r}")


def _has_exited(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


__all__ = ["Child", "Event", "Exit", "StoppedError", "bind_to_parent", "loading", "memory_kills", "surroundings"]
