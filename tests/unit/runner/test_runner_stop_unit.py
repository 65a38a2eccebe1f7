from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from recon3d_runner.stop import Stop, StoppedError, within


def test_a_call_returns_its_value_or_raises_its_error() -> None:
    with Stop() as stop:
        assert stop.call(lambda: 7) == 7
        with pytest.raises(KeyError):
            stop.call(lambda: {}["missing"])


def test_a_signal_ends_a_call_that_never_returns() -> None:
    with Stop() as stop:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        begun = time.monotonic()
        with pytest.raises(StoppedError) as told:
            stop.call(lambda: time.sleep(30))
        assert time.monotonic() - begun < 1.0
        assert (told.value.code, told.value.details) == ("CANCELLED", {"signal": "SIGTERM"})


def test_the_limit_ends_a_call_and_can_be_lifted() -> None:
    with Stop() as stop:
        stop.limit(0.1)
        with pytest.raises(StoppedError) as told:
            stop.call(lambda: time.sleep(30))
        assert told.value.code == "TIME_LIMIT_EXCEEDED"
        stop.lift_limit()
        assert stop.call(lambda: 1) == 1


def test_a_signal_goes_before_the_limit() -> None:
    with Stop() as stop:
        stop.limit(0.0)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(StoppedError) as told:
            stop.check()
        assert told.value.code == "CANCELLED"


def test_handlers_are_given_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    with Stop():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)] == before


def test_a_run_under_nohup_survives_a_closed_terminal() -> None:
    code = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from recon3d_runner.stop import Stop\n"
        "with Stop() as stop:\n    signal.raise_signal(signal.SIGHUP); stop.check(); print('alive')"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "alive\n"


def test_within_tells_whether_it_ended() -> None:
    assert within(1.0, lambda: None)
    assert within(1.0, lambda: 1 / 0)
    assert not within(0.05, lambda: time.sleep(5))
