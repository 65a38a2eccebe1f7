"""Everything here starts real processes and real sockets; only the engine inside its process is a stand-in."""

from __future__ import annotations

import importlib.util
import subprocess
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


@pytest.fixture
def small_disk() -> Iterator[Any]:
    """A SmallDisk, whose disks are gone afterwards."""
    mounted: list[Path] = []

    def mount(folder: Path, size: str) -> Path:
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"a tmpfs cannot be mounted here (needs root): {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)
