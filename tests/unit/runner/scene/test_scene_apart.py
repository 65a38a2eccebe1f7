"""A scene that another process makes is the one that this process would have made, and its end is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_objects import blob, sphere
from drawn_scenes import Pictures, Recorder, photograph
from recon3d_contract.errors import Code, Recon3dError
from recon3d_runner.apart import Apart, receive, send
from recon3d_runner.child import EVENTS_FD
from recon3d_runner.delivery import error_of_event
from recon3d_runner.scene.assemble import Scene

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory files are Linux's")


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """A supervisor's end of the pipe: what came, read once."""
    read, write = os.pipe()
    monkeypatch.setenv(EVENTS_FD, str(write))

    def come() -> list[dict[str, Any]]:
        os.close(write)
        with os.fdopen(read) as file:
            return [json.loads(line) for line in file]

    yield come
    for fd in (read, write):
        try:
            os.close(fd)
        except OSError:
            continue


def test_arrays_come_through_memory_as_they_are() -> None:
    rng = np.random.default_rng(0)
    sent = {
        "plain": [1, "two", None],
        "arrays": [
            rng.random((7, 5)),
            np.empty((0, 3)),
            rng.integers(0, 9, 1000, np.uint8),
            np.arange(12).reshape(3, 4).T,
        ],
    }
    memory = os.memfd_create("test")
    send(memory, sent)
    got = receive(memory)
    assert got["plain"] == sent["plain"]
    for ours, theirs in zip(got["arrays"], sent["arrays"], strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
        ours += 1  # nobody else's: it may be worked on
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(memory)


def test_another_process_makes_the_same_scene(
    calibrated: Callable[..., tuple[Scene, Recorder]], tmp_path: Path, events: Callable[[], list[dict[str, Any]]]
) -> None:
    pictures = photograph(sphere(4), fov=30)  # which calibration warns of
    expected, run = calibrated(pictures)
    apart = Apart()
    apart.ask({"input_dir": str(tmp_path / "in"), "spec": {}})
    answer = apart.answer()
    found: Scene = answer["scene"]
    assert found.calibration == expected.calibration
    for ours, theirs in zip(found.views, expected.views, strict=True):
        assert (ours.name, ours.depth_step, ours.camera.fov_deg) == (
            theirs.name,
            theirs.depth_step,
            theirs.camera.fov_deg,
        )
        for name in ("rgb", "alpha", "depth"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    assert [(warning["code"], warning["message"]) for warning in answer["warnings"]] == run.warnings
    assert list(answer["seconds"]) == run.stages
    told = events()
    assert [event["name"] for event in told if event["event"] == "stage"] == run.stages
    assert [event["code"] for event in told if event["event"] == "warning"] == [code for code, _ in run.warnings]


def test_views_of_two_objects_are_refused_by_the_other_process_too(
    tmp_path: Path, events: Callable[[], list[dict[str, Any]]]
) -> None:
    one, two = photograph(blob()), photograph(sphere(4))
    mixed = Pictures(
        one.setup, one.truth, one.colours | {"top": two.colours["top"]}, one.depths | {"top": two.depths["top"]}
    )
    apart = Apart()
    apart.ask({"input_dir": str(mixed.write(tmp_path / "in")), "spec": {}})
    answer = apart.answer()
    assert error_of_event(answer["error"]).code is Code.INCONSISTENT_VIEWS
    assert not [event for event in events() if event["event"] == "error"]  # the worker tells it, once


@pytest.mark.parametrize(("number", "error"), [(signal.SIGKILL, MemoryError), (signal.SIGSEGV, Recon3dError)])
def test_a_process_that_is_killed_is_told_from_one_that_crashed(
    monkeypatch: pytest.MonkeyPatch, events: Callable[[], list[dict[str, Any]]], number: int, error: type[Exception]
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def popen(*args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        started.append(real(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    apart = Apart()
    started[0].send_signal(number)
    with pytest.raises(error):
        apart.answer()
    assert events() == []
