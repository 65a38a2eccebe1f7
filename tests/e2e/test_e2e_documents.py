"""What docs/install.md tells people to type holds, typed as it stands there (on the images of this checkout)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from e2e_world import NAMESPACE, ROOT, World, small_zip
from kubecluster.binaries import ensure
from kubecluster.client import eventually
from kubecluster.process import free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.needs("node", "images", "helm"), pytest.mark.timeout(900, func_only=True)]
# Who has no jq.
JQ = f"""#!{sys.executable}
import json, sys
print(json.load(sys.stdin)[sys.argv[-1].lstrip(".")])
"""


def blocks(section: str) -> list[str]:
    """The commands of a section, block by block."""
    text = (ROOT / "docs/install.md").read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    return [found.replace("-n recon3d", f"-n {NAMESPACE}") for found in re.findall(r"```\n(.*?)```", text, re.DOTALL)]


def typed(world: World, place: Path, script: str) -> str:
    """Run the script as a person would: one command after the other, all of which must succeed."""
    programs = place / "bin"
    programs.mkdir(exist_ok=True)
    if not (programs / "kubectl").exists():
        (programs / "kubectl").symlink_to(ensure(("kubectl",))["kubectl"])
        (programs / "jq").write_text(JQ)
        (programs / "jq").chmod(0o755)
    done = subprocess.run(
        ["bash", "-euc", f"{script}\n"], cwd=place, capture_output=True, text=True, check=False, timeout=600,
        env={**world.environment, "PATH": f"{programs}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_job_s_life_by_kubectl(world: World, tmp_path: Path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    life, cancelling = blocks("A job's life by kubectl")
    watched = re.sub(r"^(kubectl get .* -w) .*$", r"timeout 5 \1 || [ $? = 124 ]", life, flags=re.MULTILINE)
    assert watched != life
    shown = typed(world, tmp_path, watched)
    for word in ("condition met", '"verdict":', "Reason:", "patched", "deleted"):
        assert word in shown
    apply = life.splitlines()[0]
    typed(world, tmp_path, apply)
    world.runs("example")
    typed(world, tmp_path, cancelling)
    world.wait("example", "Cancelled", seconds=60)
    world.remove("example")


def test_a_job_s_life_over_rest(world: World, tmp_path: Path):
    (tmp_path / "scan.zip").write_bytes(small_zip())
    (script,) = blocks("A job's life over REST")
    (port,) = free_ports(1)
    # A person is slower than the port-forward is.
    listening = f"timeout 20 bash -c 'until (: </dev/tcp/127.0.0.1/{port}) 2>/dev/null; do sleep .1; done'"
    head, tail = script.replace("8000", str(port)).split("\n", 1)
    shown = typed(world, tmp_path, f"{head}\ntrap 'kill $!' EXIT\n{listening}\n{tail}")
    assert '"status":"completed"' in shown.replace(" ", "")
    (archive,) = set(tmp_path.glob("*.zip")) - {tmp_path / "scan.zip"}
    assert archive.stat().st_size > 10_000
    client = f"{Path(sys.executable).parent}/recon3d"
    environment = {**world.environment, "RECON3D_URL": world.address, "RECON3D_API_KEY": world.key}
    subprocess.run(
        [client, "submit", "scan.zip", "--profile", "fast", "--watch", "--out", "result"], cwd=tmp_path,
        env=environment, check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    (result,) = (tmp_path / "result").rglob("result.json")
    assert json.loads(result.read_text())["status"] == "completed"
    path = f"/apis/recon3d.io/v1alpha1/namespaces/{NAMESPACE}/reconstructionjobs"
    world.remove(*(job["metadata"]["name"] for job in world.client.items(path)))
    eventually(lambda: not world.client.items(path), what="no job is left")
