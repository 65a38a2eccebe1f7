"""What runners tell of their progress: who may tell it, and what of it counts.

A runner's Pod has a token for this one audience. The API server says whose it is; only the Pod of a job's current
attempt may speak for that job. What it says is folded in memory and goes into the status with the next write.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from recon3d_contract.spec import ENGINES
from recon3d_contract.stages import STAGES

from recon3d_operator.controller import Controller
from recon3d_operator.model import attempt_of, job_uid_of, key_of
from recon3d_operator.times import stamp

MAX_BODY: Final = 8192
_GAP_S: Final = 0.5
_REVIEWS_PER_S: Final = 20.0
_KEPT: Final = 10_000
_POD_UID: Final = "authentication.kubernetes.io/pod-uid"


class RefusedError(Exception):
    """A message that is not taken, with its HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Reviewer(Protocol):
    """Asks the API server whose token this is."""

    async def __call__(self, token: str) -> Mapping[str, Any]:
        """Return the TokenReview's status."""


@dataclass(frozen=True)
class _Known:
    pod_uid: str
    until: float


class Progress:
    """Takes runners' messages for a controller."""

    def __init__(self, review: Reviewer, clock: Callable[[], float]) -> None:
        """Answer 503 until `controller` is set: a standby knows nothing."""
        self.controller: Controller | None = None
        self._review, self._clock = review, clock
        self._known: dict[str, _Known] = {}
        self._last: dict[str, float] = {}
        self._budget, self._filled = _REVIEWS_PER_S, clock()

    async def take(self, authorization: str, body: bytes) -> None:
        """Take one message. Raises RefusedError."""
        controller = self.controller
        if controller is None:
            raise RefusedError(503, "this operator is on standby")
        if len(body) > MAX_BODY:
            raise RefusedError(413, f"the message is longer than {MAX_BODY} bytes")
        pod_uid = await self._whose(authorization)
        now = self._clock()
        if now - self._last.get(pod_uid, float("-inf")) < _GAP_S:
            raise RefusedError(429, "too many messages")
        _keep(self._last, pod_uid, now)
        message = _read(body)
        found = controller.index.by_pod_uid(pod_uid)
        if found is None:
            raise RefusedError(403, "no job of this operator has this Pod")
        job, pod = found
        latest = max(controller.index.pods_of(job), key=attempt_of)
        if latest["metadata"]["uid"] != pod_uid or message["jobUid"] != job_uid_of(pod):
            raise RefusedError(403, "this Pod is not the job's current attempt")
        key = key_of(job)
        before = controller.progress_of(key, attempt_of(pod))
        controller.progressed(key, fold(before, message, attempt_of(pod), now))

    async def _whose(self, authorization: str) -> str:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token or len(token) > 8192:
            raise RefusedError(401, "a bearer token is needed")
        digest, now = hashlib.sha256(token.encode()).hexdigest(), self._clock()
        known = self._known.get(digest)
        if known is not None and now < known.until:
            return known.pod_uid
        self._budget = min(_REVIEWS_PER_S, self._budget + (now - self._filled) * _REVIEWS_PER_S)
        self._filled = now
        if self._budget < 1.0:
            raise RefusedError(429, "too many new tokens at once")
        self._budget -= 1.0
        status = await self._review(token)
        pods = ((status.get("user") or {}).get("extra") or {}).get(_POD_UID) or []
        if not status.get("authenticated") or len(pods) != 1:
            raise RefusedError(401, "the token is not a Pod's for this service")
        _keep(self._known, digest, _Known(str(pods[0]), min(_expiry(token), now + 3600.0)))
        return str(pods[0])


def fold(before: Mapping[str, Any] | None, message: Mapping[str, Any], attempt: int, now: float) -> dict[str, Any]:
    """Return the progress for the status; within an attempt, percent never falls."""
    percent = int(message["percent"])
    if before is not None and before.get("attempt") == attempt:
        percent = max(percent, int(before["percent"]))
    eta = message.get("etaSeconds")
    return {
        "percent": percent,
        **{key: message[key] for key in ("stage", "engine") if message.get(key)},
        **({"etaSeconds": int(eta)} if eta is not None else {}),
        "updatedAt": stamp(now),
        "attempt": attempt,
    }


def _read(body: bytes) -> dict[str, Any]:
    try:
        message = json.loads(body)
    except ValueError:
        raise RefusedError(400, "the message is not JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("jobUid"), str):
        raise RefusedError(400, "the message names no job")
    for key, most in (("percent", 100.0), ("etaSeconds", 1e8)):
        value = message.get(key)
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most
        if not number and not (key == "etaSeconds" and value is None):
            raise RefusedError(400, f"{key} is not a number from 0 to {most:.0f}")
    if message.get("stage") not in (None, "start", *STAGES) or message.get("engine") not in (None, *ENGINES):
        raise RefusedError(400, "stage or engine is unknown")
    return message


def _expiry(token: str) -> float:
    """Return the token's own end; it was reviewed, so its text is true."""
    try:
        part = token.split(".")[1]
        return float(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["exp"])
    except (ValueError, KeyError, IndexError, TypeError):
        return 0.0


def _keep(values: dict[str, Any], key: str, value: Any) -> None:
    values[key] = value
    while len(values) > _KEPT:
        del values[next(iter(values))]
