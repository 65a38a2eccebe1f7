"""Worlds in memory (kubecluster.world): only the cluster is replaced, the controller is the real one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubecluster.world import World
from recon3d_operator.settings import Settings


@pytest.fixture
def make_world() -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(**changes: Any) -> World:
        settings = Settings(**{"runner_image": "registry.example/runner:1", "store": "pvc:results", **changes})
        worlds.append(World(settings))
        return worlds[-1]

    yield make
    for world in worlds:
        world.loop.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """A world with one GPU in the quota."""
    made = make_world()
    made.quota(1)
    return made


@pytest.fixture
def environment_of() -> Callable[[dict[str, Any]], dict[str, str]]:
    """The runner's environment as its process sees it: Kubernetes turns $$ into $."""

    def read(pod: dict[str, Any]) -> dict[str, str]:
        return {each["name"]: each["value"].replace("$$", "$") for each in pod["spec"]["containers"][0]["env"]}

    return read


@pytest.fixture
def json_of() -> Callable[[str], Any]:
    return json.loads
