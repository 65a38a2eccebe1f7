"""Where the demo's cluster is: kind, the current context, or a node of our own; each with the same few actions."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from kubecluster.able import why_no_node
from kubecluster.binaries import NODE_PROGRAMS, NoBinariesError, any_kubectl, cache_folder, ensure, say
from kubecluster.builds import Image, has_docker
from kubecluster.node import real_cluster
from kubecluster.tools import tool

STORE_VOLUME = "recon3d-demo-store"
KIND_NAME = "recon3d-demo"
CRD = "reconstructionjobs.recon3d.io"


def folder() -> Path:
    """Return where the demo keeps its things."""
    made = cache_folder().parents[1] / "demo"
    made.mkdir(parents=True, exist_ok=True)
    return made


class NoPlaceError(RuntimeError):
    """There is no cluster to be had; the text says why."""


class Place:
    """A cluster that runs."""

    kubeconfig: Path | None = None
    extra_values: tuple[str, ...] = ()
    removal = "`make demo-down` removes the cluster"

    def load(self, image: Image) -> None:
        """Give the cluster's nodes an image."""

    def kubectl(self, *arguments: str, check: bool = True, text: str | None = None) -> str:
        """Run kubectl there; return what it wrote."""
        program = any_kubectl()
        done = subprocess.run(
            [program, *arguments], env=self.environment(), input=text, capture_output=True, text=True, check=False
        )
        if check and done.returncode:
            raise RuntimeError(f"kubectl {' '.join(arguments[:3])}: {done.stderr.strip()}")
        return done.stdout

    def environment(self) -> dict[str, str]:
        """Return the environment in which kubectl and helm find the cluster."""
        return {**os.environ, **({"KUBECONFIG": str(self.kubeconfig)} if self.kubeconfig else {})}


class Current(Place):
    """The current context of kubectl. Its nodes must be able to pull the chart's images, or have them."""

    removal = "`helm uninstall recon3d -n recon3d` removes the installation"

    def __init__(self) -> None:
        try:
            self.kubectl("get", "--raw", "/readyz")
        except RuntimeError as error:
            raise NoPlaceError(f"the current context of kubectl does not answer: {error}") from error
        crd = json.loads(self.kubectl("get", "crd", CRD, "-o", "json", "--ignore-not-found") or "{}")
        if crd and crd["metadata"].get("labels", {}).get("app.kubernetes.io/managed-by") != "Helm":
            say(f"{CRD} is there already and stays as it is")
            self.extra_values = ("--set=crds.enabled=false",)

    def load(self, image: Image) -> None:
        context = self.kubectl("config", "current-context").strip()
        if context.startswith("kind-"):
            _quiet("kind", "load", "image-archive", "--name", context.removeprefix("kind-"), str(image.archive))
        elif context == "minikube":
            _quiet("minikube", "image", "load", str(image.archive))
        else:
            say(f"{context}: its nodes must have or be able to pull {image.reference}")


class Kind(Place):
    """A cluster of kind's, in Docker."""

    def __init__(self) -> None:
        self.program = tool("kind")
        self.kubeconfig = folder() / "kind.kubeconfig"
        clusters = subprocess.run([self.program, "get", "clusters"], capture_output=True, text=True, check=False).stdout
        if KIND_NAME not in clusters.split():
            say("making a cluster with kind")
            _quiet(self.program, "create", "cluster", "--name", KIND_NAME, "--kubeconfig", self.kubeconfig)

    def load(self, image: Image) -> None:
        _quiet(self.program, "load", "image-archive", "--name", KIND_NAME, image.archive)


class OwnNode(Place):
    """The project's own cluster of one node on this machine."""

    def __init__(self) -> None:
        state = own_state() or _start_own()
        self.kubeconfig = Path(state["kubeconfig"])
        self._containerd, self._node = state["containerd"], state["node"]
        # There is nobody who makes volumes, so the store is the folder that the cluster offers.
        self.extra_values = ("--set-string=store.pvc.storageClassName=", f"--set=store.pvc.volumeName={STORE_VOLUME}")

    def load(self, image: Image) -> None:
        enter = ["nsenter", "-t", self._node, "-n", "-m", "-p", "--", "ctr", "-a", self._containerd, "-n", "k8s.io"]
        there = subprocess.run([*enter, "images", "ls", "-q"], capture_output=True, text=True, check=True).stdout
        if image.reference not in there.split():
            _quiet(*enter, "images", "import", image.archive)


def choose(wanted: str) -> Place:
    """Return the place for `wanted`: auto, current, kind or node. Raises NoPlaceError."""
    try:
        if wanted == "current":
            return Current()
        if wanted == "kind" or (wanted == "auto" and has_docker()):
            if not has_docker():
                raise NoPlaceError("kind needs a Docker engine, and none answers (`docker info`)")
            ensure(("kubectl",))
            return Kind()
        if wanted not in ("auto", "node"):
            raise NoPlaceError(f"ON={wanted}: must be kind, node or current")
        why = why_no_node()
        if why:
            raise NoPlaceError(f"no Docker engine answers, and {why}" if wanted == "auto" else why)
        return OwnNode()
    except NoBinariesError as error:
        raise NoPlaceError(str(error)) from error


def down() -> bool:
    """Take down what `choose` started; return whether there was anything."""
    found = False
    state = own_state()
    if state is not None:
        found = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(state["pid"]), signal.SIGTERM)
        while own_state() is not None:
            time.sleep(0.1)
    if (folder() / "kind.kubeconfig").is_file():
        found = True
        _quiet(tool("kind"), "delete", "cluster", "--name", KIND_NAME)
    shutil.rmtree(folder(), ignore_errors=True)
    return found


def own_state() -> dict[str, str] | None:
    """Return what is known of our own cluster; None if it does not run."""
    try:
        state = dict(json.loads((folder() / "state.json").read_text()))
        command = Path(f"/proc/{state['pid']}/cmdline").read_bytes()
    except (OSError, ValueError, KeyError):
        return None
    return state if b"kubecluster.places" in command else None


def _start_own() -> dict[str, str]:
    ensure()
    ensure(NODE_PROGRAMS)
    (folder() / "state.json").unlink(missing_ok=True)
    say("starting Kubernetes on this machine, with one node")
    log = folder() / "cluster.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "kubecluster.places"], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    while (state := own_state()) is None:
        if child.poll() is not None:
            raise NoPlaceError(f"the cluster does not start:\n{log.read_text()[-3000:]}")
        time.sleep(0.2)
    return state


def _be_the_cluster() -> None:
    """Be our own cluster, until SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    store = folder() / "store"
    store.mkdir(exist_ok=True)
    os.chown(store, 65532, 65532)
    with real_cluster() as cluster:
        cluster.folder_volume(STORE_VOLUME, store, mode="ReadWriteOnce")
        state = {
            "pid": str(os.getpid()),
            "kubeconfig": str(cluster.plane.kubeconfig),
            "containerd": str(cluster.socket),
            "node": str(cluster.capsule.pid),
        }
        part = folder() / "state.part"
        part.write_text(json.dumps(state))
        part.rename(folder() / "state.json")
        while not stop.wait(1.0):
            cluster.plane.check()
    (folder() / "state.json").unlink(missing_ok=True)


def _quiet(*command: str | Path) -> None:
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout.decode(errors='replace')[-3000:]}")


if __name__ == "__main__":
    _be_the_cluster()
