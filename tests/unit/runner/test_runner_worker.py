"""The driver of an engine's stages, over a real pipe."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from recon3d_contract.errors import Code, Recon3dError
from recon3d_runner import worker
from recon3d_runner.engines.device import Choice
from recon3d_runner.worker import Events, PipeRun, check_passes


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Wire:
    """A pipe with an engine's driver at one end."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()
        self.clock = Clock()
        self.run = PipeRun(Events(self.write), self.clock)

    def events(self) -> list[dict[str, Any]]:
        os.close(self.write)
        with os.fdopen(self.read) as file:
            return [json.loads(line) for line in file]


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    for fd in (made.read, made.write):
        try:
            os.close(fd)
        except OSError:
            continue


def test_a_stage_is_announced_timed_and_finished(wire: Wire) -> None:
    with wire.run.stage("geometry"):
        wire.clock.now += 1.0
        wire.run.tick(0.5, iteration=5, total=10, loss=0.125)
        wire.clock.now += 1.5
    assert wire.run.seconds == {"geometry": 2.5}
    assert wire.events() == [
        {"event": "stage", "name": "geometry"},
        {"event": "progress", "stage": "geometry", "fraction": 0.5, "iteration": 5, "total": 10, "loss": 0.125},
        {"event": "progress", "stage": "geometry", "fraction": 1.0},
    ]


def test_a_stage_that_fails_is_not_one_that_ran(wire: Wire) -> None:
    with pytest.raises(ZeroDivisionError), wire.run.stage("texture"):
        raise ZeroDivisionError
    assert wire.run.seconds == {}
    assert wire.events() == [{"event": "stage", "name": "texture"}]


def test_a_stage_that_the_contract_does_not_have_is_a_defect(wire: Wire) -> None:
    with pytest.raises(ValueError, match="polish"), wire.run.stage("polish"):
        pass


def test_a_thousand_ticks_a_second_are_few_events_and_the_last_is_one(wire: Wire) -> None:
    with wire.run.stage("geometry"):
        for iteration in range(1, 1001):
            wire.clock.now += 0.001
            wire.run.tick(iteration / 1000, iteration=iteration, total=1000)
    iterations = [event["iteration"] for event in wire.events() if "iteration" in event]
    assert 15 <= len(iterations) <= 22
    assert iterations[-1] == 1000


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_ends_the_stage(wire: Wire, loss: float) -> None:
    with pytest.raises(FloatingPointError, match="geometry"), wire.run.stage("geometry"):
        wire.run.tick(0.1, loss=loss)


def test_a_warning_is_told_once(wire: Wire) -> None:
    for _ in range(3):
        wire.run.warn("odd", "The views look odd.")
    assert wire.run.warnings == [{"code": "odd", "message": "The views look odd."}]
    assert wire.events() == [{"event": "warning", "code": "odd", "message": "The views look odd."}]


def test_an_engine_without_a_supervisor_ends(wire: Wire) -> None:
    os.close(wire.read)
    with pytest.raises(SystemExit), wire.run.stage("load"):
        pass


def test_a_run_without_one_of_its_passes_is_not_complete() -> None:
    check_passes("nvdiffrec", {"geometry": 1.0, "texture": 0.0, "load": 2.0})
    for seconds in ({}, {"geometry": 1.0}, {"texture": 1.0}):
        with pytest.raises(Recon3dError) as told:
            check_passes("nvdiffrec", seconds)
        assert told.value.code is Code.INTERNAL
        assert set(told.value.details["missing"]) == {"geometry", "texture"} - seconds.keys()


class Reconstructed(Exception):
    """The end of the part of a run that is looked at."""


@pytest.mark.parametrize(
    ("device", "order"), [("cpu", ["device", "pipeline"]), ("auto", ["torch", "device", "ready", "pipeline"])]
)
def test_torch_loads_first_and_another_process_makes_the_scene_meanwhile(
    wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, order: list[str]
) -> None:
    loaded: list[str] = []
    asked: list[Any] = []
    scenes: list[Any] = []

    def reconstruct(request: Any, run: Any, *begun: Any) -> None:
        scenes.extend(future.result() for future in begun)
        raise Reconstructed

    def load(name: str) -> Any:
        loaded.append(name.rpartition(".")[2])
        return SimpleNamespace(
            choose=lambda *_: Choice("cpu", "a processor"),
            open_device=lambda device: f"a rasteriser on {device}",
            READY="ready",
            reconstruct=reconstruct,
        )

    class Other:
        def __init__(self) -> None:
            assert loaded == []

        def ask(self, request: Any) -> None:
            asked.append(request["input_dir"])

        def answer(self) -> Any:
            return {"scene": "the scene", "seconds": {"load": 1.5}, "warnings": [{"code": "odd", "message": "Odd."}]}

    found = SimpleNamespace(find_spec=lambda name: name)
    monkeypatch.setattr(worker, "importlib", SimpleNamespace(import_module=load, util=found))
    monkeypatch.setattr(worker, "Apart", Other)
    raw = {"spec": {"input": {"path": "."}}, "input_dir": str(tmp_path), "out_dir": str(tmp_path), "manifest": {}}
    with pytest.raises(Reconstructed):
        worker.work("nvdiffrec", device, lambda: raw, Events(wire.write))
    assert loaded == order
    assert (asked, scenes) == (([], []) if device == "cpu" else ([str(tmp_path)], ["the scene", "a rasteriser on cpu"]))
    assert [event["code"] for event in wire.events()] == ([] if device == "cpu" else ["odd"])
