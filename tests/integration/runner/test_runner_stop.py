"""Ways to be ended: signals at every stage, the time limit, SIGKILL of the supervisor, a full disk, no memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from runner_helpers import VIEWS, SmallDisk, alive, result_of, stop_and_time, wait_until

STAGES = ("load", "calibrate", "geometry", "texture", "evaluate", "report")


def private(out: Path) -> list[Path]:
    return [path for path in out.parent.iterdir() if ".partial-" in path.name]


@pytest.mark.parametrize("stage", STAGES)
def test_a_signal_ends_any_stage_within_two_seconds(runner: Any, source: Path, tmp_path: Path, stage: str) -> None:
    out = tmp_path / "out"
    process = runner.start("run", str(source), "--out", str(out), mode=f"hang:{stage}")
    engine = runner.note("hangs")
    assert stop_and_time(process, signal.SIGINT if stage == "load" else signal.SIGTERM) < 2.0
    assert process.returncode == 34
    assert sorted(os.listdir(out)) == ["result.json", "run.log"]
    result = result_of(out)
    assert (result["status"], result["error"]["code"]) == ("cancelled", "CANCELLED")
    assert result["engines"]["nvdiffrec"]["phase"] == "Cancelled"
    assert private(out) == []
    wait_until(lambda: not alive(engine["pid"]) and not alive(engine["grandchild"]), "the engine's end")


def test_a_signal_ends_an_engine_that_is_deep_in_native_code(runner: Any, source: Path, tmp_path: Path) -> None:
    process = runner.start("run", str(source), "--out", str(tmp_path / "out"), mode="spin:geometry")
    engine = runner.note("hangs")
    assert stop_and_time(process) < 2.0
    assert process.returncode == 34
    wait_until(lambda: not alive(engine["pid"]), "the engine's end")


def test_a_second_engine_is_not_started_after_a_cancellation(runner: Any, source: Path, tmp_path: Path) -> None:
    mode = "nvdiffrec=hang:load,reconviagen=good"
    process = runner.start("run", str(source), "--out", str(tmp_path / "out"), "--engine", "both", mode=mode)
    runner.note("hangs")
    assert stop_and_time(process) < 2.0
    assert not (tmp_path / "notes" / "began-reconviagen").exists()
    assert result_of(tmp_path / "out")["status"] == "cancelled"


def test_a_cancellation_in_the_second_engine_leaves_no_files_of_the_first(
    runner: Any, source: Path, tmp_path: Path
) -> None:
    mode = "nvdiffrec=good,reconviagen=hang:load"
    process = runner.start("run", str(source), "--out", str(tmp_path / "out"), "--engine", "both", mode=mode)
    runner.note("hangs")
    assert stop_and_time(process) < 2.0
    assert sorted(os.listdir(tmp_path / "out")) == ["result.json", "run.log"]


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.2, 0.4, 0.8, 1.6])
def test_a_signal_at_any_moment_of_the_start_is_clean(source: Path, tmp_path: Path, delay: float) -> None:
    """With the real command line and the real worker."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "recon3d_runner.cli", "run", str(source), "--out", str(out), "--device", "cpu"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
    time.sleep(delay)
    if process.poll() is None:
        assert stop_and_time(process) < 2.0
        # Before Python has run our first line, the signal ends the process by itself.
        assert process.returncode in (34, -signal.SIGTERM)
    assert not out.exists() or set(os.listdir(out)) <= {"result.json", "run.log"}
    assert private(out) == []


def test_a_named_pipe_as_input_is_refused_and_not_waited_for(runner: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "input.zip")
    assert runner.run("run", str(tmp_path / "input.zip"), "--out", str(tmp_path / "out")).returncode == 16


def test_the_time_limit_ends_a_run(runner: Any, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    begun = time.monotonic()
    done = runner.run("run", str(source), "--out", str(out), "--time-limit", "3", mode="hang:geometry")
    assert done.returncode == 57
    assert time.monotonic() - begun < 3 + 3
    result = result_of(out)
    assert result["error"]["code"] == "TIME_LIMIT_EXCEEDED"
    assert result["error"]["details"]["limit_s"] == 3
    assert sorted(os.listdir(out)) == ["result.json", "run.log"]


def test_the_time_limit_keeps_what_the_first_engine_made(runner: Any, source: Path, tmp_path: Path) -> None:
    mode = "nvdiffrec=good,reconviagen=hang:load"
    out = tmp_path / "out"
    done = runner.run("run", str(source), "--out", str(out), "--engine", "both", "--time-limit", "9", mode=mode)
    result = result_of(out)
    assert done.returncode == 0, done.stderr
    assert result["engine"] == "nvdiffrec"
    assert result["engines"]["reconviagen"]["error"]["code"] == "TIME_LIMIT_EXCEEDED"


def test_a_killed_supervisor_leaves_no_process_and_no_half_result(runner: Any, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = runner.start("run", str(source), "--out", str(out), mode="hang:texture")
    engine = runner.note("hangs")
    process.kill()
    process.wait()
    wait_until(lambda: not alive(engine["pid"]), "the engine's end", 5.0)
    assert not out.exists()
    assert len(private(out)) == 1

    # The next run removes what the killed one left.
    assert runner.run("run", str(source), "--out", str(out)).returncode == 0
    assert private(out) == []
    os.kill(engine["grandchild"], signal.SIGKILL)


def test_a_run_leaves_the_private_folder_of_a_living_one_alone(runner: Any, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    living = runner.start("run", str(source), "--out", str(out), mode="hang:load")
    runner.note("hangs")
    theirs = private(out)
    assert runner.run("run", str(source), "--out", str(out)).returncode == 0
    assert private(out) == theirs
    assert stop_and_time(living) < 2.0
    assert private(out) == []


def test_an_engine_killed_by_the_kernel_for_memory_is_told(runner: Any, source: Path, tmp_path: Path) -> None:
    group = _memory_group(limit=150_000_000)
    if group is None:
        pytest.skip("no memory cgroup can be made here (needs root and the memory controller)")
    try:
        process = runner.start("run", str(source), "--out", str(tmp_path / "out"), mode="eat")
        (group / "cgroup.procs").write_text(str(runner.note("hungry")["pid"]))
        (tmp_path / "notes" / "eat").touch()
        process.wait(timeout=30)
        error = result_of(tmp_path / "out")["error"]
        assert (process.returncode, error["code"]) == (53, "OUT_OF_MEMORY")
        assert "memory ran out" in error["message"]
    finally:
        runner.close()
        wait_until(lambda: _remove_group(group), "the cgroup's removal")


def _memory_group(limit: int) -> Path | None:
    for root, name in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(root) / f"recon3d-test-{os.getpid()}"
        try:
            group.mkdir()
            (group / name).write_text(str(limit))
        except OSError:
            _remove_group(group)
            continue
        return group
    return None


def _remove_group(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def test_an_engine_killed_by_hand_is_not_called_out_of_memory(runner: Any, source: Path, tmp_path: Path) -> None:
    done = runner.run("run", str(source), "--out", str(tmp_path / "out"), mode="signal:9")
    error = result_of(tmp_path / "out")["error"]
    assert error["details"]["signal"] == "SIGKILL"
    counted = "oom_kill " in Path("/proc/vmstat").read_text()
    assert (done.returncode, error["code"]) == ((1, "INTERNAL") if counted else (53, "OUT_OF_MEMORY"))


def test_an_engine_that_fills_the_disk_fails_with_storage_full(
    runner: Any, source: Path, tmp_path: Path, small_disk: SmallDisk
) -> None:
    out = small_disk(tmp_path / "disk", "6m") / "out"
    done = runner.run("run", str(source), "--out", str(out), mode="fill")
    assert done.returncode == 54
    assert sorted(os.listdir(out)) == ["result.json", "run.log"]
    assert result_of(out)["error"]["code"] == "STORAGE_FULL"
    assert private(out) == []


def test_a_disk_that_is_full_from_the_start_is_told(
    runner: Any, source: Path, tmp_path: Path, small_disk: SmallDisk
) -> None:
    disk = small_disk(tmp_path / "disk", "6m")
    with pytest.raises(OSError, match="No space"):
        (disk / "ballast").write_bytes(bytes(8_000_000))
    out = disk / "out"
    done = runner.run("run", str(source), "--out", str(out))
    assert done.returncode == 54
    assert "STORAGE_FULL" in done.stderr + done.stdout
    assert not out.exists() or sorted(os.listdir(out)) == ["result.json", "run.log"]
    assert private(out) == []


def test_a_mount_point_as_output_is_filled_and_replaced(
    runner: Any, source: Path, tmp_path: Path, small_disk: SmallDisk
) -> None:
    disk = small_disk(tmp_path / "disk", "6m")
    for _ in range(2):
        assert runner.run("run", str(source), "--out", str(disk)).returncode == 0
        assert sorted(os.listdir(disk)) == ["nvdiffrec", "result.json", "run.log"]
    assert runner.run("run", str(source), "--out", str(disk), mode="raise:nan").returncode == 41
    assert sorted(os.listdir(disk)) == ["result.json", "run.log"]
    (disk / "mine").write_text("kept")
    assert runner.run("run", str(source), "--out", str(disk), "--force").returncode == 35
    assert (disk / "mine").read_text() == "kept"


def test_an_output_that_cannot_be_made_is_told(runner: Any, source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = runner.run("run", str(source), "--out", str(tmp_path / "file" / "out"))
    assert done.returncode == 55
    assert "STORAGE_UNAVAILABLE" in done.stderr


def test_nobody_reading_the_progress_does_not_hurt(runner: Any, source: Path, tmp_path: Path) -> None:
    process = runner.start("run", str(source), "--out", str(tmp_path / "out"), "--json", mode="slow:0.3")
    process.stdout.close()
    process.stdout = None
    process.wait(timeout=30)
    assert result_of(tmp_path / "out")["status"] == "completed"


def test_readers_of_out_never_see_a_half_result(runner: Any, source: Path, tmp_path: Path) -> None:
    """While results replace each other, every result.json that can be read lists only files that are there."""
    out = tmp_path / "out"
    assert runner.run("run", str(source), "--out", str(out)).returncode == 0
    wrong: list[str] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            try:
                folder = os.open(out, os.O_DIRECTORY)
            except FileNotFoundError:
                wrong.append("OUT was gone")
                continue
            try:
                with open(os.open("result.json", os.O_RDONLY, dir_fd=folder)) as file:
                    result = json.load(file)
                if len(result["artifacts"]) < 8 or len(result["provenance"]["inputs"]) != 2 * len(VIEWS):
                    wrong.append("half a result.json")
            except FileNotFoundError:
                pass  # the opened folder is the old one, on its way out
            finally:
                os.close(folder)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(3):
            assert runner.run("run", str(source), "--out", str(out)).returncode == 0
    finally:
        ended.set()
        watcher.join()
    assert wrong == []
