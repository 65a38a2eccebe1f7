from __future__ import annotations

import io
import json
import math

import pytest
from recon3d_contract.stages import STAGES
from recon3d_runner.progress import JsonLines, PlainLines, Progress, Snapshot, Throttle, describe, duration


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Recorder:
    def __init__(self) -> None:
        self.seen: list[Snapshot] = []

    def update(self, snapshot: Snapshot) -> None:
        self.seen.append(snapshot)

    def notice(self, code: str, message: str) -> None:
        pass

    def close(self) -> None:
        pass


class Broken(Recorder):
    def update(self, snapshot: Snapshot) -> None:
        raise BrokenPipeError


def test_percent_never_falls_whatever_the_engines_say() -> None:
    recorder = Recorder()
    progress = Progress([recorder])
    for index, engine in enumerate(("nvdiffrec", "reconviagen")):
        progress.engine(engine, index, 2)
        for stage in (*STAGES, "load", "no such stage", "texture"):
            progress.stage(stage)
            for fraction in (0.5, 0.2, -3.0, 7.0, math.nan):
                progress.tick(stage, fraction)
    progress.finished()
    percents = [snapshot.percent for snapshot in recorder.seen]
    assert percents == sorted(percents)
    assert percents[-1] == 100.0
    assert all(0.0 <= value <= 100.0 for value in percents)
    # The first engine's end is the job's half.
    assert max(s.percent for s in recorder.seen if s.engine == "nvdiffrec") == 50.0


def test_the_second_engine_starts_at_half_after_the_first_failed_early() -> None:
    progress = Progress()
    progress.engine("nvdiffrec", 0, 2)
    progress.stage("masks")
    progress.engine("reconviagen", 1, 2)
    assert progress.snapshot.percent == 50.0


def test_eta_is_extrapolated_once_something_is_known() -> None:
    clock = Clock()
    progress = Progress(clock=clock)
    progress.engine("nvdiffrec", 0, 1)
    clock.now = 10.0
    progress.tick("load", 1.0)
    assert progress.snapshot.eta_s is None  # 1 % says nothing yet
    progress.tick("fuse", 1.0)
    assert progress.snapshot.percent == 46.0
    assert progress.snapshot.eta_s == pytest.approx(10 * 54 / 46, abs=0.1)


def test_a_loss_that_is_not_a_number_is_not_shown() -> None:
    progress = Progress()
    progress.engine("nvdiffrec", 0, 1)
    progress.tick("geometry", 0.5, 3, 10, math.inf)
    assert progress.snapshot.loss is None
    assert json.loads(json.dumps(progress.snapshot.to_dict(), allow_nan=False))["iteration"] == 3


def test_a_watcher_that_fails_is_dropped_and_the_others_go_on() -> None:
    recorder = Recorder()
    progress = Progress([Broken(), recorder])
    progress.engine("nvdiffrec", 0, 1)
    progress.stage("load")
    assert [snapshot.stage for snapshot in recorder.seen] == ["start", "load"]


def test_throttle_passes_new_stages_and_the_end_at_once() -> None:
    clock = Clock()
    due = Throttle(1.0, clock)
    assert due(Snapshot("load", 1.0))
    assert not due(Snapshot("load", 2.0))
    assert due(Snapshot("masks", 2.0))
    clock.now = 1.5
    assert due(Snapshot("masks", 3.0))
    assert due(Snapshot("masks", 100.0))
    clock.now = 9.0
    assert not due(Snapshot("masks", 100.0))


def test_lines_for_machines_and_for_logs() -> None:
    machine, log = io.StringIO(), io.StringIO()
    snapshot = Snapshot("geometry", 42.5, "nvdiffrec", 120, 300, 0.01234, 65.0)
    JsonLines(machine).update(snapshot)
    PlainLines(log).update(snapshot)
    assert json.loads(machine.getvalue()) == {
        "event": "progress",
        "stage": "geometry",
        "percent": 42.5,
        "engine": "nvdiffrec",
        "iteration": 120,
        "total": 300,
        "loss": 0.01234,
        "eta_s": 65.0,
    }
    assert log.getvalue() == " 42.5 %  nvdiffrec: geometry  120/300  loss 0.01234  about 1 min 05 s left\n"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (3720, "1 h 02 min")])
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_finished_job_shows_no_time_left() -> None:
    assert describe(Snapshot("report", 100.0, "nvdiffrec", eta_s=0.0)) == "100.0 %  nvdiffrec: report"
