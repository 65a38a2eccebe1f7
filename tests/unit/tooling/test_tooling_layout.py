"""What the tree promises: who imports whom, Python 3.10 for contract and runner, short files, a valid example."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CONTRACT, RUNNER = ROOT / "crds/recon3d_contract", ROOT / "runner/recon3d_runner"
FOLDERS = [ROOT / name for name in ("crds", "operator", "runner", "api", "tests", "examples", "benchmarks")]
SOURCES = sorted(path for folder in FOLDERS for path in folder.rglob("*.py"))
PORTABLE = sorted([*CONTRACT.rglob("*.py"), *RUNNER.rglob("*.py")])
TORCH_ALLOWED = (RUNNER / "engines", RUNNER / "raster")

IMPORT_ALL = """
import importlib, sys, warnings
warnings.simplefilter("error")
for name in ("torch", "nvdiffrast", "drtk", "kopf", "kubernetes", "fastapi"):
    sys.modules[name] = None
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def imported(path: Path, *, only_top: bool = False) -> Iterator[str]:
    """Yield the names of the modules that a file imports; `only_top`: when it is itself imported."""
    tree = ast.parse(path.read_text())
    for node in tree.body if only_top else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def module_name(path: Path) -> str:
    """Return the dotted name of a source file of the runner."""
    parts = path.relative_to(RUNNER.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_the_contract_needs_the_standard_library_and_pydantic_only() -> None:
    s3 = CONTRACT / "store" / "s3"  # imported only where a reference says s3
    allowed = {*sys.stdlib_module_names, "pydantic", "pydantic_core", "recon3d_contract"}
    foreign = {
        (path.name, name)
        for path in CONTRACT.rglob("*.py")
        for name in imported(path)
        if name.split(".")[0] not in (allowed | {"obstore"} if s3 in path.parents else allowed)
    }
    assert not foreign


def test_the_runner_can_be_imported_without_torch() -> None:
    modules = [
        module_name(path)
        for path in sorted(RUNNER.rglob("*.py"))
        if path.name != "__main__.py"
        and not (
            any(folder in path.parents for folder in TORCH_ALLOWED)
            and any(name.split(".")[0] in {"torch", "nvdiffrast"} for name in imported(path, only_top=True))
        )
        and RUNNER / "engines" not in path.parents
    ]
    assert "recon3d_runner.cli" in modules
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *modules], capture_output=True, text=True, check=False, timeout=110
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["crds", "operator", "runner", "api", "tests", "tests/unit"])
def test_no_package_folder_is_itself_a_package(name: str) -> None:
    # A root package called `operator` would shadow the standard library's.
    assert not (ROOT / name / "__init__.py").exists()


def test_test_files_have_names_of_their_own() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_no_file_is_longer_than_300_lines() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert not {name: length for name, length in lengths.items() if length >= 300}


@pytest.mark.parametrize("path", PORTABLE, ids=lambda path: str(path.relative_to(ROOT)))
def test_contract_and_runner_parse_as_python_310(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 10))


def python310() -> str | None:
    """Return a Python 3.10 that starts."""
    pyenv = sorted((Path.home() / ".pyenv/versions").glob("3.10.*/bin/python3.10"))
    for candidate in [shutil.which("python3.10"), *map(str, pyenv)]:
        if candidate and subprocess.run([candidate, "-V"], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


def test_contract_and_runner_compile_with_python_310(tmp_path: Path) -> None:
    interpreter = python310()
    if interpreter is None:
        pytest.skip("no Python 3.10 on this machine")
    done = subprocess.run(
        [interpreter, "-m", "compileall", "-q", str(CONTRACT), str(RUNNER)],
        env={**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout


def test_the_example_is_complete_and_small() -> None:
    from recon3d_contract.inputs import check_source

    manifest = check_source(ROOT / "examples/input")
    assert len(manifest.files) == 12
    assert not manifest.warnings
    assert sum(file.bytes for file in manifest.files) < 4_000_000
    assert {file.bit_depth for file in manifest.files if file.kind == "depth"} == {16}
