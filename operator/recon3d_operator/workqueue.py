"""Keys to be worked on: each once, however often it was added, and never by two workers at the same time."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Final

from recon3d_operator.model import Key

_FAIR: Final = 8


class WorkQueue:
    """First in, first out; a key that is added while it is worked on comes again afterwards.

    What is only to be written down (`add_behind`) lets what is new go first: in a burst, Pods are created before the
    statuses that tell of them are written. One in a few turns is theirs all the same.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """Use `clock`, in seconds since 1970, for what is due later."""
        self._clock = clock
        self._ready: dict[Key, None] = {}
        self._behind: dict[Key, None] = {}
        self._turns = 0
        self._busy: set[Key] = set()
        self._again: set[Key] = set()
        self._later_on: set[Key] = set()
        self._later: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._more = asyncio.Event()

    def __len__(self) -> int:
        return len(self._ready) + len(self._behind)

    def add(self, key: Key) -> None:
        """Have the key worked on soon."""
        if key in self._busy:
            self._again.add(key)
        else:
            self._behind.pop(key, None)
            self._ready.setdefault(key)
            self._more.set()

    def add_behind(self, key: Key) -> None:
        """Have the key, which is being worked on now, worked on again when there is less to do."""
        self._later_on.add(key)

    def add_at(self, key: Key, when: float) -> None:
        """Have the key worked on at `when`, or earlier if it was to be earlier."""
        known = self._later.get(key)
        if known is None or when < known:
            self._later[key] = when
            heapq.heappush(self._heap, (when, key))
            self._more.set()

    def take(self) -> Key | None:
        """Return the next key to work on, which is `done` afterwards; None if there is none."""
        self._wake_due()
        self._turns += 1
        first, second = self._ready, self._behind
        if self._turns % _FAIR == 0:
            first, second = second, first
        for queue in (first, second):
            for key in queue:
                del queue[key]
                self._busy.add(key)
                return key
        return None

    def done(self, key: Key) -> None:
        """The work on the key has ended."""
        self._busy.discard(key)
        again, behind = key in self._again, key in self._later_on
        self._again.discard(key)
        self._later_on.discard(key)
        if behind:
            # That its own Pod was seen meanwhile is no reason to hurry.
            self._behind.setdefault(key)
            self._more.set()
        elif again:
            self.add(key)

    async def get(self) -> Key:
        """Wait for the next key."""
        while True:
            key = self.take()
            if key is not None:
                return key
            self._more.clear()
            wait = max(0.0, self._heap[0][0] - self._clock()) if self._heap else None
            try:
                await asyncio.wait_for(self._more.wait(), None if wait is None else min(wait, 60.0))
            except TimeoutError:
                continue

    @property
    def next_due(self) -> float | None:
        """When the next key comes by time alone."""
        return self._heap[0][0] if self._heap else None

    def _wake_due(self) -> None:
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            when, key = heapq.heappop(self._heap)
            if self._later.get(key) == when:
                del self._later[key]
                self.add(key)
