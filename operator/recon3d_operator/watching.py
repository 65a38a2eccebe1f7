"""Where events come from: one list of our own, then Kopf's watches; no change handlers, daemons, timers, finalizers.

Kopf does not tell when its first lists have been told in full (its own indices do, but with 10,000 objects they take
minutes: every object waits for all others). So everything is listed once before Kopf begins; what vanished between the
two lists is found by the controller, which looks again after what no watch has confirmed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import kopf
from recon3d_contract.resource import GROUP, PLURAL, VERSION

from recon3d_operator.cluster.kube import KubeCluster
from recon3d_operator.cluster.refusals import ApiError, Kind
from recon3d_operator.controller import Controller
from recon3d_operator.names import POD_SELECTOR
from recon3d_operator.settings import Settings

_LOG: Final = logging.getLogger(__name__)
_CHUNK: Final = 500
_PAUSE_S: Final = 1.0


class Flags:
    """What the watches tell, and are told."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        """Kopf has begun, and has set its own signal handlers."""
        self.stop = asyncio.Event()


def wire(registry: kopf.OperatorRegistry, controller: Controller) -> None:
    """Have Kopf tell `controller` of jobs, runner Pods and quotas."""

    async def login(**details: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**details) or kopf.login_with_kubeconfig(**details)

    kopf.on.login(registry=registry)(login)
    sources: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
        ((GROUP, VERSION, PLURAL), {}),
        (("", "v1", "pods"), {"labels": {POD_SELECTOR: kopf.PRESENT}}),
        (("", "v1", "resourcequotas"), {}),
    )
    for resource, filters in sources:

        async def changed(event: Mapping[str, Any], **_: Any) -> None:
            controller.told(event["type"], event["object"])

        kopf.on.event(*resource, id=f"changed-{resource[-1]}", registry=registry, **filters)(changed)


class _NoDifferences(kopf.DiffBaseStorage):
    """Keeps no copy of an object: only change handlers need one, and it costs more than all else that Kopf does."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence({})


class _NoProgress(kopf.ProgressStorage):
    """Keeps no progress of handlers: only change handlers have one."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


def kopf_settings() -> kopf.OperatorSettings:
    """Return Kopf's settings: no events of its own, no writes, lists in parts."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = _NoDifferences()
    settings.persistence.progress_storage = _NoProgress()
    settings.scanning.disabled = True
    settings.networking.error_backoffs = (1.0,) * 600  # its own grow: after an outage it would look away for 21 s
    settings.networking.connect_timeout = 10
    settings.networking.request_timeout = 60
    settings.watching.server_timeout = 300
    settings.watching.reconnect_backoff = 1.0
    settings.watching.chunk_size = 500
    settings.queueing.idle_timeout = 0.05  # a worker holds its object meanwhile; after a list, all of them at once
    settings.queueing.exit_timeout = 1.0
    return settings


async def list_all(cluster: KubeCluster, controller: Controller, settings: Settings) -> None:
    """Tell `controller` of all that exists."""
    jobs = f"/apis/{GROUP}/{VERSION}"
    sources = (
        (jobs, PLURAL, ""),
        ("/api/v1", "pods", f"&labelSelector={POD_SELECTOR}"),
        ("/api/v1", "resourcequotas", ""),
    )
    for namespace in settings.namespaces or (None,):
        place = "" if namespace is None else f"/namespaces/{namespace}"
        for api, plural, selector in sources:
            await _list(cluster, controller, f"{api}{place}/{plural}?limit={_CHUNK}{selector}")


async def _list(cluster: KubeCluster, controller: Controller, path: str) -> None:
    """Tell of one part of the list while the API server makes the next."""
    coming: asyncio.Task[dict[str, Any]] | None = None
    answer = await _part(cluster, path, "")
    while True:
        more = answer["metadata"].get("continue") or ""
        coming = asyncio.create_task(_part(cluster, path, more)) if more else None
        await asyncio.sleep(0)  # the request is on its way
        kind = str(answer["kind"]).removesuffix("List")
        for item in answer["items"]:
            controller.listed({**item, "kind": kind})
        if coming is None:
            return
        answer = await coming


async def _part(cluster: KubeCluster, path: str, more: str) -> dict[str, Any]:
    while True:
        try:
            return await cluster.request("GET", f"{path}&continue={quote(more)}" if more else path)
        except ApiError as error:
            if error.status == 410 and more:
                more = ""  # the list grew too old between two parts: once more from the start
            elif error.kind in (Kind.RETRY, Kind.HELP):  # it may; an API server that has just come back knows no rights
                _LOG.warning("the list waits for the API server: %s", error)
                await asyncio.sleep(_PAUSE_S)
            else:
                raise


async def watch(controller: Controller, settings: Settings, flags: Flags) -> None:
    """Watch until `flags.stop` is set. Kopf, when it ends, cancels every task that was started after it."""
    registry = kopf.OperatorRegistry()
    wire(registry, controller)
    scope: dict[str, Any] = {"namespaces": settings.namespaces} if settings.namespaces else {"clusterwide": True}
    await kopf.operator(
        registry=registry,
        settings=kopf_settings(),
        standalone=True,
        stop_flag=flags.stop,
        ready_flag=flags.ready,
        **scope,
    )
