"""Cancelling: a level with two steps. The operator's clock alone decides whether a confirmation came in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recon3d_contract.resource import CANCEL_WINDOW_S

from recon3d_operator.times import parse, stamp


@dataclass(frozen=True)
class Cancellation:
    """Where a cancellation stands."""

    status: Mapping[str, Any] | None
    """For status.cancellation; None if there is none."""
    confirmed: bool = False
    expires_at: float | None = None
    """When a request that waits for its confirmation lapses."""


def cancellation(spec: Mapping[str, Any], old: Mapping[str, Any] | None, now: float) -> Cancellation:
    """Return where the cancellation in `spec` stands at `now`, given the one recorded in the status."""
    asked = spec.get("cancel") or {}
    token = asked.get("request")
    if not token:
        return Cancellation(None)
    if old is None or old.get("token") != token:
        record = {
            "token": token,
            "state": "Requested",
            "requestedAt": stamp(now),
            "expiresAt": stamp(now + CANCEL_WINDOW_S),
        }
    else:
        record = dict(old)
    expires = parse(record["expiresAt"]) or 0.0
    if record["state"] == "Requested":
        if now >= expires:
            record["state"] = "Expired"
        elif asked.get("confirm") == token:
            record["state"] = "Confirmed"
    waiting = record["state"] == "Requested"
    return Cancellation(record, record["state"] == "Confirmed", expires if waiting else None)


def is_late(spec: Mapping[str, Any], record: Mapping[str, Any] | None) -> bool:
    """Whether a confirmation stands in the spec although its request had lapsed."""
    asked = spec.get("cancel") or {}
    return bool(record and record["state"] == "Expired" and asked.get("confirm") == record["token"])
