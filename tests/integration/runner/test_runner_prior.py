"""One engine's mesh as the other's prior, on the command line; in a Pod: test_runner_parts.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from runner_helpers import result_of


def test_one_engines_mesh_is_the_others_prior(runner: Any, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    setting = ("--set", "nvdiffrec.prior=reconviagen")
    done = runner.run("run", str(source), "--out", str(out), "--engine", "both", *setting)
    assert done.returncode == 0, done.stderr
    first, second = (runner.note(f"began-{name}")["request"] for name in ("reconviagen", "nvdiffrec"))
    assert first["prior"] is None
    assert second["prior"] == str(Path(first["out_dir"]) / "mesh.glb")
    assert [*result_of(out)["engines"]] == ["reconviagen", "nvdiffrec"]
    assert {"reconviagen/mesh.glb", "nvdiffrec/mesh.glb"} <= {file["path"] for file in result_of(out)["artifacts"]}


@pytest.mark.parametrize(
    ("mode", "why"), [("poor", "PSNR 12.0 dB"), ("raise:coded", "left and right disagree"), ("signal:11", "")]
)
def test_without_a_prior_the_other_engine_goes_on(
    runner: Any, source: Path, tmp_path: Path, mode: str, why: str
) -> None:
    out = tmp_path / "out"
    setting = ("--set", "nvdiffrec.prior=reconviagen")
    mode = f"nvdiffrec=good,reconviagen={mode}"
    done = runner.run("run", str(source), "--out", str(out), "--engine", "both", *setting, mode=mode)
    assert done.returncode == 0, done.stderr
    result = result_of(out)
    assert (result["status"], result["engine"]) == ("completed", "nvdiffrec")
    (told,) = [warning["message"] for warning in result["warnings"] if warning["code"] == "prior_unavailable"]
    assert why in told
    assert runner.note("began-nvdiffrec")["request"]["prior"] is None
