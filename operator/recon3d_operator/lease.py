"""One operator works, others stand by: a coordination.k8s.io Lease.

Times of other machines' clocks are never compared with ours: a holder counts as gone when its record has not changed
for the lease's duration by our own clock. The identity is the Pod's name, so a restarted container takes its own Lease
back at once. A holder that could not renew ends its work before anyone else may begin.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Final

from recon3d_operator.cluster.kube import KubeCluster
from recon3d_operator.cluster.port import Object
from recon3d_operator.cluster.refusals import ApiError, Kind

_LOG: Final = logging.getLogger(__name__)
DURATION_S: Final = 4.0
_RENEW_S: Final = 1.0
_GIVE_UP_S: Final = 3.0
_LOOK_S: Final = 0.25


class LeaseLostError(RuntimeError):
    """Another operator works now, or it cannot be told whether one does."""


class Lease:
    """The Lease `namespace`/`name`, as `identity`."""

    def __init__(
        self, cluster: KubeCluster, namespace: str, name: str, identity: str, clock: Callable[[], float]
    ) -> None:
        """Use the monotonic `clock`, in seconds."""
        self._cluster, self._identity, self._clock = cluster, identity, clock
        self._name, self._namespace = name, namespace
        self._folder = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._record: Object | None = None

    async def acquire(self) -> None:
        """Return once the Lease is held."""
        seen, since = None, self._clock()
        while True:
            try:
                record = await self._read()
                spec = record.get("spec") or {}
                holder, version = spec.get("holderIdentity"), record["metadata"].get("resourceVersion")
                if version != seen:
                    seen, since = version, self._clock()
                if holder in (None, "", self._identity) or self._clock() - since >= DURATION_S:
                    await self._write(record, self._identity, taken=True)
                    _LOG.info("the lease is held as %s", self._identity)
                    return
            except ApiError as error:
                if error.kind is not Kind.CONFLICT:
                    _LOG.warning("the lease cannot be read or taken: %s", error)
            await asyncio.sleep(_LOOK_S)

    async def keep(self) -> None:
        """Renew for ever. Raises LeaseLostError."""
        renewed = self._clock()
        while True:
            await asyncio.sleep(_RENEW_S)
            try:
                await asyncio.wait_for(self._renew(), max(0.1, renewed + _GIVE_UP_S - self._clock()))
                renewed = self._clock()
            except (ApiError, TimeoutError) as error:
                if isinstance(error, ApiError) and error.kind is Kind.CONFLICT:
                    raise LeaseLostError("another operator holds the lease") from error
                if self._clock() - renewed >= _GIVE_UP_S:
                    raise LeaseLostError("the lease could not be renewed in time") from error

    async def release(self) -> None:
        """Let a standby begin at once."""
        try:
            if self._record is not None:
                await self._write(self._record, "")
        except ApiError as error:
            _LOG.info("the lease was not released: %s", error)

    async def _renew(self) -> None:
        await self._write(self._record or await self._read(), self._identity)

    async def _read(self) -> Object:
        try:
            return await self._cluster.request("GET", f"{self._folder}/{self._name}")
        except ApiError as error:
            if error.status != 404:
                raise
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": self._name}}
        try:
            return await self._cluster.request("POST", self._folder, body)
        except ApiError as error:
            if error.kind is not Kind.EXISTS:
                raise
            return await self._cluster.request("GET", f"{self._folder}/{self._name}")

    async def _write(self, record: Object, holder: str, *, taken: bool = False) -> None:
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        old = record.get("spec") or {}
        spec = {**old, "holderIdentity": holder, "leaseDurationSeconds": int(DURATION_S), "renewTime": now}
        if taken and old.get("holderIdentity") != holder:
            spec |= {"acquireTime": now, "leaseTransitions": int(old.get("leaseTransitions") or 0) + 1}
        path = f"{self._folder}/{self._name}"
        self._record = await self._cluster.request("PUT", path, {**record, "spec": spec})
