"""Where a job's result lies: in the service's store, or at the job's own output.ref (kubectl's users may have one)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.store import Store, below, open_store

_KEPT: Final = 64


def elsewhere(spec: Mapping[str, Any]) -> str | None:
    """Return the job's own place; None if its result goes to the installation's store."""
    ref = (spec.get("output") or {}).get("ref")
    return None if ref is None else str(ref)


class Places:
    """The stores of jobs' results. What is opened is kept; blocks."""

    def __init__(self, own: Store, allowed: Sequence[str]) -> None:
        """Other places than `own` must lie below one of `allowed`: they are read with this service's credentials."""
        self._own, self._allowed = own, tuple(allowed)
        self._opened: OrderedDict[str, Store] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, spec: Mapping[str, Any]) -> Store:
        """Return the store of the job with `spec`. Raises NOT_FOUND where this service may not read it."""
        ref = elsewhere(spec)
        if ref is None:
            return self._own
        if not (ref.startswith("s3://") and below(ref, self._allowed)):
            raise Recon3dError(
                Code.NOT_FOUND,
                "The job's result lies in a place of its own (output.ref) that this service does not read.",
                {"output": ref},
                "Fetch it there; or ask the administrator to add the place to RECON3D_OUTPUT_REFS of this service.",
            )
        with self._lock:
            store = self._opened.pop(ref, None) or open_store(ref)
            self._opened[ref] = store
            if len(self._opened) > _KEPT:
                self._opened.popitem(last=False)
        return store


@contextmanager
def reading(spec: Mapping[str, Any]) -> Iterator[None]:
    """Say of a failure at a job's own place that it is that place which fails. Raises STORAGE_UNAVAILABLE."""
    try:
        yield
    except Recon3dError as error:
        ref = elsewhere(spec)
        if error.code is not Code.STORAGE_UNAVAILABLE or ref is None:
            raise
        text = f"The place that the job's result went to (output.ref) cannot be read: {error.message}"
        advice = "Check that it exists, and that the service's S3 credentials may read it."
        raise Recon3dError(Code.STORAGE_UNAVAILABLE, text, {"output": ref}, advice) from None
