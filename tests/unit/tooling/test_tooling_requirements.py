"""The pinned requirements: complete, hashed, and silent about where they were resolved."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PINNED = sorted((ROOT / "requirements").glob("*.txt"))
ALL = sorted(path for path in (ROOT / "requirements").iterdir() if path.suffix in {".txt", ".in"})
SECTION = re.compile(r"^\[project\.optional-dependencies\]\n(.*?)^\[", re.MULTILINE | re.DOTALL)


def packages(path: Path) -> dict[str, list[str]]:
    """Return the pinned versions of each package in a requirements file."""
    found: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([a-z0-9-]+)==([^\s\\;]+)", path.read_text(), re.MULTILINE):
        found.setdefault(name, []).append(version)
    return found


def test_there_are_requirements_for_every_environment() -> None:
    images = ["build.txt", "operator.txt", "runner-cpu.txt", "runner-nvdiffrec.txt", "runner-reconviagen.txt"]
    assert [path.name for path in PINNED] == sorted(["blender.txt", "dev.txt", "uv.txt", *images])


def test_an_image_has_the_versions_that_are_tested() -> None:
    tested = packages(ROOT / "requirements/dev.txt")
    for name in ("operator", "runner-cpu", "runner-nvdiffrec"):
        pinned = packages(ROOT / f"requirements/{name}.txt")
        assert not {package for package, versions in pinned.items() if set(versions) - set(tested[package])}


def test_the_image_for_cpus_has_no_torch() -> None:
    assert "torch" not in packages(ROOT / "requirements/runner-cpu.txt")
    assert "torch" in packages(ROOT / "requirements/runner-nvdiffrec.txt")


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_no_index_address(path: Path) -> None:
    assert not re.search(r"://|--(extra-)?index|--find-links|-f ", path.read_text())


@pytest.mark.parametrize("path", PINNED, ids=lambda path: path.name)
def test_every_line_is_a_pin_or_a_hash(path: Path) -> None:
    entries = re.split(r"\n(?=\S)", path.read_text().strip())
    for entry in entries:
        pin, *hashes = (line.strip(" \\") for line in entry.splitlines())
        assert re.fullmatch(r"[a-z0-9-]+==\S+( ; .+)?", pin), pin
        assert hashes, f"{pin} has no hash"
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for line in hashes), pin


def test_every_extra_is_pinned() -> None:
    declared = SECTION.search((ROOT / "pyproject.toml").read_text())
    assert declared is not None
    names = set(re.findall(r'^\s*"([A-Za-z0-9-]+)|= \["([A-Za-z0-9-]+)', declared[1], re.MULTILINE))
    wanted = {(first or second).lower() for first, second in names}
    assert {"torch", "numba", "pytest", "open3d"} <= wanted
    assert wanted <= set(packages(ROOT / "requirements/dev.txt"))


def test_what_builds_the_project_is_pinned_too() -> None:
    assert "setuptools" in packages(ROOT / "requirements/dev.txt")


def test_torch_is_the_one_that_was_decided() -> None:
    constraint = re.search(r"^torch==(\S+)$", (ROOT / "requirements/constraints.in").read_text(), re.MULTILINE)
    assert constraint is not None
    assert packages(ROOT / "requirements/dev.txt")["torch"] == [constraint[1]]
