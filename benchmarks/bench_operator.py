"""The operator's speed on a real API server of this machine; the last line is one JSON object.

    python benchmarks/bench_operator.py                      everything (about 15 minutes on two cores)
    python benchmarks/bench_operator.py --only create --jobs 200

Parts: create (beside the built-in Job controller, with its client limits lifted and as shipped), queue (the time from
a freed place to the next Pod), load (memory and time to sync of a full cluster), kills (operators and the API server
killed at random while jobs run; operator_kills.py). There is no kubelet and no scheduler: the bench reports Pods' ends.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "cluster"))

from kubecluster.client import JOBS, Client, eventually  # noqa: E402
from kubecluster.control_plane import ControlPlane, control_plane  # noqa: E402
from kubecluster.load import PodWatch, create_all, ended, install, job, started_operator, summary  # noqa: E402
from operator_kills import bench_kills  # noqa: E402

GPU = "nvidia.com/gpu"


def say(text: str) -> None:
    """Tell the person who waits."""
    print(f"[bench] {time.strftime('%H:%M:%S')} {text}", flush=True)


def batch_job(name: str) -> dict[str, Any]:
    """The same load as a built-in Job: one Pod with one GPU."""
    resources = {"requests": {GPU: "1"}, "limits": {GPU: "1"}}
    container = {"name": "runner", "image": "registry.example/runner:1", "resources": resources}
    pod = {"restartPolicy": "Never", "serviceAccountName": "recon3d-runner", "containers": [container]}
    return {"metadata": {"name": name}, "spec": {"backoffLimit": 0, "template": {"spec": pod}}}


def burst(plane: ControlPlane, place: str, path: str, bodies: list[dict[str, Any]]) -> float:
    """Create `bodies` with 16 clients; return seconds from the first one created to the last Pod created."""
    with PodWatch(plane.kubeconfig, place) as watch:
        begun = create_all(plane.kubeconfig, path, bodies, clients=16)
        eventually(lambda: len(watch.created) >= len(bodies), seconds=900, what="all Pods are there")
        return max(watch.created.values()) - begun


def bench_create(count: int, *, lifted: bool) -> dict[str, float]:
    """Three bursts of ours in one process, after each one of the Job controller's (as shipped: one of each).

    All objects stay, so that the API server itself gets slower from burst to burst, for both.
    """
    word = "lifted" if lifted else "shipped"
    ours, theirs, used = [], [], []
    with control_plane(lifted=lifted, scheduler=False) as plane:
        admin = install(plane)

        def burst_in(place: str, path: str, body: Callable[[str], dict[str, Any]]) -> float:
            admin.namespace(place, count)
            speed = count / burst(plane, place, path.format(place), [body(f"j-{i}") for i in range(count)])
            say(f"{word}: {place}: {speed:.1f} Pods/s")
            time.sleep(10)
            return speed

        with started_operator(plane) as program:
            for number in range(1, 4 if lifted else 2):
                before = _processor_s(program.pid)
                ours.append(burst_in(f"ours-{number}", f"{JOBS}/namespaces/{{}}/reconstructionjobs", job))
                used.append(_processor_s(program.pid) - before)
                theirs.append(burst_in(f"theirs-{number}", "/apis/batch/v1/namespaces/{}/jobs", batch_job))
    return {
        f"create_ratio_{word}": round(statistics.mean(ours) / statistics.mean(theirs), 2),
        **{f"ours_{word}_{number}_per_s": round(speed, 1) for number, speed in enumerate(ours, 1)},
        **{f"job_controller_{word}_{number}_per_s": round(speed, 1) for number, speed in enumerate(theirs, 1)},
        f"ours_{word}_processor_s": round(statistics.mean(used), 1),
    }


def _processor_s(pid: int) -> float:
    """Return the processor time that the process has used: what runs beside it does not change that."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def bench_queue(queued: int, samples: int) -> dict[str, float]:
    """`queued` jobs wait behind a quota of 8; places are freed one by one. API writes a job are counted meanwhile."""
    with control_plane(scheduler=False) as plane:
        admin = install(plane)
        admin.namespace("queue", 8)
        with started_operator(plane), PodWatch(plane.kubeconfig, "queue") as watch:
            bodies = [job(f"j-{i:05}") for i in range(queued)]
            create_all(plane.kubeconfig, f"{JOBS}/namespaces/queue/reconstructionjobs", bodies, clients=8)
            say(f"{queued} jobs are created")
            waiting = f"{JOBS}/namespaces/queue/reconstructionjobs/j-{queued - 1:05}"
            eventually(lambda: admin.get(waiting).get("status"), seconds=900, what="the last job is seen")
            say("all are queued")
            time.sleep(20)
            writes, waits = _writes(admin), []
            for _ in range(samples):
                before = set(watch.created)
                name = next(pod for pod in list(watch.created) if pod not in watch.ended)
                uid = watch.owner[name]
                admin.pod_status("queue", name, ended(summary(uid)))
                eventually(lambda n=name: n in watch.ended, what="the end is seen")
                fresh = eventually(lambda b=before: set(watch.created) - b, seconds=60, what="the next Pod is there")
                waits.append(min(watch.created[pod] for pod in fresh) - watch.ended[name])
            time.sleep(3)
            per_job = (_writes(admin) - writes) / samples
    waits.sort()
    return {
        "quota_freed_p50_s": round(statistics.median(waits), 3),
        "quota_freed_p99_s": round(waits[int(len(waits) * 0.99)], 3),
        "writes_per_job": round(per_job, 2),
        "queued": queued,
    }


def _writes(admin: Client) -> float:
    """Count what only the operator writes here: jobs' statuses, Pods, Events."""
    wanted = (
        r'resource="reconstructionjobs",[^}]*subresource="status",[^}]*verb="PUT"',
        r'resource="pods",[^}]*subresource="",[^}]*verb="(POST|DELETE)"',
        r'resource="events",[^}]*verb="POST"',
    )
    lines = admin.text("/metrics").splitlines()
    found = [line for line in lines if line.startswith("apiserver_request_total{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in found for each in wanted if re.search(each, line))


def bench_load(count: int) -> dict[str, float]:
    """`count` jobs, four fifths of them Completed with the full status of a `both` job: start, sync, memory."""
    with control_plane(scheduler=False) as plane:
        admin = install(plane)
        admin.namespace("load", 0)
        path = f"{JOBS}/namespaces/load/reconstructionjobs"
        done, names = count * 4 // 5, [f"j-{i:05}" for i in range(count)]
        create_all(plane.kubeconfig, path, [job(name, engine="both") for name in names], clients=8)
        statuses = [(f"{path}/{name}/status", {"status": _full_status(name)}) for name in names[:done]]
        create_all(plane.kubeconfig, path, statuses, clients=8)
        say(f"{count} jobs are there, {done} of them Completed")
        begun = time.monotonic()
        with started_operator(plane, wait=False) as operator:
            found = eventually(
                lambda: re.search(r"synced: (\d+) jobs in ([\d.]+) s", operator.log.read_text()), seconds=120
            )
            started = time.monotonic() - begun
            say(f"{found.group(0)}, {started:.2f} s after the program was started")
            last = f"{path}/{names[-1]}"
            eventually(lambda: admin.get(last).get("status"), seconds=600, what="the last job is seen")
            time.sleep(5)
            status = Path(f"/proc/{operator.pid}/status").read_text()
            rss = int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024
            peak = int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 1024
    return {
        "memory_mib": round(rss, 1),
        "memory_peak_mib": round(peak, 1),
        "sync_s": round(started, 2),
        "list_s": float(found.group(2)),
        "load_jobs": count,
    }


def _full_status(name: str) -> dict[str, Any]:
    now = "2026-11-21T00:00:00Z"
    engine = {
        "phase": "Completed",
        "verdict": "normal",
        "psnr": 31.2,
        "ssim": 0.94,
        "seconds": 100.0,
        "message": "m" * 200,
    }
    kinds = ("Accepted", "QuotaReserved", "RunnerReady", "Succeeded")
    conditions = [
        {"type": kind, "status": "True", "reason": "R", "message": "m" * 80, "lastTransitionTime": now}
        for kind in kinds
    ]
    return {
        "phase": "Completed",
        "observedGeneration": 1,
        "conditions": conditions,
        "progress": {"percent": 100, "updatedAt": now},
        "engines": {"nvdiffrec": engine, "reconviagen": engine},
        "summary": {"engine": "nvdiffrec", "verdict": "normal", "psnr": 31.2, "ssim": 0.94, "reasons": ["r" * 200] * 5},
        "artifacts": {"path": f"s3://results/jobs/{name}/attempts/1", "count": 52, "bytes": 90_000_000},
        "attempts": [{"number": 1, "pod": f"{name}-1", "node": "n", "startedAt": now, "finishedAt": now}],
        "startedAt": now,
        "finishedAt": now,
    }


def main() -> int:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("create", "queue", "load", "kills"), action="append")
    parser.add_argument("--jobs", type=int, default=1000, help="of a burst (default 1000)")
    parser.add_argument("--queued", type=int, default=10_000, help="behind the quota, and for the load (default 10000)")
    parser.add_argument("--samples", type=int, default=200, help="places to free (default 200)")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--api-restarts", type=int, default=10, help="of the API server, among the kills (default 10)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    parts = args.only or ["create", "queue", "load", "kills"]
    result: dict[str, float] = {}
    if "create" in parts:
        result |= bench_create(args.jobs, lifted=True)
        result |= bench_create(args.jobs, lifted=False)
    if "queue" in parts:
        result |= bench_queue(args.queued, args.samples)
    if "load" in parts:
        result |= bench_load(args.queued)
    if "kills" in parts:
        result |= bench_kills(200, args.kills, args.seed, args.api_restarts)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
