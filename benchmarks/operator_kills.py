"""The part `kills` of bench_operator.py: operators, and the API server under them, are killed while jobs run."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Callable
from typing import Any

from kubecluster.client import JOBS, Client, Refused, eventually
from kubecluster.control_plane import ControlPlane, control_plane
from kubecluster.load import PodWatch, create_all, ended, install, job, started_operator, summary
from kubecluster.process import Program

_LEASE = "/apis/coordination.k8s.io/v1/namespaces/default/leases/recon3d-operator"
_FAILOVERS = 0.3


class _Pair:
    """Two operators and the Lease between them; one that ends is started again, as a kubelet would."""

    def __init__(self, plane: ControlPlane, admin: Client) -> None:
        self._plane, self._admin = plane, admin
        self._running: dict[str, tuple[Any, Program]] = {}
        self.lost = 0
        """Those that ended themselves, since they could not renew the Lease."""
        for name in "ab":
            self._start(name)

    def _start(self, name: str) -> None:
        context = started_operator(self._plane, wait=False, POD_NAME=name, RECON3D_LEASE_NAMESPACE="default")
        self._running[name] = (context, context.__enter__())

    def holder(self) -> str:
        """Return who holds the Lease; nobody where that cannot be told."""
        with contextlib.suppress(Refused, OSError):
            return str(self._admin.get(_LEASE).get("spec", {}).get("holderIdentity", ""))
        return ""

    def held(self) -> str:
        """Return who holds the Lease, once one does."""
        return eventually(lambda: self.holder() if self.holder() in self._running else "", seconds=90, what="a holder")

    def kill(self, name: str) -> None:
        """Kill one; it stays down until `revive`."""
        self._running[name][1].stop(signal.SIGKILL)

    def revive(self) -> None:
        """Start those again that have ended."""
        for name, (_, program) in list(self._running.items()):
            if not program.running():
                self.lost += program.stop() > 0
                self._start(name)

    def stands_by(self, name: str) -> bool:
        """Whether the other one has got as far as waiting for the Lease."""
        other = self._running["b" if name == "a" else "a"][1]
        return "health and metrics" in other.log.read_text()

    def stop(self) -> None:
        """End both."""
        for _, program in self._running.values():
            program.stop()


def bench_kills(count: int, kills: int, seed: int, api_restarts: int) -> dict[str, float]:
    """`count` jobs under a quota of 8 with two operators; the holder is killed at random, and so is the API server."""
    dice = random.Random(seed)
    with control_plane(scheduler=False) as plane:
        admin = install(plane)
        admin.namespace("kills", 8)
        path = f"{JOBS}/namespaces/kills/reconstructionjobs"
        with PodWatch(plane.kubeconfig, "kills") as watch:
            create_all(plane.kubeconfig, path, [job(f"j-{i:03}") for i in range(count)], clients=4)
            pair = _Pair(plane, admin)

            def finish_some() -> None:
                for name in [pod for pod in list(watch.created) if pod not in watch.ended][: dice.randint(0, 3)]:
                    with contextlib.suppress(Refused, OSError):  # the API server is away: another time
                        admin.pod_status("kills", name, ended(summary(watch.owner[name])))

            found = _kill_at_random(plane, pair, dice, kills, api_restarts, finish_some)
            end = time.monotonic() + 600
            done = 0
            while done < count and time.monotonic() < end:
                pair.revive()
                finish_some()
                done = sum((each.get("status") or {}).get("phase") == "Completed" for each in admin.items(path))
                time.sleep(0.2)
            pair.stop()
            phases = [(each.get("status") or {}).get("phase") for each in admin.items(path)]
            for pod in admin.items("/api/v1/namespaces/kills/pods"):  # one that the watch has missed
                watch.owner[pod["metadata"]["name"]] = pod["metadata"]["labels"]["recon3d.io/job-uid"]
            owners = list(watch.owner.values())
    return {
        **found,
        "duplicates": len(owners) - len(set(owners)),
        "lost": count - len(phases),
        "stuck": sum(phase != "Completed" for phase in phases),
        "leases_lost": pair.lost,
    }


def _kill_at_random(
    plane: ControlPlane,
    pair: _Pair,
    dice: random.Random,
    kills: int,
    api_restarts: int,
    finish_some: Callable[[], None],
) -> dict[str, float]:
    """Kill `kills` operators, and among them `api_restarts` times the API server; return what was seen."""
    failovers, cold, restarts = [], [], set(dice.sample(range(kills), min(api_restarts, kills)))
    for number in range(kills):
        time.sleep(dice.uniform(0.2, 2.5))
        finish_some()
        beneath = number in restarts and dice.random() < 0.4
        if beneath:  # both operators live through it, or end since the Lease cannot be renewed
            plane.restart_api()
            pair.revive()
        name = pair.held()
        pair.kill(name)
        if number in restarts and not beneath:
            if dice.random() < 0.5:  # the operator begins while there is no API server
                plane.programs["kube-apiserver"].stop(signal.SIGKILL)
                pair.revive()
            plane.restart_api()
        elif dice.random() < _FAILOVERS:  # the other one has to take over; killed a moment ago, it has yet to start
            since, stands_by = time.monotonic(), pair.stands_by(name)
            eventually(lambda n=name: pair.holder() not in ("", n), seconds=90, what="the other one takes over")
            (failovers if stands_by else cold).append(time.monotonic() - since)
        pair.revive()
    return {
        "kills": kills,
        "api_restarts": len(restarts),
        "failover_s": round(max(failovers, default=0.0), 2),
        "failovers": len(failovers),
        "failover_unstarted_s": round(max(cold, default=0.0), 2),
    }
