"""The documents: their tables are what the code says, and every path, test and link that they name exists."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = (
    "README.md", "architecture.md", "CHANGELOG.md", "docs/job.md", "docs/operator.md", "docs/nvdiffrec.md",
    "docs/engines.md", "examples/README.md",
)  # fmt: skip
# architecture.md and docs/nvdiffrec.md say so: a short path lies in the runner.
BASES = (ROOT, ROOT / "runner/recon3d_runner")
TOP = ("api", "benchmarks", "charts", "crds", "docs", "examples", "operator", "requirements", "runner", "tests")
CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+/?|[a-z_0-9]+\.(py|md|toml)")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
MADE = ("examples/result", "benchmarks/results", "out")
"""Made by a run of the engine, and only then there."""


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """docs/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("recon3d_docs_generate", ROOT / "docs/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words(document: str) -> Iterator[str]:
    """Yield what stands between backticks, outside blocks of code."""
    text = re.sub(r"```.*?```", "", (ROOT / document).read_text(), flags=re.DOTALL)
    yield from CODE.findall(text)


def functions(path: Path) -> set[str]:
    """Return the names of a file's top-level functions."""
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def missing_paths(document: str) -> list[str]:
    """Return the paths and tests that a document names in vain."""
    missing = []
    for word in words(document):
        name, _, function = word.partition("::")
        if not PATH.fullmatch(name) or not (name.endswith(".py") or name.split("/")[0] in TOP):
            continue
        if name.startswith(MADE):
            continue
        beside = [(ROOT / document).parent, ROOT / "crds/recon3d_contract"] if "/" not in name else []
        found = [base / name for base in (*BASES, *beside) if (base / name).exists()]
        if not found or (function and function not in functions(found[0])):
            missing.append(word)
    return missing


@pytest.mark.parametrize("document", ["README.md", "architecture.md", "docs/job.md", "docs/engines.md"])
def test_tables_are_what_the_code_says(generator: ModuleType, document: str) -> None:
    text = (ROOT / document).read_text()
    assert generator.render(text) == text, f"{document} is stale: run `make docs`"


def test_a_stale_table_is_noticed(generator: ModuleType) -> None:
    text = (ROOT / "README.md").read_text()
    stale = text.replace("| `MISSING_VIEW` | validation | 10 |", "| `MISSING_VIEW` | validation | 99 |")
    assert stale != text
    assert generator.render(stale) == text


def test_every_block_stands_in_a_document(generator: ModuleType) -> None:
    used = [
        name
        for document in generator.DOCUMENTS
        for name in re.findall(r"<!-- begin: ([a-z-]+) -->", (ROOT / document).read_text())
    ]
    assert sorted(used) == sorted(generator.BLOCKS)


def test_every_error_code_has_a_row(generator: ModuleType) -> None:
    from recon3d_contract.codes import TABLE

    rows = generator.errors().splitlines()[2:]
    assert {row.split("`")[1] for row in rows} == {code.value for code in TABLE}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_and_test_that_is_named_exists(document: str) -> None:
    assert missing_paths(document) == []


def test_architecture_names_tests_and_a_wrong_name_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tests = [word for word in words("architecture.md") if "::" in word]
    assert len(tests) >= 30
    path = tmp_path / "wrong.md"
    path.write_text(f"`{tests[0]}_` and `scene/nowhere.py` and `tests/unit/nowhere` but `{tests[0]}` and `a/b`\n")
    assert missing_paths(str(path)) == [f"{tests[0]}_", "scene/nowhere.py", "tests/unit/nowhere"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    folder = (ROOT / document).parent
    links = [link for link in LINK.findall((ROOT / document).read_text()) if "://" not in link]
    links = [link for link in links if not link.startswith(MADE) or (ROOT / MADE[0]).is_dir()]
    assert [link for link in links if not (folder / link.partition("#")[0]).exists()] == []


def test_the_readme_names_every_file_of_a_result() -> None:
    from recon3d_contract.layout import RESULT, RUN_LOG, engine_files

    text = (ROOT / "README.md").read_text()
    names = {
        RESULT,
        RUN_LOG,
        *(re.sub(r"(previews/)?(textured|wireframe)_\w+", r"\2_<view>", n) for n in engine_files()),
    }
    short = {name.removeprefix("previews/") for name in names}
    assert [name for name in sorted(short) if name not in text] == []


def test_the_readme_names_every_variable_of_a_pod() -> None:
    source = (ROOT / "runner/recon3d_runner/cli.py").read_text()
    variables = set(re.findall(r"RECON3D_[A-Z_]+", source)) - {"RECON3D_TRACEBACK"}
    text = (ROOT / "README.md").read_text()
    assert "RECON3D_JOB" in variables
    assert [name for name in sorted(variables) if f"`{name}`" not in text] == []


def test_the_example_s_result_has_the_example_s_two_holes() -> None:
    mesh = json.loads((ROOT / "examples/result/result.json").read_text())["engines"]["nvdiffrec"]["mesh"]
    assert (mesh["watertight"], mesh["components"], mesh["genus"], mesh["self_intersections"]) == (True, 1, 2, 0)
