"""The harness leaves nothing behind, not even after a kill, and several control planes stand side by side."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kubecluster.client import eventually
from kubecluster.control_plane import control_plane
from kubecluster.places import NoPlaceError, choose
from kubecluster.process import sweep

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120, func_only=True)]
HARNESS = Path(__file__).resolve().parents[2] / "cluster"
SCRIPT = """
import sys, time
from kubecluster.control_plane import control_plane
from kubecluster.places import NoPlaceError, choose
with control_plane(scheduler=False) as plane:
    print(plane.folder, *(program.pid for program in plane.programs.values()), flush=True)
    time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_killed_run_leaves_no_process_and_its_folder_is_swept(plane):
    environment = {**os.environ, "PYTHONPATH": str(HARNESS)}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    with process.stdout:
        folder, *pids = process.stdout.readline().split()
        assert len(pids) == 3
        assert all(alive(int(pid)) for pid in pids)
        process.send_signal(signal.SIGKILL)
        process.wait()
    eventually(lambda: not any(alive(int(pid)) for pid in pids), what="all programs have ended")
    assert Path(folder) in sweep()
    assert plane.folder.is_dir(), "a running one is never swept"
    plane.check()


def test_a_control_plane_is_up_in_seconds_beside_another(plane):
    started = time.monotonic()
    with control_plane(scheduler=False) as other:
        assert time.monotonic() - started < 60
        assert other.server != plane.server
        pids = [program.pid for program in other.programs.values()]
    assert not any(alive(pid) for pid in pids)
    assert not other.folder.exists()


def test_the_demo_on_a_cluster_in_use_leaves_the_definition_that_is_there(plane, admin, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(plane.kubeconfig))
    place = choose("current")
    assert place.extra_values == ("--set=crds.enabled=false",)
    assert "demo-down" not in place.removal
    with control_plane(scheduler=False) as other:
        monkeypatch.setenv("KUBECONFIG", str(other.kubeconfig))
        assert choose("current").extra_values == ()


def test_the_demo_says_which_cluster_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(NoPlaceError, match="does not answer"):
        choose("current")
