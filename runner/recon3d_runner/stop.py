"""Why a run must stop: a signal or its time limit. The one place that owns signal handlers.

Standard library only, because the command line installs this before it imports anything slow: a SIGTERM in
the first second must already end the run as cancelled (as PID 1 of a container it would otherwise be lost).
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, TypeVar

T = TypeVar("T")

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def within(seconds: float, function: Callable[[], object]) -> bool:
    """Run function() in a thread for at most `seconds`; return whether it ended, well or with an error."""

    def body() -> None:
        with contextlib.suppress(Exception):
            function()

    thread = threading.Thread(target=body, name="recon3d-last", daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


class StoppedError(Exception):
    """The run has to end; `code` is CANCELLED or TIME_LIMIT_EXCEEDED of the contract's table."""

    def __init__(self, code: str, details: dict[str, object]) -> None:
        """Keep the contract's code, as its string, and which signal or limit it was."""
        super().__init__(code)
        self.code = code
        self.details = details


class Stop:
    """Notes SIGTERM, SIGINT and SIGHUP while entered, and a deadline; wakes whoever selects on `fd`.

    Handlers only note: nothing is raised from inside arbitrary code, so no file is ever left half written by
    an exception in the wrong place. Whoever waits, waits with `select` on `fd` and calls `check`.
    """

    def __init__(self) -> None:
        """Start without a time limit; handlers are installed by `with`."""
        self.signal: int | None = None
        self._limit: float | None = None
        self._deadline: float | None = None
        self._read = self._write = -1
        self._old: dict[int, Any] = {}
        self._old_wakeup = -1

    def __enter__(self) -> Stop:
        """Install the handlers; only the main thread can."""
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._old_wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in SIGNALS:
            # A run under nohup stays deaf to a closed terminal.
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
            self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the handlers back."""
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_wakeup)
        os.close(self._read)
        os.close(self._write)
        self._read = self._write = -1

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal = number

    @property
    def fd(self) -> int:
        """Readable once a signal has arrived; it stays readable."""
        return self._read

    def limit(self, seconds: float) -> None:
        """End the run `seconds` from now."""
        self._limit = seconds
        self._deadline = time.monotonic() + seconds

    def lift_limit(self) -> None:
        """Let what is being delivered be delivered; only a signal ends the run from now on."""
        self._deadline = None

    def remaining(self) -> float | None:
        """Seconds until the time limit, at least 0; None without one."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def check(self) -> None:
        """Raise StoppedError if the run has to end now; a signal goes before the time limit."""
        if self.signal is not None:
            raise StoppedError("CANCELLED", {"signal": signal.Signals(self.signal).name})
        if self.remaining() == 0.0:
            raise StoppedError("TIME_LIMIT_EXCEEDED", {"limit_s": self._limit})

    def call(self, function: Callable[[], T]) -> T:
        """Return function(), run in a thread that is left behind when the run has to end.

        For blocking work that is not ours to interrupt (a name look-up, a slow disk, a large archive).
        """
        self.check()
        box: list[T] = []
        errors: list[BaseException] = []
        done_read, done_write = os.pipe()

        def body() -> None:
            try:
                box.append(function())
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                errors.append(error)
            finally:
                with contextlib.suppress(OSError):
                    os.close(done_write)  # end of file wakes the waiter

        threading.Thread(target=body, name="recon3d-call", daemon=True).start()
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(done_read, selectors.EVENT_READ)
                selector.register(self.fd, selectors.EVENT_READ)
                while not any(key.fd == done_read for key, _ in selector.select(self.remaining())):
                    self.check()
        finally:
            os.close(done_read)
        if errors:
            raise errors[0]
        return box[0]
