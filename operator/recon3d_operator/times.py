"""Times as Kubernetes writes them (RFC 3339, whole seconds, UTC) and as seconds since 1970."""

from __future__ import annotations

from datetime import datetime, timezone


def parse(text: str | None) -> float | None:
    """Return seconds since 1970, or None for no time."""
    return None if not text else datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def stamp(now: float) -> str:
    """Return `now`, in seconds since 1970, as Kubernetes writes it."""
    return datetime.fromtimestamp(int(now), tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
