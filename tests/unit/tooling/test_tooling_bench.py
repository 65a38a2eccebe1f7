"""The benchmark's own arithmetic: errors against the truth, means, worst values, tables, how a run is measured."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import one of the benchmark's scripts, which are no package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("tables", monkeypatch)


def truth(mode: str = "white-near", **depth: Any) -> dict[str, Any]:
    return {"fov_deg": 40.0, "distance": 2.0, "depth": {"mode": mode, "near": 1.0, "far": 3.0, **depth}}


def found(encoding: str | None = "white-near", kind: str = "z", **view: Any) -> dict[str, Any]:
    depth = encoding and {"encoding": encoding, "near": 0.5, "far": 1.52, "kind": kind}
    return {"fov_deg": 40.25, "distance": 1.0, "depth": depth, "views": {"front": {}, "top": view}}


def test_calibration_is_compared_in_units_of_the_distance(tables: ModuleType) -> None:
    errors = tables.calibration_errors(truth(), found())
    assert errors["fov_err"] == pytest.approx(0.25)
    assert errors["depth_ok"] is True
    assert errors["range_err_pct"] == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("true", "calibration", "right"),
    [
        (truth("linear16"), found("white-near"), True),
        (truth("metric16"), found("metric"), True),
        (truth("none"), found(None), True),
        (truth("white-near", ray=True), found(kind="ray"), True),
        (truth("black-near"), found("white-near"), False),
        (truth("white-near"), found(None), False),
        (truth("none"), found("metric"), False),
        (truth("white-near", ray=True), found(), False),
        (truth(), found(roll_deg=90), False),
        (truth(), found(mirror=True), False),
    ],
)
def test_a_wrong_reading_of_the_depth_or_a_turned_view_is_no_success(
    tables: ModuleType, true: dict[str, Any], calibration: dict[str, Any], right: bool
) -> None:
    assert tables.calibration_errors(true, calibration)["depth_ok"] is right


ROWS = [
    {"case": "a", "psnr": 30.0, "chamfer_pct": 0.02, "watertight": True, "verdict": "normal", "genus": 1.0},
    {"case": "b", "psnr": 40.0, "chamfer_pct": 0.04, "watertight": False, "error": "INTERNAL"},
]


def test_mean_and_worst(tables: ModuleType) -> None:
    assert tables.mean_row(ROWS) == {
        "case": "mean",
        "psnr": 35.0,
        "chamfer_pct": pytest.approx(0.03),
        "watertight": 0.5,
    }
    assert tables.worst_row(ROWS) == {"case": "worst", "psnr": 30.0, "chamfer_pct": 0.04, "watertight": False}


def test_the_table_is_aligned_and_says_what_failed(tables: ModuleType) -> None:
    lines = tables.text_table([*ROWS, tables.mean_row(ROWS)]).splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    assert lines[2].split()[0] == "b"
    assert "NO" in lines[2]
    assert "INTERNAL" in lines[2]
    assert "50%" in lines[3]
    assert tables.markdown(ROWS).splitlines()[1].count("---") == len(tables.COLUMNS)


def test_a_run_is_measured_and_a_failed_one_has_its_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tables: ModuleType
) -> None:
    bench = load("bench_engine", monkeypatch)
    case = tmp_path / "empty"
    (case / "input").mkdir(parents=True)
    options = argparse.Namespace(profile="fast", device="cpu", seed=0, runner_args=[])
    row = bench.run_engine(case, tmp_path / "out/empty", options)
    assert row["error"] == "MISSING_VIEW" or row["exit"] != 0
    assert row["verdict"] is None
    assert 0 < row["seconds"] < 60
    assert 5 < row["rss_mb"] < 4000
    assert bench.score(case, tmp_path / "out/empty", options) == {}


def test_only_folders_with_a_truth_are_cases(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tables: ModuleType
) -> None:
    bench = load("bench_engine", monkeypatch)
    (tmp_path / "input/multi_views").mkdir(parents=True)
    assert not bench.is_case(tmp_path)
    with pytest.raises(SystemExit, match="no case"):
        bench.find_cases([tmp_path])
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth/cameras.json").write_text(json.dumps({}))
    assert bench.find_cases([tmp_path]) == [tmp_path]
