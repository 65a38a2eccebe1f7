"""The scene from a process of its own, while this one loads what a GPU needs.

To import torch takes seconds, and so do the libraries that the scene needs: within one process they, and all that the
scene computes, would take turns at the interpreter's lock. The scene comes back through memory that both processes map.
The other's events go straight to the supervisor.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import Any, Final

from recon3d_contract.errors import Code, Recon3dError

from recon3d_runner.child import EVENTS_FD, SUPERVISOR_PID

COMMAND: Final = (sys.executable, "-X", "faulthandler", "-m", "recon3d_runner.scene_worker")
_ALIGNED: Final = 64
_LENGTH: Final = 8


class Apart:
    """The process. It imports at once, and computes when it is asked; it ends with this one."""

    def __init__(self) -> None:
        """Start it; to be called by a thread that stays, since the process ends with that thread."""
        self._memory = os.memfd_create("scene")
        self._process = subprocess.Popen(
            [*COMMAND, str(self._memory)],
            stdin=subprocess.PIPE,
            env={**os.environ, SUPERVISOR_PID: str(os.getpid())},
            pass_fds=(self._memory, int(os.environ[EVENTS_FD])),
        )

    def ask(self, request: Mapping[str, Any]) -> None:
        """Give it what it is to do."""
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101 - Popen was given PIPE
        with contextlib.suppress(BrokenPipeError):  # its end will say why
            stdin.write(json.dumps(request).encode())
            stdin.close()

    def answer(self) -> Any:
        """What the process gave to `send`. MemoryError where it was killed, INTERNAL where it ended otherwise."""
        with self._process as process:
            code = process.wait()
        if code:
            os.close(self._memory)
        if code == -signal.SIGKILL:
            raise MemoryError("the scene's process was killed")
        if code:
            raise Recon3dError(Code.INTERNAL, "The scene's process ended without an answer.", {"exit_code": code})
        return receive(self._memory)


def send(memory: int, value: object) -> None:
    """Write `value` to the file `memory`, the contents of its arrays side by side."""
    buffers: list[pickle.PickleBuffer] = []
    plain = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    contents = [buffer.raw() for buffer in buffers]
    head = pickle.dumps((plain, [content.nbytes for content in contents]))
    os.pwrite(memory, len(head).to_bytes(_LENGTH, "little") + head, 0)
    with ThreadPoolExecutor() as pool:
        list(pool.map(os.pwrite, [memory] * len(contents), contents, _places(len(head), (c.nbytes for c in contents))))


def receive(memory: int) -> Any:
    """What `send` wrote to `memory`; its arrays are that memory, which is closed here."""
    with os.fdopen(memory, "rb+") as file:
        mapped = memoryview(mmap.mmap(file.fileno(), 0))
    length = int.from_bytes(mapped[:_LENGTH], "little")
    plain, sizes = pickle.loads(mapped[_LENGTH : _LENGTH + length])  # noqa: S301 - written by our own process
    buffers = [mapped[at : at + size] for at, size in zip(_places(length, sizes), sizes, strict=True)]
    return pickle.loads(plain, buffers=buffers)  # noqa: S301 - the same


def _places(head: int, sizes: Iterable[int]) -> list[int]:
    """Where contents of so many bytes begin, behind a head of so many."""

    def aligned(number: int) -> int:
        return -(-number // _ALIGNED) * _ALIGNED

    return list(accumulate((aligned(size) for size in sizes), initial=aligned(_LENGTH + head)))[:-1]
