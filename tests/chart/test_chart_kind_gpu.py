"""`make kind-gpu` without a GPU, Docker or kind: what it would do, and what it asks for first."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from chart_world import ROOT, environment, pod_specs
from kubecluster.tools import tool

pytestmark = pytest.mark.needs("helm")
SCRIPT = ROOT / "charts/kind-gpu.sh"
STUB = """#!/bin/sh
echo "$(basename "$0") $*" >> {log}
case "$(basename "$0") $*" in
  "docker info") echo ' Default Runtime: {runtime}' ;;
  "docker image inspect {missing}") exit 1 ;;
  "kind get clusters") echo other ;;
esac
[ ! -t 0 ] && cat > /dev/null
exit 0
"""


def run(folder: Path, runtime: str = "nvidia", missing: str = "none", without: str = "") -> tuple[int, str, list[str]]:
    """Run it with programs that only write down how they were called: status, what it said, the calls."""
    log = folder / "calls"
    log.touch()
    programs = folder / "bin"
    programs.mkdir()
    for name in {"docker", "kind", "kubectl", "helm", "nvidia-smi"} - {without}:
        (programs / name).write_text(STUB.format(log=log, runtime=runtime, missing=missing))
        (programs / name).chmod(0o755)
    for name in ("bash", "dirname", "basename", "grep", "cat", "sh"):
        (programs / name).symlink_to(str(shutil.which(name)))
    done = subprocess.run(
        [SCRIPT, "--set", "licenses.nvdiffrast.acceptNonCommercial=true"], env={**os.environ, "PATH": str(programs)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stderr, log.read_text().splitlines()


def test_it_makes_the_cluster_and_installs_what_the_chart_accepts(tmp_path: Path):
    status, said, calls = run(tmp_path)
    assert status == 0, said
    assert [call for call in calls if call.startswith("kind create cluster --name recon3d-gpu")]
    assert [call for call in calls if call.startswith("kind load docker-image --name recon3d-gpu recon3d/runner:")]
    (install,) = (call for call in calls if "upgrade --install recon3d charts/recon3d" in call)
    words = install.split("upgrade --install recon3d charts/recon3d", 1)[1].replace("--create-namespace", "").split()
    rendered = subprocess.run(
        [tool("helm"), "template", "recon3d", "charts/recon3d", *(word for word in words if word != "--wait")],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    specs = pod_specs([doc for doc in yaml.safe_load_all(rendered.stdout) if doc])
    assert specs["recon3d-operator"]["containers"][0]["image"] == "recon3d/operator:0.1.0"
    given = environment(specs["recon3d-operator"])
    assert given["RECON3D_RUNNER_IMAGE"] == "recon3d/runner:0.1.0-nvdiffrec"
    assert '"runtimeClassName":"nvidia"' in given["RECON3D_POD_DEFAULTS"].replace(" ", "")
    assert calls[-1] == "helm --kube-context kind-recon3d-gpu test recon3d -n recon3d"


@pytest.mark.parametrize(
    ("lack", "text"),
    [
        ({"without": "kind"}, "kind is not on the PATH"),
        ({"without": "nvidia-smi"}, "nvidia-smi is not on the PATH"),
        ({"runtime": "runc"}, "Docker's default runtime must be nvidia"),
        ({"missing": "recon3d/runner:0.1.0-nvdiffrec"}, "docs/images.md says how to build it"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_what_it_lacks_it_names_and_does_nothing(tmp_path: Path, lack: dict[str, str], text: str):
    status, said, calls = run(tmp_path, **lack)
    assert status == 1
    assert text in said
    assert not [call for call in calls if "create" in call or "upgrade" in call]


def test_shellcheck_finds_nothing_in_the_scripts():
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("shellcheck is not installed")
    scripts = [SCRIPT, ROOT / ".ci/run", *sorted((ROOT / "requirements").glob("*.sh"))]
    done = subprocess.run([program, *scripts], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")
