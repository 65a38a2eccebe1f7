"""The phases of a job and the only changes between them.

Queued -> Processing -> Completed | Failed | Cancelled
Queued -> Failed | Cancelled            refused or cancelled before it ran
Processing -> Queued                    an attempt was lost; another will follow
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class Phase(str, Enum):
    """Where a job stands."""

    QUEUED = "Queued"
    PROCESSING = "Processing"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


TRANSITIONS: Final[dict[Phase, frozenset[Phase]]] = {
    Phase.QUEUED: frozenset({Phase.PROCESSING, Phase.FAILED, Phase.CANCELLED}),
    Phase.PROCESSING: frozenset({Phase.QUEUED, Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED}),
    Phase.COMPLETED: frozenset(),
    Phase.FAILED: frozenset(),
    Phase.CANCELLED: frozenset(),
}

TERMINAL: Final[frozenset[Phase]] = frozenset(phase for phase, after in TRANSITIONS.items() if not after)


class IllegalTransitionError(ValueError):
    """A change of phase that the table does not list: a defect of the caller."""


def advance(current: Phase | str, target: Phase | str) -> Phase:
    """Return `target`, or `current` when they are the same; raise IllegalTransitionError if not listed."""
    old, new = Phase(current), Phase(target)
    if old is not new and new not in TRANSITIONS[old]:
        raise IllegalTransitionError(f"a job cannot go from {old.value} to {new.value}")
    return new
