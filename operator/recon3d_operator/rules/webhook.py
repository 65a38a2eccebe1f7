"""A webhook's message, its signature (Standard Webhooks), and what an answer leads to."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any, Final

from recon3d_operator.times import stamp

_PAUSES: Final = (1, 60, 360, 1440, 3600, 7200)
"""Before each further attempt, as multiples of the base: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h."""
_GONE: Final = 410
_LONGEST_TOLD: Final = 300.0


def secret_of(value: str) -> bytes | None:
    """Return the key in a Secret's value, `whsec_` and base64 of 24 to 64 bytes; None if it is none."""
    text = value.strip()
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except ValueError:
        return None
    return key if text.startswith("whsec_") and 24 <= len(key) <= 64 else None


def message_id(job: Mapping[str, Any]) -> str:
    """Return the message's id: the same in every attempt, so that a receiver knows a repetition."""
    return f"msg_{job['metadata']['uid']}"


def body_of(job: Mapping[str, Any]) -> bytes:
    """Return what is told: who ended, how, and how good it is."""
    meta, status = job["metadata"], job.get("status") or {}
    names = ("phase", "startedAt", "finishedAt", "summary", "artifacts", "error")
    data = {
        "name": meta["name"],
        "namespace": meta["namespace"],
        "uid": meta["uid"],
        **{name: status[name] for name in names if name in status},
    }
    document = {"type": f"job.{str(status['phase']).lower()}", "timestamp": status.get("finishedAt"), "data": data}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def signed_headers(key: bytes, identity: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers that prove who sent `body`, and when."""
    text = f"{identity}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
    return {"webhook-id": identity, "webhook-timestamp": str(timestamp), "webhook-signature": f"v1,{signature}"}


def after(
    old: Mapping[str, Any], answer: int | None, problem: str, *, now: float, base_s: float, told_s: float | None = None
) -> dict[str, Any]:
    """Return status.webhook after an attempt: `answer` is the HTTP status, None where there was none.

    `base_s` has its jitter already; `told_s` is the receiver's Retry-After.
    """
    attempts = int(old.get("attempts") or 0) + 1
    new: dict[str, Any] = {"state": "Pending", "attempts": attempts}
    if answer is not None:
        new["lastStatus"] = answer
        if 200 <= answer < 300:
            return {**new, "state": "Delivered", "deliveredAt": stamp(now)}
    new["lastError"] = (problem or f"The receiver answered {answer}.")[:1024]
    if answer == _GONE:
        return {**new, "state": "Disabled"}
    if attempts > len(_PAUSES):
        return {**new, "state": "Failed"}
    pause = max(base_s * _PAUSES[attempts - 1], min(told_s or 0.0, _LONGEST_TOLD))
    return {**new, "nextAttemptAt": stamp(now + pause)}
