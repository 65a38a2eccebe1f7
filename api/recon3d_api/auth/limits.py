"""Limits of one principal: requests a second, uploads at once. Kept in this process; each replica counts its own."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from recon3d_contract.errors import Code, Recon3dError

_KEPT: Final = 10_000


class LimitedError(Recon3dError):
    """RATE_LIMITED, with the seconds after which it is worth another try."""

    def __init__(self, text: str, retry_after_s: float) -> None:
        super().__init__(Code.RATE_LIMITED, text)
        self.retry_after_s = max(1, math.ceil(retry_after_s))


@dataclass
class _Bucket:
    tokens: float
    at: float


class Rate:
    """A bucket of `burst` tokens for each name, refilled with `per_s` a second; 0 is no limit."""

    def __init__(self, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._burst, self._clock = per_s, float(burst), clock
        self._buckets: dict[str, _Bucket] = {}

    def take(self, name: str) -> None:
        """Take a token. Raises LimitedError."""
        if self._per_s <= 0:
            return
        now = self._clock()
        bucket = self._buckets.get(name)
        if bucket is None:
            if len(self._buckets) >= _KEPT:
                self._forget(now)
            bucket = self._buckets[name] = _Bucket(self._burst, now)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._per_s)
        bucket.at = now
        if bucket.tokens < 1:
            raise LimitedError(f"More than {self._per_s:g} requests a second.", (1 - bucket.tokens) / self._per_s)
        bucket.tokens -= 1

    def _forget(self, now: float) -> None:
        """Drop the buckets that are full again: they say nothing."""
        full_s = self._burst / self._per_s
        self._buckets = {name: bucket for name, bucket in self._buckets.items() if now - bucket.at < full_s}


class AtOnce:
    """At most `limit` of something at once for each name; 0 is no limit."""

    def __init__(self, limit: int, what: str) -> None:
        self._limit, self._what = limit, what
        self._now: dict[str, int] = {}

    @contextlib.contextmanager
    def one(self, name: str) -> Iterator[None]:
        """Count one for the block. Raises LimitedError."""
        now = self._now.get(name, 0)
        if self._limit and now >= self._limit:
            raise LimitedError(f"More than {self._limit} {self._what} at once.", 5)
        self._now[name] = now + 1
        try:
            yield
        finally:
            self._now[name] -= 1
            if not self._now[name]:
                del self._now[name]
