"""Random histories over the fake cluster: users, kubelets, a changing quota, late watches, failing calls, kills.

Invariants: never more Pods than the quota admits; never two live Pods of a job; a final phase never changes; a job
is Completed only if its runner said so; and in the end, once the faults stop, every job has ended.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from kubecluster.world import GPU, NAMESPACE, World, job_spec
from recon3d_contract.errors import Code
from recon3d_operator.cluster.refusals import ApiError
from recon3d_operator.settings import Settings
from recon3d_operator.times import parse, stamp

FINAL = ("Completed", "Failed", "Cancelled")
ERRORS = st.sampled_from(
    [(0, "no answer"), (409, "Conflict: modified"), (500, "etcd"), (429, "slow down"), (409, "resourcequotas conflict"),
     (403, "status unknown for quota"), (503, "starting")]
)  # fmt: skip


class Histories(RuleBasedStateMachine):
    names = Bundle("names")

    def __init__(self) -> None:
        super().__init__()
        self.world = World(Settings(runner_image="r", store="s3://results", retry_base_s=5.0))
        self.cluster = self.world.cluster
        self.late: dict[str, deque[tuple[str, dict[str, Any]]]] = {}
        self.faults: deque[tuple[str, ApiError] | None] = deque()
        self.finals: dict[str, tuple[str, Any]] = {}
        self.told_completed: set[str] = set()
        self.serial = 0
        self.cluster.set_quota(NAMESPACE, {GPU: "1"})
        self.restart()

    def restart(self) -> None:
        self.world.start()
        self.late = {}
        self.cluster.listener = lambda change, obj: self.late.setdefault(obj["kind"], deque()).append((change, obj))
        self.cluster.fault = self.fault

    def fault(self, when: str, call: str) -> ApiError | None:
        if when == "before":
            self.current = self.faults.popleft() if self.faults else None
        planned = self.current
        return planned[1] if planned is not None and planned[0] == when else None

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            self.world.loop.close()

    # --- users

    @rule(target=names, priority=st.integers(-1, 1), limit=st.integers(0, 2), ttl=st.sampled_from([None, None, 50]))
    def create(self, priority: int, limit: int, ttl: int | None) -> str:
        self.serial += 1
        name = f"job-{self.serial}"
        extra = {} if ttl is None else {"ttlSecondsAfterFinished": ttl}
        self.cluster.add_job(NAMESPACE, name, job_spec(priority=priority, retry={"limit": limit}, **extra))
        return name

    @rule(name=names)
    def cancel(self, name: str) -> None:
        job = self.job(name)
        if job is not None:
            asked = job["spec"].get("cancel") or {}
            if not asked:
                self.cluster.change_job(NAMESPACE, name, cancel={"request": "a"})
            elif "confirm" not in asked:
                self.cluster.change_job(NAMESPACE, name, cancel={"request": "a", "confirm": "a"})

    @rule(name=consumes(names))
    def delete(self, name: str) -> None:
        job = self.job(name)
        if job is not None:
            fault, self.cluster.fault = self.cluster.fault, lambda *_: None
            self.await_(self.cluster.delete_job(NAMESPACE, name, job["metadata"]["uid"]))
            self.cluster.fault = fault

    @rule(name=names, suspend=st.booleans())
    def suspend(self, name: str, suspend: bool) -> None:
        if self.job(name) is not None:
            self.cluster.change_job(NAMESPACE, name, suspend=suspend)

    @rule(count=st.sampled_from([None, 0, 1, 2, 3]))
    def quota(self, count: int | None) -> None:
        self.cluster.set_quota(NAMESPACE, None if count is None else {GPU: str(count)})

    # --- kubelets and the controller manager

    @rule(pick=st.integers(0, 10))
    def pod_runs(self, pick: int) -> None:
        self.kubelet(pick, lambda name: self.world_report(name, "run"))

    @rule(pick=st.integers(0, 10))
    def pod_completes(self, pick: int) -> None:
        self.kubelet(pick, lambda name: self.world_report(name, "complete"))

    @rule(pick=st.integers(0, 10), code=st.sampled_from([Code.MISSING_VIEW, Code.INFRASTRUCTURE_LOST]))
    def pod_fails(self, pick: int, code: Code) -> None:
        self.kubelet(pick, lambda name: self.world_report(name, "fail", code))

    @rule(pick=st.integers(0, 10))
    def pod_is_evicted(self, pick: int) -> None:
        self.kubelet(pick, lambda name: self.cluster.set_pod(NAMESPACE, name, {"phase": "Failed", "reason": "Evicted"}))

    @rule(pick=st.integers(0, 10))
    def container_is_lost_before_its_pod_has_ended(self, pick: int) -> None:
        self.kubelet(pick, self.lose_container)

    @rule(pick=st.integers(0, 10))
    def pod_vanishes(self, pick: int) -> None:
        found = sorted(self.cluster.pods)
        if found:
            self.cluster.finish_deletion(*found[pick % len(found)])

    @rule()
    def pods_of_ended_containers_end(self) -> None:
        for (_, name), pod in list(self.cluster.pods.items()):
            states = [entry["state"] for entry in pod["status"].get("containerStatuses", [])]
            if pod["status"]["phase"] == "Running" and any("terminated" in state for state in states):
                self.cluster.set_pod(NAMESPACE, name, {**pod["status"], "phase": "Failed"})

    @rule()
    def deletions_finish(self) -> None:
        for key, pod in list(self.cluster.pods.items()):
            if "deletionTimestamp" in pod["metadata"]:
                self.cluster.finish_deletion(*key)

    @rule()
    def quota_is_counted(self) -> None:
        self.cluster.settle()

    # --- the operator and its surroundings

    @rule(kind=st.sampled_from(["Pod", "ReconstructionJob", "ResourceQuota"]), count=st.integers(1, 10))
    def watch_delivers(self, kind: str, count: int) -> None:
        waiting = self.late.get(kind, deque())
        for _ in range(min(count, len(waiting))):
            self.world.controller.told(*waiting.popleft())

    @rule(count=st.integers(1, 20))
    def operator_works(self, count: int) -> None:
        for _ in range(count):
            key = self.world.controller.work.take()
            if key is None:
                return
            self.await_(self.world.controller.reconcile(key))
            self.world.controller.work.done(key)

    @rule(when=st.sampled_from(["before", "after"]), error=ERRORS, skip=st.integers(0, 3))
    def calls_will_fail(self, when: str, error: tuple[int, str], skip: int) -> None:
        self.faults.extend([None] * skip)
        self.faults.append((when, ApiError(*error)))

    @rule()
    def operator_is_killed(self) -> None:
        self.restart()

    @rule(seconds=st.sampled_from([1, 10, 60, 4000]))
    def time_passes(self, seconds: int) -> None:
        self.cluster.now += seconds

    # --- what must hold

    @invariant()
    def one_live_pod_a_job(self) -> None:
        live: dict[str, list[str]] = {}
        for pod in self.cluster.pods.values():
            end = parse(pod["metadata"].get("deletionTimestamp"))
            over = pod["status"]["phase"] in ("Succeeded", "Failed") or (end is not None and self.cluster.now >= end)
            if not over:
                live.setdefault(pod["metadata"]["labels"]["recon3d.io/job-uid"], []).append(pod["metadata"]["name"])
        assert all(len(pods) == 1 for pods in live.values()), live

    @invariant()
    def final_phases_stay(self) -> None:
        for (_, name), job in self.cluster.jobs.items():
            status = job.get("status") or {}
            if status.get("phase") in FINAL:
                assert self.finals.setdefault(name, (status["phase"], status)) == (status["phase"], status)
            else:
                assert name not in self.finals, name
            if status.get("phase") == "Completed":
                assert name in self.told_completed

    # --- helpers

    def await_(self, work: Any) -> Any:
        return self.world.loop.run_until_complete(work)

    def job(self, name: str) -> dict[str, Any] | None:
        return self.cluster.jobs.get((NAMESPACE, name))

    def kubelet(self, pick: int, act: Any) -> None:
        found = sorted(
            name for (_, name), pod in self.cluster.pods.items() if pod["status"]["phase"] in ("Pending", "Running")
        )
        if found:
            act(found[pick % len(found)])

    def lose_container(self, name: str) -> None:
        labels = self.cluster.pods[NAMESPACE, name]["metadata"]["labels"]
        if self.job(labels["recon3d.io/job-name"]) is not None:
            message = self.world.summary(labels["recon3d.io/job-name"], Code.INFRASTRUCTURE_LOST)
            ended = {"exitCode": 58, "message": message, "finishedAt": stamp(self.cluster.now)}
            containers = [{"name": "runner", "state": {"terminated": ended}}]
            self.cluster.set_pod(NAMESPACE, name, {"phase": "Running", "containerStatuses": containers})

    def world_report(self, pod_name: str, what: str, code: Code | None = None) -> None:
        labels = self.cluster.pods[NAMESPACE, pod_name]["metadata"]["labels"]
        name = labels["recon3d.io/job-name"]
        if self.job(name) is None or self.world.pods(name)[-1]["metadata"]["name"] != pod_name:
            return
        work, self.world.work = self.world.work, lambda *_: 0
        if what == "run":
            self.world.run(name)
        elif what == "complete":
            self.told_completed.add(name)
            self.world.end(name, self.world.summary(name))
        else:
            self.world.end(name, self.world.summary(name, code), 10)
        self.world.work = work

    def finish(self) -> None:
        """The faults stop; every job must end."""
        self.faults.clear()
        self.cluster.set_quota(NAMESPACE, {GPU: "2"})
        for _, name in list(self.cluster.jobs):
            self.cluster.change_job(NAMESPACE, name, suspend=False)
        for _ in range(40 + 8 * self.serial):
            for kind in ("ReconstructionJob", "Pod", "ResourceQuota"):
                self.watch_delivers(kind, 10_000)
            self.operator_works(10_000)
            self.deletions_finish()
            self.pods_of_ended_containers_end()
            for (_, pod_name), pod in list(self.cluster.pods.items()):
                if pod["status"]["phase"] in ("Pending", "Running"):
                    self.world_report(pod_name, "complete")
            self.cluster.settle()
            self.cluster.now += 30
            self.one_live_pod_a_job()
            self.final_phases_stay()
            if all((job.get("status") or {}).get("phase") in FINAL for job in self.cluster.jobs.values()):
                return
        left = {name: job.get("status") for (_, name), job in self.cluster.jobs.items()}
        raise AssertionError(
            {name: status for name, status in left.items() if (status or {}).get("phase") not in FINAL}
        )


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=int(os.environ.get("RECON3D_HISTORIES", "40")),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
