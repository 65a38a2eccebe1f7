"""An engine's process that waits for its request: it gets one, or ends with all that it started."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from recon3d_runner.child import Child, Event
from recon3d_runner.runlog import RunLog
from recon3d_runner.stop import Stop

ECHO = (
    "import os, sys; os.write(int(os.environ['RECON3D_EVENTS_FD']), b'{\"event\": \"%d\"}\\n' % len(sys.stdin.read()))"
)
FORKED = "import os, sys; fd = os.open('alive', os.O_WRONLY); os.fork(); os.write(fd, b'.'); sys.stdin.read()"


@pytest.fixture
def stop() -> Iterator[Stop]:
    with Stop() as made:
        yield made


def started(tmp_path: Path, code: str) -> Child:
    return Child([sys.executable, "-c", code], tmp_path, os.environ)


def test_a_request_that_no_pipe_holds_is_handed_over(tmp_path: Path, stop: Stop) -> None:
    events: list[Event] = []
    child = started(tmp_path, ECHO)
    ended = child.run("x" * 1_000_000, stop=stop, log=RunLog(), on_event=events.append)
    assert (ended.code, events) == (0, [{"event": "1000000"}])
    child.end()  # nothing


def test_a_process_that_ended_before_its_request_says_why_by_its_exit(tmp_path: Path, stop: Stop) -> None:
    child = started(tmp_path, "raise SystemExit(3)")
    ended = child.run("x" * 1_000_000, stop=stop, log=RunLog(), on_event=lambda _: None)
    assert ended.code == 3


def test_a_process_that_is_not_needed_ends_with_what_it_started(tmp_path: Path) -> None:
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)
    child = started(tmp_path, FORKED)
    with fifo.open("rb") as file:  # both hold it open for as long as they live
        assert file.read(2) == b".."
        child.end()
        assert file.read() == b""
