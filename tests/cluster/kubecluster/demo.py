"""`make demo`: a real Kubernetes, the chart installed on it, `kubectl apply`, a mesh.

    python -m kubecluster.demo [up | down] [auto | kind | node | current]

A cluster that is up already, images that are built and a chart that is installed are used again. Where no cluster can
be had, it ends with 3, and the Makefile reconstructs the example with the runner alone.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from kubecluster.binaries import any_kubectl, say
from kubecluster.builds import RECIPES, ROOT, build
from kubecluster.installed import CHART, NAMESPACE, RELEASE, follow, install, ready
from kubecluster.places import NoPlaceError, Place, choose, down
from kubecluster.process import free_ports

OUT = ROOT / "out" / "demo"
JOB = ROOT / "examples" / "job.yaml"
NO_PLACE = 3
_LIMIT_S = 1800


def main(command: str = "up", wanted: str = "auto") -> int:
    """Return 0 done, 1 failed, 3 there is no cluster to be had."""
    if command == "down":
        say("taken down" if down() else "there was nothing to take down")
        return 0
    started = time.monotonic()
    try:
        place = choose(wanted)
    except NoPlaceError as error:
        say(str(error))
        return NO_PLACE
    images = {name: build(name) for name in RECIPES}
    say("giving the cluster the images of operator and runner")
    for image in images.values():
        place.load(image)
    ready("a cluster is up and has the images", started)
    seconds = install(
        place.environment(), images, "-f", CHART / "values-cpu.yaml", "--set=image.pullPolicy=IfNotPresent",
        *place.extra_values,
    )  # fmt: skip
    say(f"the chart is installed and ready ({seconds:.0f} s)")
    say(f"for a look of your own: export KUBECONFIG={place.kubeconfig}" if place.kubeconfig else "as kubectl sees it")
    status = _reconstruct(place)
    if status.get("phase") != "Completed":
        print(json.dumps(status.get("error") or status.get("conditions"), indent=1))
        return 1
    _download(place)
    say(f"{place.removal}; the whole took {time.monotonic() - started:.0f} s")
    return 0


def _reconstruct(place: Place) -> dict[str, object]:
    name = "example"
    place.kubectl("delete", "-n", NAMESPACE, "reconstructionjob", name, "--ignore-not-found", "--wait")
    say(f"$ kubectl apply -n {NAMESPACE} -f {JOB.relative_to(ROOT)}")
    place.kubectl("apply", "-n", NAMESPACE, "-f", str(JOB))
    terminal = sys.stdout.isatty()

    def tell(text: str) -> None:
        print(f"\r\033[K  {text}" if terminal else f"  {text}", end="" if terminal else "\n", flush=True)

    def read() -> dict[str, object]:
        return dict(json.loads(place.kubectl("get", "-n", NAMESPACE, "reconstructionjob", name, "-o", "json")))

    status = dict(follow(read, tell, _LIMIT_S))
    if terminal:
        print()
    return status


def _download(place: Place) -> None:
    """Fetch the result over REST, as somebody without Kubernetes would, and show it."""
    from recon3d_contract.result import Result
    from recon3d_contract.spec import QualityThresholds
    from recon3d_runner.terminal import verdict_report

    secret = json.loads(place.kubectl("get", "-n", NAMESPACE, "secret", f"{RELEASE}-api", "-o", "json"))
    key = base64.b64decode(secret["data"]["admin-key"]).decode()
    (port,) = free_ports(1)
    forward = subprocess.Popen(
        [any_kubectl(), "port-forward", "-n", NAMESPACE, f"service/{RELEASE}-api", f"{port}:80"],
        env=place.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    environment = {**place.environment(), "RECON3D_URL": f"http://127.0.0.1:{port}", "RECON3D_API_KEY": key}
    client = Path(sys.executable).parent / "recon3d"
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.parent.mkdir(exist_ok=True)
    say(f"$ recon3d download example --out {OUT.relative_to(ROOT)}")
    try:
        _wait_for(port)
        subprocess.run([client, "download", "example", "--out", OUT], env=environment, check=True)
    finally:
        forward.terminate()
        forward.wait()
    folder = next(OUT.rglob("result.json")).parent
    result = Result.model_validate_json((folder / "result.json").read_bytes())
    verdict_report(result, folder, sys.stdout, QualityThresholds())


def _wait_for(port: int) -> None:
    """Return once somebody listens there."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise RuntimeError("kubectl port-forward does not answer")


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except RuntimeError as error:  # what a program said; the rest is a defect, with its traceback
        say(str(error))
        sys.exit(1)
