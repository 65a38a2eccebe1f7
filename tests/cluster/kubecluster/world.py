"""A world in memory for unit tests: the fake cluster, the real controller, a clock that only tests move."""

from __future__ import annotations

import asyncio
from typing import Any

from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.summary import ResultSummary
from recon3d_operator.cluster.fake import FakeCluster
from recon3d_operator.controller import Controller
from recon3d_operator.settings import Settings
from recon3d_operator.times import stamp

NAMESPACE = "studio"
GPU = "requests.nvidia.com/gpu"


def job_spec(**changes: Any) -> dict[str, Any]:
    """What the API server makes of the smallest job."""
    return {
        "engine": "nvdiffrec",
        "input": {"builtin": "example"},
        "profile": "standard",
        "seed": 0,
        "deterministic": False,
        "limits": {"softSeconds": 7200},
        "priority": 0,
        "suspend": False,
        "deadlines": {"activeSeconds": 7500},
        "retry": {"limit": 2},
        **changes,
    }


class World:
    """The cluster, the operator, and what a kubelet would do."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.cluster = FakeCluster()
        self.loop = asyncio.new_event_loop()
        self.start()

    def start(self) -> None:
        """Start the operator anew, as after a kill: it knows what a list tells, and nothing else."""
        self.controller = Controller(self.cluster, self.settings, lambda: self.cluster.now)
        self.cluster.listener = self.controller.told
        for obj in self.cluster.everything():
            self.controller.told(None, obj)

    def work(self, most: int = 10_000) -> int:
        """Work until nothing is left to do at this moment; return how many times a job was looked at."""
        for done in range(most):
            key = self.controller.work.take()
            if key is None:
                return done
            self.loop.run_until_complete(self.controller.reconcile(key))
            self.controller.work.done(key)
        raise AssertionError("the operator never comes to rest")

    def advance(self, seconds: float) -> None:
        """Let time pass, moment by moment where something is due."""
        end = self.cluster.now + seconds
        while True:
            due = self.controller.work.next_due
            if due is None or due > end:
                break
            self.cluster.now = max(self.cluster.now, due)
            self.work()
        self.cluster.now = end
        self.controller.refresh_places()
        self.work()

    def submit(self, name: str, **spec: Any) -> None:
        self.cluster.add_job(NAMESPACE, name, job_spec(**spec))
        self.work()

    def change(self, name: str, **spec: Any) -> None:
        self.cluster.change_job(NAMESPACE, name, **spec)
        self.work()

    def quota(self, count: int | None) -> None:
        self.cluster.set_quota(NAMESPACE, None if count is None else {GPU: str(count)})
        self.work()

    def status(self, name: str) -> dict[str, Any]:
        return self.cluster.jobs[NAMESPACE, name].get("status", {})

    def phase(self, name: str) -> str | None:
        return self.status(name).get("phase")

    def condition(self, name: str, kind: str) -> tuple[str, str]:
        found = next(c for c in self.status(name)["conditions"] if c["type"] == kind)
        return found["status"], found["reason"]

    def uid(self, name: str) -> str:
        return str(self.cluster.jobs[NAMESPACE, name]["metadata"]["uid"])

    def pods(self, name: str | None = None) -> list[dict[str, Any]]:
        """The job's Pods, oldest attempt first."""
        uid = None if name is None else self.uid(name)
        found = [p for p in self.cluster.pods.values() if uid in (None, p["metadata"]["labels"]["recon3d.io/job-uid"])]
        return sorted(found, key=lambda p: int(p["metadata"]["labels"]["recon3d.io/attempt"]))

    def started(self) -> list[str]:
        """Names of the jobs that have a Pod, in the order of the Pods' creation."""
        ordered = sorted(self.cluster.pods.values(), key=lambda pod: pod["metadata"]["uid"])
        return [pod["metadata"]["labels"]["recon3d.io/job-name"] for pod in ordered]

    def report(self, name: str, status: dict[str, Any]) -> None:
        """Report the status of the job's latest Pod, as its kubelet does."""
        self.cluster.set_pod(NAMESPACE, self.pods(name)[-1]["metadata"]["name"], status)
        self.work()

    def run(self, name: str) -> None:
        state = {"running": {"startedAt": stamp(self.cluster.now)}}
        self.report(name, {"phase": "Running", "containerStatuses": [{"name": "runner", "state": state}]})

    def end(self, name: str, message: str = "", exit_code: int = 0, **terminated: Any) -> None:
        ended = {"exitCode": exit_code, "message": message, "startedAt": stamp(self.cluster.now), **terminated}
        ended.setdefault("finishedAt", stamp(self.cluster.now))
        phase = "Failed" if exit_code else "Succeeded"
        self.report(name, {"phase": phase, "containerStatuses": [{"name": "runner", "state": {"terminated": ended}}]})

    def complete(self, name: str) -> None:
        self.end(name, self.summary(name))
        self.cluster.settle()
        self.work()

    def summary(self, name: str, code: Code | None = None, **facts: Any) -> str:
        """What a runner leaves as its termination message."""
        error = Recon3dError(code).info() if code else None
        attempt = int(self.pods(name)[-1]["metadata"]["labels"]["recon3d.io/attempt"])
        entry: dict[str, Any] = {"phase": "Failed" if code else "Completed", "seconds": 61.0}
        quality: dict[str, Any] = {}
        if code is None:
            facts = {
                "verdict": "normal",
                "engine": "nvdiffrec",
                "artifact_count": 26,
                "artifact_bytes": 9_000_000,
                **facts,
            }
            quality = {"psnr": 31.5, "ssim": 0.95, "iou": 0.99}
            entry |= {"verdict": "normal", "psnr": 31.5, "ssim": 0.95}
        return ResultSummary.build(
            quality=quality,
            reasons=[],
            engines={"nvdiffrec": entry},
            error=error,
            warnings=[],
            **{
                "job_uid": self.uid(name),
                "attempt": attempt,
                "spec_sha256": "0" * 64,
                "status": "cancelled" if code is Code.CANCELLED else ("failed" if code else "completed"),
                "seconds": 61.0,
                **facts,
            },
        ).to_json()
