"""`recon3d-runner run`: what a run leaves under OUT, for every way in which its engine can end."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from recon3d_contract.layout import engine_files
from recon3d_contract.result import Result
from recon3d_contract.stages import STAGES
from runner_helpers import make_input, result_of


def names(out: Path) -> list[str]:
    return sorted(os.listdir(out))


def private(out: Path) -> list[str]:
    return [name for name in os.listdir(out.parent) if ".partial-" in name]


def test_run_leaves_a_result_that_lists_every_file(runner: Any, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = runner.run("run", str(source), "--out", str(out), "--device", "cpu", "--seed", "5")
    assert done.returncode == 0, done.stderr
    result = Result.model_validate_json((out / "result.json").read_bytes())
    assert (result.status, result.verdict, result.engine) == ("completed", "normal", "nvdiffrec")
    assert [artifact.path for artifact in result.artifacts] == [f"nvdiffrec/{name}" for name in engine_files()]
    assert all((out / artifact.path).stat().st_size == artifact.bytes for artifact in result.artifacts)
    assert result.provenance.seed == 5
    assert len(result.provenance.inputs) == 12
    assert result.engines["nvdiffrec"].stage_seconds.keys() == {"load", "geometry", "texture"}
    assert {warning.code for warning in result.warnings} == {"unusual_size", "odd"}
    assert private(out) == []
    assert os.stat(out).st_mode & 0o777 == 0o755
    for shown in ("normal", "30.00 dB", "0.9500", "26.00 dB", "40.00°", "top 90°", "report.html", "mesh.glb"):
        assert shown in done.stdout


def test_the_same_job_gives_the_same_result_but_for_times(runner: Any, source: Path, tmp_path: Path) -> None:
    results = []
    for name in ("a", "b"):
        assert runner.run("run", str(source), "--out", str(tmp_path / name), "--device", "cpu").returncode == 0
        result = result_of(tmp_path / name)
        del result["timings"]
        for entry in result["engines"].values():
            del entry["seconds"], entry["stage_seconds"]
        results.append(result)
    assert results[0] == results[1]
    assert str(tmp_path) not in json.dumps(results)


def test_json_lines_tell_progress_and_the_end(runner: Any, source: Path, tmp_path: Path) -> None:
    done = runner.run("run", str(source), "--out", str(tmp_path / "out"), "--json", mode="slow:0.6")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    progress = [event for event in events if event["event"] == "progress"]
    percents = [event["percent"] for event in progress]
    assert percents == sorted(percents)
    assert percents[-1] == 100.0
    assert {event["stage"] for event in progress} <= {"start", *STAGES}
    assert any(event.get("loss") == 0.5 and event.get("iteration") == 1 for event in progress)
    assert events[-1]["event"] == "result"
    assert events[-1]["status"] == "completed"
    assert events[-1]["psnr"] == 30.0


@pytest.mark.parametrize(
    ("mode", "code", "exit_code"),
    [
        ("raise:memory", "OUT_OF_MEMORY", 53),
        ("raise:nan", "OPTIMIZATION_DIVERGED", 41),
        ("raise:cuda", "GPU_OUT_OF_MEMORY", 52),
        ("raise:defect", "INTERNAL", 1),
        ("raise:coded", "INCONSISTENT_VIEWS", 17),
        ("signal:11", "INTERNAL", 1),
        ("silent:0", "INTERNAL", 1),
        ("silent:3", "INTERNAL", 1),
        ("missing:report.html", "INTERNAL", 1),
        ("missing:textures/base_color.png", "INTERNAL", 1),
    ],
)
def test_a_failed_engine_leaves_result_and_log_alone(
    runner: Any, source: Path, tmp_path: Path, mode: str, code: str, exit_code: int
) -> None:
    out = tmp_path / "out"
    done = runner.run("run", str(source), "--out", str(out), mode=mode)
    assert done.returncode == exit_code, done.stderr
    assert names(out) == ["result.json", "run.log"]
    result = result_of(out)
    assert (result["status"], result["error"]["code"], result["artifacts"]) == ("failed", code, [])
    assert code in done.stdout
    assert "Traceback" not in (out / "result.json").read_text()
    assert "/secret/place" not in (out / "result.json").read_text()
    assert private(out) == []


def test_a_traceback_goes_to_the_log_only(runner: Any, source: Path, tmp_path: Path) -> None:
    done = runner.run("run", str(source), "--out", str(tmp_path / "out"), mode="raise:defect")
    assert "ZeroDivisionError" in (tmp_path / "out" / "run.log").read_text()
    assert "Traceback" not in done.stdout + done.stderr


def test_a_crash_names_its_signal(runner: Any, source: Path, tmp_path: Path) -> None:
    runner.run("run", str(source), "--out", str(tmp_path / "out"), mode="signal:11")
    error = result_of(tmp_path / "out")["error"]
    assert error["details"]["signal"] == "SIGSEGV"


def test_a_result_below_the_threshold_fails_and_keeps_its_files(runner: Any, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = runner.run("run", str(source), "--out", str(out), mode="poor")
    result = result_of(out)
    assert done.returncode == 42
    assert (result["status"], result["verdict"], result["error"]["code"]) == (
        "failed",
        "failure",
        "QUALITY_BELOW_THRESHOLD",
    )
    assert len(result["artifacts"]) == len(engine_files())
    assert (out / "nvdiffrec" / "report.html").is_file()


def test_both_keeps_the_engine_that_worked(runner: Any, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    mode = "nvdiffrec=good,reconviagen=raise:cuda"
    done = runner.run("run", str(source), "--out", str(out), "--engine", "both", mode=mode)
    result = result_of(out)
    assert done.returncode == 0
    assert (result["status"], result["engine"], result["error"]) == ("completed", "nvdiffrec", None)
    assert result["engines"]["reconviagen"]["error"]["code"] == "GPU_OUT_OF_MEMORY"
    assert names(out) == ["nvdiffrec", "result.json", "run.log"]


def test_both_runs_the_second_engine_after_the_first_crashed(runner: Any, source: Path, tmp_path: Path) -> None:
    mode = "nvdiffrec=signal:11,reconviagen=good"
    done = runner.run("run", str(source), "--out", str(tmp_path / "out"), "--engine", "both", mode=mode)
    result = result_of(tmp_path / "out")
    assert done.returncode == 0
    assert result["engine"] == "reconviagen"
    assert result["engines"]["nvdiffrec"]["phase"] == "Failed"
    assert {path["path"].split("/")[0] for path in result["artifacts"]} == {"reconviagen"}


def test_broken_input_fails_with_its_own_code_and_starts_no_engine(runner: Any, source: Path, tmp_path: Path) -> None:
    (source / "multi_views" / "top.png").unlink()
    (source / "depth_renders" / "left.png").write_bytes(b"\xff\xd8\xff jpeg")
    done = runner.run("run", str(source), "--out", str(tmp_path / "out"))
    error = result_of(tmp_path / "out")["error"]
    assert done.returncode == 11
    assert error["code"] == "INVALID_IMAGE"
    assert {problem["view"] for problem in error["details"]["problems"]} == {"top", "left"}
    assert not (tmp_path / "notes").exists()


def test_the_log_is_capped_and_redacted(runner: Any, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    secret = "s3cr3t-value-1234"
    runner.run("run", str(source), "--out", str(out), mode="chatter", environment={"MY_API_KEY": secret})
    log = (out / "run.log").read_bytes()
    assert 900_000 < len(log) <= 1_000_000
    assert b"line 59999 " in log
    assert b"left out" in log
    assert secret.encode() not in log
    assert str(tmp_path).encode() not in log


def test_the_engine_sees_a_clean_environment(runner: Any, source: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a-token")
    runner.run("run", str(source), "--out", str(tmp_path / "out"), environment={"RECON3D_TOKEN": str(token)})
    seen = runner.note("began-nvdiffrec")
    assert "RECON3D_TOKEN" not in seen["environment"]
    assert seen["environment"]["OMP_NUM_THREADS"] == "1"
    assert seen["environment"]["TMPDIR"] == seen["cwd"]
    assert not Path(seen["cwd"]).exists()


def test_nothing_an_engine_started_outlives_it(runner: Any, source: Path, tmp_path: Path) -> None:
    from runner_helpers import alive, wait_until

    done = runner.run("run", str(source), "--out", str(tmp_path / "out"), mode="litter")
    assert done.returncode == 0
    pid = runner.note("litter")["grandchild"]
    wait_until(lambda: not alive(pid), "the grandchild's end")


def test_an_earlier_result_is_replaced_whole(runner: Any, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert runner.run("run", str(source), "--out", str(out)).returncode == 0
    assert runner.run("run", str(source), "--out", str(out), mode="raise:nan").returncode == 41
    assert names(out) == ["result.json", "run.log"]
    assert private(out) == []


def test_a_foreign_folder_is_refused_and_kept(runner: Any, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("mine")
    done = runner.run("run", str(source), "--out", str(out))
    assert done.returncode == 35
    assert "OUTPUT_EXISTS" in done.stderr
    assert names(out) == ["thesis.tex"]
    assert runner.run("run", str(source), "--out", str(out), "--force").returncode == 0
    assert "thesis.tex" not in names(out)


@pytest.mark.parametrize("flags", [(), ("--force",)])
def test_the_input_is_never_replaced(runner: Any, source: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    before = sorted(source.rglob("*"))
    assert runner.run("run", str(source), "--out", str(source), *flags).returncode == 2
    assert runner.run("run", str(source), "--out", str(tmp_path), *flags).returncode == 2
    assert sorted(source.rglob("*")) == before


def test_a_file_as_output_is_refused(runner: Any, source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    assert runner.run("run", str(source), "--out", str(tmp_path / "out"), "--force").returncode == 35
    assert (tmp_path / "out").read_text() == "a file"


def test_settings_job_file_and_options_make_one_job(runner: Any, source: Path, tmp_path: Path) -> None:
    job = tmp_path / "job.json"
    where = {"path": str(source)}
    job.write_text(json.dumps({"profile": "high", "seed": 3, "cameras": {"fovDeg": 30}, "input": where}))
    out = tmp_path / "out"
    settings = ("--set", "cameras.fov_deg=40", "--set", "depth.encoding=white-near", "--set", "output.formats=[]")
    done = runner.run("run", "--job", str(job), "--out", str(out), "--seed", "9", "--time-limit", "60", *settings)
    assert done.returncode == 0, done.stderr
    parameters = result_of(out)["provenance"]["parameters"]
    assert (parameters["profile"], parameters["seed"], parameters["cameras"]["fovDeg"]) == ("high", 9, 40)
    assert (parameters["depth"]["encoding"], parameters["limits"]["softSeconds"]) == ("white-near", 60)
    assert parameters["input"]["path"] == "source"


def test_a_wrong_setting_is_a_usage_error_that_touches_nothing(runner: Any, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = runner.run("run", str(source), "--out", str(out), "--set", "cameras.fov=40", "--set", "seed=-1")
    assert done.returncode == 2
    assert "cameras.fov" in done.stderr
    assert "seed" in done.stderr
    assert not out.exists()


def test_a_full_set_may_hold_its_own_output(runner: Any, source: Path) -> None:
    assert runner.run("run", str(source), "--out", str(source / "result")).returncode == 0
    assert runner.run("run", str(source), "--out", str(source / "result")).returncode == 0


def test_reconviagen_says_why_it_is_not_there(tmp_path: Path, source: Path) -> None:
    """Through the real worker."""
    import subprocess
    import sys

    out = tmp_path / "out"
    command = [sys.executable, "-m", "recon3d_runner.cli", "run", str(source), "--out", str(out)]
    done = subprocess.run([*command, "--engine", "reconviagen"], check=False, timeout=60)
    error = result_of(out)["error"]
    assert done.returncode == 40
    assert error["code"] == "ENGINE_UNAVAILABLE"
    assert "an image of its own" in error["message"]
    assert "RECON3D_RECONVIAGEN_HOME" in error["suggestion"]


def test_builtin_example_is_found_by_name(runner: Any, tmp_path: Path) -> None:
    make_input(tmp_path / "builtin" / "example")
    environment = {"RECON3D_BUILTIN_DIR": str(tmp_path / "builtin")}
    out = str(tmp_path / "out")
    assert runner.run("run", "builtin:example", "--out", out, environment=environment).returncode == 0
    assert runner.run("run", "builtin:nothing", "--out", out, environment=environment).returncode == 18


def test_check_reports_without_running(runner: Any, source: Path) -> None:
    done = runner.run("check", str(source))
    assert done.returncode == 0
    assert done.stdout.count(" 256x256 ") == 12
    shutil.rmtree(source / "multi_views")
    done = runner.run("check", str(source))
    assert done.returncode == 10
    assert done.stderr.count("is missing") >= 6


def test_an_engine_that_talks_nonsense_fails_alone(runner: Any, source: Path, tmp_path: Path) -> None:
    mode = "nvdiffrec=nonsense,reconviagen=good"
    done = runner.run("run", str(source), "--out", str(tmp_path / "out"), "--engine", "both", mode=mode)
    result = result_of(tmp_path / "out")
    assert done.returncode == 0
    assert result["engine"] == "reconviagen"
    assert result["engines"]["nvdiffrec"]["error"]["code"] == "INTERNAL"
