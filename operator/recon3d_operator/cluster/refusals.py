"""What the API server's refusals mean: one table, from the top, first match wins.

kind        what to do
WAIT        normal life: the quota is full; try again when it changes
RETRY       goes away by itself: try again soon, with jitter
HELP        a person must change something in the cluster: show it, try again seldom
REFUSED     the object itself is wrong: it will never be accepted
EXISTS, CONFLICT, GONE   answers to a race: look again
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Kind(Enum):
    """What to do about a refusal."""

    WAIT = "wait"
    RETRY = "retry"
    HELP = "help"
    REFUSED = "refused"
    EXISTS = "exists"
    CONFLICT = "conflict"
    GONE = "gone"


@dataclass(frozen=True)
class Row:
    """One kind of refusal."""

    status: int | None
    """HTTP status; None is any; 0 is no answer at all."""
    pattern: str
    """Found in the Status object's `reason: message`."""
    kind: Kind
    reason: str
    """The word in a condition."""
    advice: str = ""


TABLE: Final[tuple[Row, ...]] = (
    Row(403, r"exceeded quota", Kind.WAIT, "QuotaExceeded"),
    Row(403, r"must specify", Kind.HELP, "QuotaMustSpecify",
        "A ResourceQuota wants requests or limits that runner Pods do not have; change the quota."),
    Row(403, r"status unknown for quota", Kind.RETRY, "QuotaNotReady"),
    Row(403, r"violates PodSecurity", Kind.HELP, "PodSecurity",
        "The namespace's Pod Security level refuses the runner Pod."),
    Row(None, r"admission webhook .* denied", Kind.HELP, "WebhookDenied",
        "An admission webhook refuses the runner Pod."),
    Row(None, r"failed calling webhook", Kind.RETRY, "WebhookUnavailable"),
    Row(403, r"is being terminated", Kind.GONE, "NamespaceTerminating"),
    Row(403, r"service ?account .*not found", Kind.HELP, "ServiceAccountMissing",
        "Install the runner's ServiceAccount into this namespace."),
    Row(403, r"no PriorityClass with name", Kind.REFUSED, "PriorityClassMissing"),
    Row(403, r"RuntimeClass .*not found", Kind.REFUSED, "RuntimeClassMissing"),
    Row(403, r"", Kind.HELP, "Forbidden", "The operator's Role lacks a right; install the chart's RBAC."),
    Row(401, r"", Kind.HELP, "Unauthorized", "The operator's token is not accepted."),
    Row(404, r"", Kind.GONE, "NotFound"),
    Row(410, r"", Kind.GONE, "Gone"),
    Row(409, r"AlreadyExists", Kind.EXISTS, "AlreadyExists"),
    Row(409, r"resourcequotas", Kind.RETRY, "QuotaConflict"),
    Row(409, r"", Kind.CONFLICT, "Conflict"),
    Row(400, r"", Kind.REFUSED, "BadRequest"),
    Row(413, r"", Kind.REFUSED, "TooLarge"),
    Row(422, r"", Kind.REFUSED, "Invalid"),
    Row(429, r"", Kind.RETRY, "TooManyRequests"),
    Row(0, r"", Kind.RETRY, "NoAnswer"),
    Row(None, r"", Kind.RETRY, "ServerError"),
)  # fmt: skip


class ApiError(Exception):
    """A refusal by the API server, or no answer from it (status 0)."""

    def __init__(self, status: int, message: str, reason: str = "", retry_after_s: float | None = None) -> None:
        """Find the row."""
        super().__init__(f"{status} {reason}: {message}"[:1000])
        self.status = status
        self.message = message[:1000]
        self.retry_after_s = retry_after_s
        self.row = classify(status, f"{reason}: {message}")

    @property
    def kind(self) -> Kind:
        """What to do about it."""
        return self.row.kind


def classify(status: int, text: str) -> Row:
    """Return the first row that fits."""
    for row in TABLE:
        if row.status in (None, status) and re.search(row.pattern, text, re.IGNORECASE | re.DOTALL):
            return row
    raise AssertionError("the last row fits everything")
