"""One job, everything known of it and the time in; what shall be so out. Pure: it knows no client and no clock.

    final phase?  nothing changes any more; leftovers go, and after its time to live the job
    a run?        its end counts before a cancellation; then cancellation, deadlines, what the Pod waits for
    no run?       cancellation, deadline, admission, back-off, the queue's turn

A Decision that makes a Pod says nothing of the status: once the Pod is there, the job is looked at again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.phases import TERMINAL, Phase, advance

from recon3d_operator import report
from recon3d_operator.model import Decision, Event, Object, Observed, deletion_time
from recon3d_operator.rules import conditions, deadline, queue, retry, ttl
from recon3d_operator.rules.admission import refused_job
from recon3d_operator.rules.cancel import Cancellation, cancellation, is_late
from recon3d_operator.rules.conditions import ACCEPTED, QUOTA_RESERVED, RUNNER_READY, SUCCEEDED, Fact
from recon3d_operator.rules.outcome import Outcome, has_ended, outcome, started_at
from recon3d_operator.settings import Settings
from recon3d_operator.times import parse, stamp


def decide(seen: Observed, settings: Settings, now: float) -> Decision:
    """Return what shall be so for the job of `seen` at `now`, in seconds since 1970."""
    if seen.phase in TERMINAL:
        return _over(seen, now)
    return _Draft(seen, settings, now).decide()


def _over(seen: Observed, now: float) -> Decision:
    leftovers = tuple(pod for pod in seen.pods if not has_ended(pod) and deletion_time(pod) is None)
    end = ttl.delete_at(seen.spec, seen.status)
    if end is not None and now >= end:
        return Decision(seen.status, delete=leftovers, remove_job=True)
    return Decision(seen.status, delete=leftovers, look_again_at=end)


class _Draft:
    """The new status of a job that is not over, while it is being put together."""

    def __init__(self, seen: Observed, settings: Settings, now: float) -> None:
        self.seen, self.settings, self.now = seen, settings, now
        self.spec, self.old = seen.spec, seen.status
        self.facts: dict[str, Fact] = {}
        self.fields: dict[str, Any] = {}
        self.attempts = [dict(attempt) for attempt in seen.attempts]
        self.times: list[float] = []
        self.delete: tuple[Object, ...] = ()
        self.grace: int | None = None
        self.waits = False
        self.events: list[Event] = []
        self.cancel: Cancellation = cancellation(self.spec, self.old.get("cancellation"), now)

    def decide(self) -> Decision:
        seen = self.seen
        if self.cancel.expires_at is not None:
            self.times.append(self.cancel.expires_at)
        if is_late(self.spec, self.cancel.status):
            self._tell_late()
        pod, number = seen.by_number.get(seen.latest), seen.latest
        recorded = next((attempt for attempt in self.attempts if attempt["number"] == number), None)
        if number and not (recorded and recorded.get("finishedAt")):
            return self._with_run(pod, recorded)
        return self._without_run()

    # --- a run

    def _with_run(self, pod: Object | None, recorded: Mapping[str, Any] | None) -> Decision:
        self.facts[ACCEPTED] = ("True", "Accepted", "")
        self.facts[QUOTA_RESERVED] = ("True", "Reserved", "")
        if pod is None:
            record = dict(recorded or {})  # there is one: the attempt left a trace, and it is not a Pod
            text = "The runner's Pod was deleted."
            details = {"reason": retry.POD_DELETED, "pod": record.get("pod")}
            gone = Outcome(retry.POD_DELETED, Recon3dError(Code.INFRASTRUCTURE_LOST, text, details))
            self._record({**record, "finishedAt": stamp(self.now), "reason": gone.reason})
            return self._ended(gone)
        ended = outcome(pod, str(self.seen.job["metadata"]["uid"]))
        lost_at = deletion_time(pod)
        if ended is None and lost_at is not None:
            lost_at += self.settings.lost_margin_s
            if self.now >= lost_at:
                text = "The runner's node does not answer."
                ended = Outcome("NodeLost", Recon3dError(Code.INFRASTRUCTURE_LOST, text, {"reason": "NodeLost"}))
                self.delete, self.grace = (pod,), 0
            else:
                self.times.append(lost_at)
        self._record(report.attempt(pod, ended, stamp(self.now)))
        if ended is not None:
            return self._ended(ended)
        return self._goes_on(pod)

    def _goes_on(self, pod: Object) -> Decision:
        if self.cancel.confirmed:
            self.delete = (pod,)
            return self._cancelled()
        if deletion_time(pod) is None:
            self.facts[RUNNER_READY] = report.runner_ready(pod)
        else:
            self.facts[RUNNER_READY] = ("False", "Terminating", "The Pod is being deleted.")
        started = parse(started_at(pod))
        if started is None:
            return self._starts(pod)
        end = deadline.run_end(self.spec, started)
        if self.now >= end:
            self.delete = (pod,)
            seconds = int(end - started)
            text = f"The run took longer than {seconds} s."
            return self._failed(
                Recon3dError(Code.TIME_LIMIT_EXCEEDED, text, {"limit": "deadlines.activeSeconds", "seconds": seconds})
            )
        self.times.append(end)
        self.fields["progress"] = dict(self.seen.progress or self.old.get("progress") or {"percent": 0})
        return self._finish(Phase.PROCESSING)

    def _starts(self, pod: Object) -> Decision:
        """A Pod whose container has not begun; what it waits for is in the condition RunnerReady."""
        late = self._too_late_in_queue()
        if late is not None:
            self.delete = (pod,)
            return self._failed(late)
        _, reason, message = self.facts[RUNNER_READY]
        if reason == report.GATED:  # another queue's turn, which takes as long as it takes
            self.facts[QUOTA_RESERVED] = ("False", report.GATED, message)
            self.fields["waitingFor"] = message
            return self._finish(Phase.QUEUED)
        created = parse(pod["metadata"].get("creationTimestamp"))
        if self.settings.start_timeout_s and created is not None:
            since = conditions.true_since(self.old.get("conditions"), QUOTA_RESERVED, self.now)
            end = max(created, since) + self.settings.start_timeout_s
            if self.now >= end:
                self.delete = (pod,)
                text = f"The runner did not start within {self.settings.start_timeout_s:.0f} s: {message}"
                return self._failed(Recon3dError(Code.INFRASTRUCTURE_LOST, text, {"reason": reason}))
            self.times.append(end)
        # Only a container can be processing: a Pod that waits keeps the job in the queue's phase.
        return self._finish(Phase.QUEUED)

    def _ended(self, ended: Outcome) -> Decision:
        self.facts[RUNNER_READY] = ("False", ended.reason, "The run has ended.")
        if ended.error is None and ended.summary is not None:
            if self.cancel.confirmed and self.cancel.status is not None:
                self.cancel = Cancellation({**self.cancel.status, "state": "TooLate"})
            self.fields |= report.results(ended.summary, self._store)
            self.fields["progress"] = {"percent": 100, "updatedAt": stamp(self.now)}
            text = f"Verdict: {ended.summary.verdict}." if ended.summary.verdict else ""
            self.facts[SUCCEEDED] = ("True", "Completed", text)
            return self._finish(Phase.COMPLETED)
        if self.cancel.confirmed:
            return self._cancelled()
        error = ended.error or Recon3dError(Code.INTERNAL)
        if ended.lost_engine:
            self.events.append(Event("Warning", "EngineLost", error.message))
            self.facts[QUOTA_RESERVED] = ("False", "EngineLost", f"{error.message} The job goes on without it.")
            return self._again_later()
        if retry.may_retry(self.spec, self.attempts, error.code):
            self.events.append(Event("Warning", "Retrying", error.message))
            self.facts[QUOTA_RESERVED] = ("False", "Retrying", error.message)
            self.fields["progress"] = None
            return self._again_later()
        if ended.summary is not None:
            self.fields |= report.results(ended.summary, self._store)
        return self._failed(error)

    def _again_later(self) -> Decision:
        start = queue.not_before(self.attempts, self.settings)
        if start is not None:
            self.times.append(start)
        return self._finish(Phase.QUEUED)

    # --- no run

    def _without_run(self) -> Decision:
        seen, turn = self.seen, self.seen.turn
        if self.cancel.confirmed:
            return self._cancelled()
        late = self._too_late_in_queue()
        if late is not None:
            return self._failed(late)
        if not self.settings.serves(seen.job["metadata"]["namespace"]):
            text = "This namespace is not enabled for jobs; ask an administrator to add it to jobs.namespaces."
            self.facts[ACCEPTED] = ("False", "NamespaceNotEnabled", text)
            return self._finish(Phase.QUEUED)
        if refused := refused_job(seen, self.settings):
            self.facts[ACCEPTED] = ("False", refused.code.value.title().replace("_", ""), refused.message)
            return self._failed(refused)
        self.facts[ACCEPTED] = ("True", "Accepted", "")
        start = queue.not_before(self.attempts, self.settings)
        if start is not None and self.now < start:
            self.times.append(start)
            return self._finish(Phase.QUEUED)
        if self.spec.get("suspend"):
            self.facts[QUOTA_RESERVED] = ("False", "Suspended", "spec.suspend holds the job back.")
            return self._finish(Phase.QUEUED)
        wait = queue.must_wait_for(seen.pods, self.settings.lost_margin_s, self.now)
        if wait is not None:
            self.times += [wait] if wait < float("inf") else []
            return self._finish(Phase.QUEUED)
        self.waits = True
        if turn is None:
            return self._finish(Phase.QUEUED)
        if turn.granted:
            return Decision(self.old, create=seen.latest + 1, waits=True)
        self.fields["queuePosition"] = turn.position
        ahead = f"{turn.position - 1} job{'s' if turn.position != 2 else ''} ahead" if turn.position > 1 else ""
        self.fields["waitingFor"] = "; ".join(part for part in (ahead, turn.gate) if part) or "its start"
        if turn.blocked is not None:
            self.facts[QUOTA_RESERVED] = ("False", turn.blocked.reason, turn.blocked.message)
        elif turn.gate:
            self.facts[QUOTA_RESERVED] = ("False", "QuotaExceeded", "As many jobs run as the quota allows.")
        else:
            self.facts[QUOTA_RESERVED] = ("False", "Waiting", "Other jobs go first.")
        return self._finish(Phase.QUEUED)

    def _too_late_in_queue(self) -> Recon3dError | None:
        end = deadline.queue_end(self.seen.job)
        if end is None or self.old.get("startedAt"):
            return None
        if self.now < end:
            self.times.append(end)
            return None
        seconds = self.spec["deadlines"]["queueSeconds"]
        text = f"The job has not started within {seconds} s."
        details = {"limit": "deadlines.queueSeconds", "seconds": seconds}
        return Recon3dError(Code.TIME_LIMIT_EXCEEDED, text, details, "Raise the limit or the priority, or try later.")

    # --- ends

    @property
    def _store(self) -> str:
        return str((self.spec.get("output") or {}).get("ref") or self.settings.store)

    def _cancelled(self) -> Decision:
        self.facts[SUCCEEDED] = ("False", "Cancelled", "The job was cancelled.")
        self.fields["error"] = report.error(Recon3dError(Code.CANCELLED))
        return self._finish(Phase.CANCELLED)

    def _failed(self, error: Recon3dError) -> Decision:
        self.facts[SUCCEEDED] = ("False", error.code.value.title().replace("_", ""), error.message)
        self.fields["error"] = report.error(error)
        self.events.append(Event("Warning", "Failed", f"{error.code.value}: {error.message}"))
        return self._finish(Phase.FAILED)

    def _record(self, entry: dict[str, Any]) -> None:
        self.attempts = [attempt for attempt in self.attempts if attempt["number"] != entry["number"]] + [entry]

    def _tell_late(self) -> None:
        known = {condition["reason"] for condition in self.old.get("conditions") or ()}
        if "CancelRequestExpired" not in known:
            text = "The confirmation came after the request had lapsed; set a new cancel.request."
            self.events.append(Event("Warning", "CancelRequestExpired", text))

    def _finish(self, phase: Phase) -> Decision:
        status = {key: value for key, value in self.old.items() if key not in queue.PLACE}
        before = self.seen.phase or Phase.QUEUED
        if phase is Phase.COMPLETED:
            before = advance(before, Phase.PROCESSING)  # which nobody may have seen
        status |= {"phase": advance(before, phase).value, **self.fields}
        generation = self.seen.job["metadata"].get("generation")
        if generation is not None:
            status["observedGeneration"] = generation
        if phase in TERMINAL:
            status["finishedAt"] = stamp(self.now)
            if self.spec.get("webhook"):
                status["webhook"] = {"state": "Pending", "attempts": 0}
        if self.attempts:
            status["attempts"] = self.attempts
            started = [attempt["startedAt"] for attempt in self.attempts if attempt.get("startedAt")]
            if started:
                status.setdefault("startedAt", started[0])
        if phase not in TERMINAL:
            self.facts |= self.seen.found
        status["cancellation"] = self.cancel.status
        if is_late(self.spec, self.cancel.status):
            self.facts["CancelRequested"] = ("False", "CancelRequestExpired", "Set a new cancel.request.")
        status["conditions"] = conditions.merge(self.old.get("conditions"), self.facts, generation, self.now)
        status = {key: value for key, value in status.items() if value is not None}
        return Decision(
            queue.calm(self.old, status, self.seen.turn),
            delete=self.delete,
            grace_s=self.grace,
            events=tuple(self.events),
            waits=self.waits,
            look_again_at=min(self.times, default=None),
        )
