"""Who may start: the one submitter of each namespace hands out grants, strictly from the head of its queue.

A grant is a slot of the gate that a job may use for one attempt to create its Pod. There are never more grants than
the gate is thought to have free, so several may be used side by side without one overtaking another.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from recon3d_operator.cluster.refusals import ApiError, Kind
from recon3d_operator.model import Blocked, Key, Object, Turn
from recon3d_operator.observe import Index
from recon3d_operator.rules.queue import Gate, gate
from recon3d_operator.settings import Settings

_AT_ONCE: Final = 32
_EXACT_PLACES: Final = 20
_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = {Kind.WAIT: 15.0, Kind.RETRY: 5.0, Kind.HELP: 30.0}


@dataclass
class _Line:
    granted: set[str] = field(default_factory=set)
    blocked: Blocked | None = None
    until: float = 0.0
    refusals: int = 0


class Submitter:
    """Grants for every namespace."""

    def __init__(
        self, index: Index, settings: Settings, clock: Callable[[], float], call: Callable[[Key], None]
    ) -> None:
        """`call` has a job worked on that got a grant."""
        self._index, self._settings, self._clock, self._call = index, settings, clock, call
        self._lines: defaultdict[str, _Line] = defaultdict(_Line)

    def gate(self, namespace: str) -> Gate:
        """Return the namespace's gate."""
        return gate(self._settings, self._index.quotas(namespace), self._index.active(namespace))

    def offer(self, namespace: str) -> float | None:
        """Hand out what is free; return when to offer again, if refusals hold the queue up."""
        line, queue = self._lines[namespace], self._index.queues[namespace]
        if not len(queue):
            return None
        if line.blocked is not None and self._clock() < line.until:
            return line.until
        # After a refusal one job goes ahead, to see whether it still holds.
        most = 1 if line.blocked is not None else _AT_ONCE
        free = min(self.gate(namespace).free, most)
        for name in queue.first(max(0, free)):
            if len(line.granted) >= free:
                break
            if name not in line.granted:
                line.granted.add(name)
                self._call((namespace, name))
        return None

    def turn(self, key: Key, *, refresh: bool = False) -> Turn | None:
        """Return the job's place; None if it does not wait."""
        namespace, name = key
        position = self._index.queues[namespace].position(name)
        if position is None:
            return None
        line, now = self._lines[namespace], self.gate(namespace)
        return Turn(
            position=position,
            granted=name in line.granted,
            gate="" if now.free > 0 and line.blocked is None else now.text or "the cluster",
            blocked=line.blocked if position == 1 else None,
            refresh=refresh,
        )

    def moved(self, jobs: Mapping[Key, Object], most: int) -> list[Key]:
        """Return up to `most` jobs whose written place is wrong: near the head exactly, farther back by a factor."""
        found: list[Key] = []
        for namespace, queue in self._index.queues.items():
            for place, name in enumerate(queue.first(len(queue)), start=1):
                job = jobs.get((namespace, name))
                known = (job or {}).get("status", {}).get("queuePosition")
                near = place <= _EXACT_PLACES and known != place
                if near or known is None or known >= 2 * place or place >= 2 * known:
                    found.append((namespace, name))
                    if len(found) == most:
                        return found
        return found

    def revoke(self, key: Key) -> None:
        """Take the job's grant back, used or not."""
        self._lines[key[0]].granted.discard(key[1])

    def accepted(self, namespace: str) -> None:
        """A Pod was created: nothing is blocked."""
        line = self._lines[namespace]
        line.blocked, line.until, line.refusals = None, 0.0, 0

    def refused(self, namespace: str, error: ApiError) -> float:
        """A Pod was refused: hold the queue up for a while; return until when."""
        line = self._lines[namespace]
        advice = f"{error.row.advice} " if error.row.advice else ""
        line.blocked = Blocked(error.row.reason, advice + error.message)
        wait = min(_FIRST_WAIT_S * 2.0 ** min(line.refusals, 12), _LONGEST_WAIT_S.get(error.kind, 5.0))
        line.refusals += 1
        jitter = random.uniform(0.8, 1.2)  # noqa: S311 - not a secret
        line.until = self._clock() + max(error.retry_after_s or 0.0, wait * jitter)
        line.granted.clear()
        return line.until

    def changed(self, namespace: str) -> None:
        """The gate may have changed: try at once."""
        self._lines[namespace].until = 0.0
