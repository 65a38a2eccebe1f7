"""What the cluster offers and what waits for it: looked up now and then, told by a ConfigMap, a metric and an event.

The ConfigMap `recon3d-capacity` lies in each of the jobs' namespaces (in the Lease's, if jobs may run everywhere); the
API reads it for its health page. Nothing depends on it: an operator that may not look or write works without.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

from recon3d_operator.apply import event_of
from recon3d_operator.cluster.kube import KubeCluster
from recon3d_operator.cluster.refusals import ApiError, Kind
from recon3d_operator.controller import Controller
from recon3d_operator.model import Event
from recon3d_operator.names import CAPACITY
from recon3d_operator.rules.capacity import Offer, fact, offer
from recon3d_operator.settings import Settings
from recon3d_operator.times import stamp

_LOG: Final = logging.getLogger(__name__)
_EVERY_S: Final = 10.0


class Capacity:
    """Looks at the nodes, tells the controller and whoever reads the ConfigMap."""

    def __init__(
        self, cluster: KubeCluster, settings: Settings, controller: Controller, clock: Callable[[], float]
    ) -> None:
        self._cluster, self._settings, self._controller, self._clock = cluster, settings, controller, clock
        self._told: dict[str, dict[str, str]] = {}
        self._reason = ""
        self._refused: set[str] = set()

    async def run(self) -> None:
        """Look and tell until cancelled."""
        while True:
            await self.once()
            await asyncio.sleep(_EVERY_S)

    async def once(self) -> None:
        """Look once, and tell what has changed."""
        found: Offer | None = None
        if self._settings.quota_key is not None:
            found = await self._look()
            self._controller.capacity = fact(found, self._settings.accelerator)
            self._controller.metrics.offered(found)
        places = self._settings.namespaces or tuple(filter(None, (self._settings.lease_namespace,)))
        for namespace in places:
            await self._tell(namespace, self._data(namespace, found))

    async def _look(self) -> Offer | None:
        nodes: list[dict[str, Any]] = []
        more = ""
        try:
            while True:
                answer = await self._cluster.request("GET", f"/api/v1/nodes?limit=500{more}")
                nodes += answer["items"]
                token = answer["metadata"].get("continue")
                if not token:
                    return offer(nodes, self._settings.accelerator)
                more = f"&continue={quote(token)}"
        except ApiError as error:
            self._note("nodes", "nodes cannot be listed", error)
            return None

    def _data(self, namespace: str, found: Offer | None) -> dict[str, str]:
        index, settings = self._controller.index, self._settings
        everywhere = not settings.namespaces
        active = index.all_active() if everywhere else index.active(namespace)
        queues = index.queues.values() if everywhere else [index.queues[namespace]]
        data = {"device": settings.device, "inUse": str(active), "queueDepth": str(sum(map(len, queues)))}
        if settings.quota_key is None:
            return {**data, "capacity": str(settings.max_running)}
        status, reason, message = self._controller.capacity or fact(found, settings.accelerator)
        data |= {"resource": settings.accelerator, "status": status, "reason": reason, "message": message}
        if found is not None:
            data["capacity"] = str(found.total)
            if found.smallest_gib is not None:
                data["memoryGiB"] = str(found.smallest_gib)
        return data

    async def _tell(self, namespace: str, data: dict[str, str]) -> None:
        if self._told.get(namespace) == data:
            return
        folder = f"/api/v1/namespaces/{namespace}/configmaps"
        body: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap"}
        body |= {"data": {**data, "updatedAt": stamp(self._clock())}}
        try:
            try:
                # The chart makes it, so that it goes with the release: its labels stay as they are.
                found = await self._cluster.request("GET", f"{folder}/{CAPACITY}")
                body["metadata"] = found["metadata"]
                written = await self._cluster.request("PUT", f"{folder}/{CAPACITY}", body)
            except ApiError as error:
                if error.kind is not Kind.GONE:
                    raise
                body["metadata"] = {"name": CAPACITY, "labels": {"app.kubernetes.io/managed-by": "recon3d-operator"}}
                written = await self._cluster.request("POST", folder, body)
            if data.get("status") == "False" and data["reason"] != self._reason:
                warning = Event("Warning", data["reason"], data["message"])
                await self._cluster.create_event(namespace, event_of(written, warning, self._clock()))
        except ApiError as error:
            self._note(namespace, f"{CAPACITY} cannot be written in {namespace}", error)
            return
        self._told[namespace], self._reason = data, data.get("reason", "")

    def _note(self, what: str, text: str, error: ApiError) -> None:
        """Log a refusal once; the next look tries again."""
        if what not in self._refused:
            self._refused.add(what)
            _LOG.warning("%s: %s", text, error)
