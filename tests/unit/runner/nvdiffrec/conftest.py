"""Shares the scene tests' drawn objects and pictures; views here are exact, so that each stage is judged alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scene"))

import drawn_objects
from drawn_scenes import Pictures, Recorder, photograph

OBJECTS = {
    "blob": drawn_objects.blob,
    "torus": drawn_objects.torus,
    "l_block": drawn_objects.l_block,
    "sheet": lambda: drawn_objects.sheet(0.08),
    "box": drawn_objects.box,
    "soft_box": lambda: drawn_objects.soft_box((1.0, 0.8, 0.6), 0.06),
    "sphere": drawn_objects.sphere,
}


@cache
def _taken(name: str, depth: bool, size: int) -> tuple[drawn_objects.Drawn, Pictures]:
    thing = OBJECTS[name]()
    return thing, photograph(thing, size=size, encoding="black-near" if depth else None, bits=16)


@pytest.fixture
def taken() -> Callable[..., tuple[drawn_objects.Drawn, Pictures]]:
    """A drawn object and its six exact views, made once for all tests."""

    def make(name: str, *, depth: bool = True, size: int = 256) -> tuple[drawn_objects.Drawn, Pictures]:
        return _taken(name, depth, size)

    return make


@pytest.fixture
def run() -> Recorder:
    return Recorder()
