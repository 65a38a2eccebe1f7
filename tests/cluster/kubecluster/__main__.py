"""`python -m kubecluster up [--node] | load ARCHIVE | down`: a cluster that stays, for trying things by hand.

up           a control plane with the CRD and a node that exists on paper, with eight GPUs
up --node    the same with a real node, which runs containers and offers one GPU
load         give the real node the images of an archive (of `docker save`, or OCI)
down         take it down; nothing of it is left
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from kubecluster.binaries import NODE_PROGRAMS, cache_folder, ensure, say
from kubecluster.control_plane import control_plane
from kubecluster.load import install
from kubecluster.node import real_cluster


def state_file() -> Path:
    """Return the file that tells of the running control plane."""
    return cache_folder() / "up.json"


def running() -> dict[str, str] | None:
    """Return what is known of the control plane that runs; None if none does."""
    try:
        state = dict(json.loads(state_file().read_text()))
        command = Path(f"/proc/{state['pid']}/cmdline").read_bytes()
    except (OSError, ValueError, KeyError):
        return None
    return state if b"kubecluster" in command else None


def up(*options: str) -> int:
    """Start one in the background; return when it is ready."""
    state = running()
    if state is None:
        ensure()
        if options:
            ensure(NODE_PROGRAMS)
        state_file().unlink(missing_ok=True)
        log = state_file().with_suffix(".log")
        with log.open("wb") as output:
            command = [sys.executable, "-m", "kubecluster", "run", *options]
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        while (state := running()) is None:
            if child.poll() is not None:
                sys.stderr.write(log.read_text())
                return 1
            time.sleep(0.2)
    say(f"{state['server']} is up; take it down with `make cluster-down`")
    print(f"export KUBECONFIG={state['kubeconfig']}")
    return 0


def load(archive: str) -> int:
    """Give the real node the images of `archive`."""
    state = running()
    if state is None or not state["containerd"]:
        say("no real node is up; start one with `make cluster-up NODE=1`")
        return 1
    command = ["ctr", "-a", state["containerd"], "-n", "k8s.io", "images", "import", archive]
    return subprocess.run(["nsenter", "-t", state["node"], "-n", "-m", "-p", "--", *command], check=False).returncode


def run(*options: str) -> int:
    """Be that cluster, until SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with contextlib.ExitStack() as stack:
        state = {"pid": str(os.getpid()), "containerd": ""}
        if "--node" in options:
            cluster = stack.enter_context(real_cluster())
            plane = cluster.plane
            install(plane)
            state |= {"containerd": str(cluster.socket), "node": str(cluster.capsule.pid)}
        else:
            plane = stack.enter_context(control_plane())
            install(plane).node("gpu-node", 8)
        state |= {"server": plane.server, "kubeconfig": str(plane.kubeconfig)}
        part = state_file().with_suffix(".part")
        part.write_text(json.dumps(state))
        part.rename(state_file())
        while not stop.wait(1.0):
            plane.check()
    state_file().unlink(missing_ok=True)
    return 0


def down() -> int:
    """Take it down; nothing of it is left."""
    state = running()
    if state is None:
        say("no control plane is up")
        return 0
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(state["pid"]), signal.SIGTERM)
    while running() is not None:
        time.sleep(0.1)
    say("down")
    return 0


if __name__ == "__main__":
    sys.exit({"up": up, "load": load, "down": down, "run": run}[(sys.argv[1:] or ["up"])[0]](*sys.argv[2:]))
