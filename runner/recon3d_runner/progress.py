"""One job's progress: never falls, knows its stage and an estimate of the time left; and whom it is told to.

Watchers are told in the supervisor's main thread and must not block; one that fails is dropped, the job goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TextIO

from recon3d_contract.stages import WEIGHTS, percent

_SETTLED_PERCENT = 3.0  # below this, a rate is mostly start-up time


@dataclass(frozen=True)
class Snapshot:
    """Where a job stands."""

    stage: str
    """A name of recon3d_contract.stages; `start` before the first."""
    percent: float
    """Of the whole job, in [0, 100], one decimal."""
    engine: str | None = None
    iteration: int | None = None
    total: int | None = None
    loss: float | None = None
    eta_s: float | None = None
    """Seconds left, None while too little is known."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; what is not known is left out."""
        return {key: value for key, value in asdict(self).items() if value is not None}


class Watcher(Protocol):
    """Whoever wants to know: a terminal, a file of JSON lines, a server."""

    def update(self, snapshot: Snapshot) -> None:
        """Take the latest state."""

    def notice(self, code: str, message: str) -> None:
        """Take a warning as it comes up."""

    def close(self) -> None:
        """The job has ended."""


class Progress:
    """Folds the engines' events into snapshots and hands them to the watchers."""

    def __init__(self, watchers: Sequence[Watcher] = (), clock: Callable[[], float] = time.monotonic) -> None:
        """Measure time with `clock`, in seconds."""
        self._watchers = list(watchers)
        self._clock = clock
        self._begun = clock()
        self._engine: str | None = None
        self._index, self._count = 0, 1
        self._engine_begun = self._begun
        self._percent_at_begin = 0.0
        self.snapshot = Snapshot("start", 0.0)

    def engine(self, name: str, index: int, count: int) -> None:
        """Engine `name` begins, the `index`-th (from 0) of `count`."""
        self._engine, self._index, self._count = name, index, count
        self._engine_begun = self._clock()
        self._percent_at_begin = 100.0 * index / count
        self._tell(Snapshot("start", max(self.snapshot.percent, self._percent_at_begin), name))

    def stage(self, name: str) -> None:
        """Stage `name` begins. A name that is no stage of the engine is ignored."""
        self.tick(name, 0.0)

    def tick(
        self,
        stage: str,
        fraction: float,
        iteration: int | None = None,
        total: int | None = None,
        loss: float | None = None,
    ) -> None:
        """`fraction` in [0, 1] of `stage` is done."""
        engine = self._engine or "nvdiffrec"
        if stage not in WEIGHTS[engine]:
            return
        done = percent(stage, fraction, engine=engine, engine_index=self._index, engine_count=self._count)
        done = max(self.snapshot.percent, round(done, 1))
        if loss is not None and not abs(loss) < float("inf"):
            loss = None
        self._tell(Snapshot(stage, done, self._engine, iteration, total, loss, self._eta(done)))

    def finished(self) -> None:
        """The job has its result."""
        self._tell(Snapshot(self.snapshot.stage, 100.0, self._engine, eta_s=0.0))

    def notice(self, code: str, message: str) -> None:
        """Pass a warning on."""
        self._each(lambda watcher: watcher.notice(code, message))

    def close(self) -> None:
        """End all watchers."""
        self._each(lambda watcher: watcher.close())

    def _eta(self, done: float) -> float | None:
        gained = done - self._percent_at_begin
        if gained < _SETTLED_PERCENT:
            return None
        return round((self._clock() - self._engine_begun) / gained * (100.0 - done), 1)

    def _tell(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._each(lambda watcher: watcher.update(snapshot))

    def _each(self, action: Callable[[Watcher], None]) -> None:
        for watcher in list(self._watchers):
            try:
                action(watcher)
            except Exception:  # noqa: BLE001 - a closed terminal or a broken pipe must not end a job
                self._watchers.remove(watcher)


class Throttle:
    """Lets through what is new enough to show: another stage, the end, or some time after the last."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Wait at least `seconds` within a stage."""
        self._seconds = seconds
        self._clock = clock
        self._stage: tuple[str | None, str] | None = None
        self._last = 0.0
        self._ended = False

    def __call__(self, snapshot: Snapshot) -> bool:
        """Whether `snapshot` should be shown."""
        now = self._clock()
        stage = (snapshot.engine, snapshot.stage)
        ended = snapshot.percent >= 100.0
        if stage == self._stage and (self._ended or (now - self._last < self._seconds and not ended)):
            return False
        self._stage, self._last, self._ended = stage, now, ended
        return True


class JsonLines:
    """One JSON object a line: {"event": "progress" | "warning", ...}."""

    def __init__(self, stream: TextIO, seconds: float = 0.5) -> None:
        """Write to `stream`, at most every `seconds` within a stage."""
        self._stream = stream
        self._due = Throttle(seconds)

    def write(self, record: dict[str, Any]) -> None:
        """Write one line, at once."""
        self._stream.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
        self._stream.flush()

    def update(self, snapshot: Snapshot) -> None:
        """Write the snapshot if it is due."""
        if self._due(snapshot):
            self.write({"event": "progress", **snapshot.to_dict()})

    def notice(self, code: str, message: str) -> None:
        """Write a warning."""
        self.write({"event": "warning", "code": code, "message": message})

    def close(self) -> None:
        """Nothing to end."""


class PlainLines:
    """A line for each stage and every few seconds, for logs and pipes."""

    def __init__(self, stream: TextIO, seconds: float = 5.0) -> None:
        """Write to `stream`, at most every `seconds` within a stage."""
        self._stream = stream
        self._due = Throttle(seconds)

    def update(self, snapshot: Snapshot) -> None:
        """Write the snapshot if it is due."""
        if self._due(snapshot):
            self._stream.write(describe(snapshot) + "\n")
            self._stream.flush()

    def notice(self, code: str, message: str) -> None:
        """Write a warning."""
        self._stream.write(f"warning: {message} [{code}]\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing to end."""


def describe(snapshot: Snapshot) -> str:
    """Return one line for people."""
    parts = [
        f"{snapshot.percent:5.1f} %",
        f"{snapshot.engine}: {snapshot.stage}" if snapshot.engine else snapshot.stage,
    ]
    if snapshot.iteration is not None:
        parts.append(f"{snapshot.iteration}/{snapshot.total}" if snapshot.total else f"{snapshot.iteration}")
    if snapshot.loss is not None:
        parts.append(f"loss {snapshot.loss:.4g}")
    if snapshot.eta_s is not None and snapshot.percent < 100.0:
        parts.append(f"about {duration(snapshot.eta_s)} left")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """Return seconds as 42 s, 3 min 05 s or 1 h 02 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
