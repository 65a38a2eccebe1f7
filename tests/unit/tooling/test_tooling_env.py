"""requirements/env.sh and system.sh, run for real on an empty requirements file, and how they fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ENV, SYSTEM = ROOT / "requirements/env.sh", ROOT / "requirements/system.sh"


def run(script: Path, *arguments: object, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Return exit status and all output."""
    done = subprocess.run(
        [shutil.which("bash") or "bash", str(script), *map(str, arguments)],
        env=dict(environment or os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=100,
    )
    return done.returncode, done.stdout


def stub(folder: Path, name: str, text: str) -> Path:
    """Write an executable script."""
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    path = tmp_path / "none.txt"
    path.write_text("# nothing\n")
    return path


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH with the shell's everyday programs and a user who is not root."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("bash", "cat", "cut", "dirname", "grep", "sha256sum", "rm"):
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    stub(folder, "id", "#!/bin/sh\necho 1000\n")
    return folder


def test_an_environment_is_made_once_and_again_when_its_pins_change(tmp_path: Path, requirements: Path) -> None:
    target = tmp_path / "env"
    environment = {**os.environ, "PYTHON": sys.executable}
    status, first = run(ENV, target, requirements, environment=environment)
    assert status == 0, first
    assert (target / "bin/python").exists()
    assert "is ready" in first
    assert run(ENV, target, requirements, environment=environment) == (0, "")
    requirements.write_text("# something else\n")
    assert "is ready" in run(ENV, target, requirements, environment=environment)[1]


def test_a_python_that_is_too_old_is_named(tmp_path: Path, requirements: Path, tools: Path) -> None:
    stub(tools, "python3", '#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 || exit 1\n')
    environment = {"PATH": str(tools), "HOME": str(tmp_path)}
    status, output = run(ENV, tmp_path / "env", requirements, environment=environment)
    assert status == 1
    assert "Python 3.11 to 3.14 is needed, found Python 3.9.2" in output
    assert "apt-get install python3 python3-venv" in output
    assert not (tmp_path / "env").exists()


def test_a_debian_python_without_venv_is_named(tmp_path: Path, requirements: Path, tools: Path) -> None:
    # As Debian ships it: everything is there but the module that venv brings pip with.
    stub(
        tools,
        "python3",
        f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; esac\nexec "{sys.executable}" "$@"\n',
    )
    environment = {"PATH": str(tools), "HOME": str(tmp_path)}
    status, output = run(ENV, tmp_path / "env", requirements, environment=environment)
    assert status == 1
    assert f"sudo apt-get install python3.{sys.version_info[1]}-venv" in output


def test_a_chosen_python_must_fit(tmp_path: Path, requirements: Path) -> None:
    environment = {**os.environ, "PYTHON": str(stub(tmp_path, "python", "#!/bin/sh\nexit 1\n"))}
    status, output = run(ENV, tmp_path / "env", requirements, environment=environment)
    assert status == 1
    assert "is not a Python 3.11 to 3.14" in output


@pytest.mark.parametrize(("group", "package"), [("test", "chromium"), ("blender", "libxkbcommon0")])
def test_missing_system_packages_are_named(tmp_path: Path, tools: Path, group: str, package: str) -> None:
    stub(tools, "ldconfig", "#!/bin/sh\necho libGL.so.1\n")
    status, output = run(SYSTEM, group, environment={"PATH": str(tools), "HOME": str(tmp_path)})
    assert status == 1
    named = output.split("apt-get install", 1)[1].split()
    assert package in named
    assert "libgomp1" in named
    assert "libgl1" not in named


def test_nothing_is_installed_when_all_is_there(tmp_path: Path, tools: Path) -> None:
    libraries = "libGL.so.1 libgomp.so.1 libX11.so.6 libusb-1.0.so.0"
    stub(tools, "ldconfig", f"#!/bin/sh\necho {libraries}\n")
    stub(tools, "google-chrome", "#!/bin/sh\n")
    assert run(SYSTEM, "test", environment={"PATH": str(tools), "HOME": str(tmp_path)}) == (0, "")
