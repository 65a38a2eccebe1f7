"""Everything here starts real processes and real sockets; only the engine inside its process is a stand-in."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


helpers = _load("runner_helpers")
pods = _load("runner_pods")
servers = _load("progress_server")


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Any]:
    running = helpers.Runner(tmp_path)
    yield running
    running.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return Path(helpers.make_input(tmp_path / "source"))


@pytest.fixture
def progress_server(tmp_path: Path) -> Iterator[Any]:
    """Start servers of a given behaviour."""
    started = []
    certificate, key = servers.make_certificate(tmp_path)

    def start(behaviour: str) -> Any:
        started.append(servers.Server(behaviour, certificate, key))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
def pod(runner: Any, source: Path, tmp_path: Path) -> Any:
    """A Pod with an empty store."""
    return pods.Pod(runner, source, tmp_path)
