"""Inputs whose names lead to where no input may come from, through the runner as a Pod starts it and the system's own
resolver, in a network of its own in which those places exist and tell who came.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from kubecluster.pki import Authority

HERE = Path(__file__).parent
PUBLIC, METADATA, SERVICE = "93.184.216.34", "169.254.169.254", "10.96.0.1"
HOST = "files.example"
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"),
    reason="a network of its own needs root, unshare and ip",
)


@pytest.fixture
def attack(pod: Any, tmp_path: Path):
    """Run the runner on https://files.example/PATH with these answers of the name server and these redirects."""
    archive = tmp_path / "views.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(pod.source.rglob("*.png")):
            file.write(path, path.relative_to(pod.source))
    sha = hashlib.sha256(archive.read_bytes()).hexdigest()
    authority = Authority(tmp_path / "pki")
    certificate = authority.issue("files", hosts=(HOST, "other.example"))
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:2 attempts:1\n")

    def run(*answers: list[str], path: str = "/a.zip", to: str = "") -> dict[str, Any]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RECON3D_")}
        environment = {
            **kept,
            **pod.environment(),
            "RECON3D_TEST_MODE": "good",
            "RECON3D_TEST_NOTES": str(tmp_path / "notes"),
            "OMP_NUM_THREADS": "1",
            "RECON3D_INPUT": f"https://{HOST}{path}#sha256={sha}",
            "RECON3D_OUTPUT": str(tmp_path / "store"),
            "RECON3D_DEVICE": "cpu",
            "RECON3D_INPUT_HOSTS": f"{HOST},169.254.169.254,10.96.0.1",
            "RECON3D_INPUT_CA": str(authority.folder / "ca.crt"),
        }
        config = {
            "resolv": str(tmp_path / "resolv.conf"),
            "names": {HOST: list(answers)},
            "redirects": {path: to} if to else {},
            "file": str(archive),
            "certificate": [str(each) for each in certificate],
            "command": [sys.executable, str(HERE / "runner_driver.py"), "job"],
            "environment": environment,
        }
        (tmp_path / "config.json").write_text(json.dumps(config))
        world = [sys.executable, str(HERE / "attack_world.py"), str(tmp_path / "config.json")]
        command = ["unshare", "--net", "--mount", "--fork", "--kill-child", "--", *world]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        assert found["touched"] == [], "whatever comes of it, nobody is reached who must not be"
        return found

    return run


def test_an_honest_name_is_fetched(attack, pod):
    found = attack([PUBLIC])
    assert found["rc"] == 0, found["stderr"]
    assert found["asked"] == [HOST]
    assert pod.message().status == "completed"


def test_a_name_that_changes_after_the_check_gains_nothing(attack):
    """The connection goes to the address that was checked; the name is not asked for again."""
    found = attack([PUBLIC], [METADATA])
    assert (found["rc"], found["asked"]) == (0, [HOST])


def refused(found: dict[str, Any], pod: Any) -> None:
    assert found["rc"] == 19, found["stderr"]
    error = pod.message().error
    assert error is not None
    assert error.code == "INPUT_NOT_ALLOWED"
    assert METADATA not in error.message or HOST not in error.message


@pytest.mark.parametrize(
    "answer",
    [[METADATA], [SERVICE], ["127.0.0.1"], [PUBLIC, METADATA], ["::1"], ["::ffff:169.254.169.254"], ["fd00::1"]],
)
def test_a_name_that_leads_inside_is_refused(attack, pod, answer):
    refused(attack(answer), pod)


def test_a_name_that_changes_between_redirects_is_refused(attack, pod):
    found = attack([PUBLIC], [METADATA], path="/1", to=f"https://{HOST}/a.zip")
    refused(found, pod)
    assert found["asked"] == [HOST, HOST]


@pytest.mark.parametrize(
    "target",
    [f"https://{METADATA}/latest/meta-data/", f"http://{METADATA}/latest/", f"https://{SERVICE}/api/v1/secrets",
     "https://other.example/a.zip"],
)  # fmt: skip
def test_a_redirect_to_the_inside_is_refused(attack, pod, target):
    refused(attack([PUBLIC], path="/1", to=target), pod)
