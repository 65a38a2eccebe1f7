"""Kopf, as an event source only: index and event handlers; no change handlers, daemons, timers or finalizers.

Its index handlers run for every object of the first lists before the first event handler does; so by then the index is
whole, and the workers may start. Later only the event handlers run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import kopf
from recon3d_contract.resource import GROUP, PLURAL, VERSION

from recon3d_operator.controller import Controller
from recon3d_operator.names import POD_SELECTOR
from recon3d_operator.settings import Settings


class Flags:
    """What the watches tell, and are told."""

    def __init__(self) -> None:
        self.synced = asyncio.Event()
        """All that exists was told."""
        self.ready = asyncio.Event()
        """Kopf has begun, and has set its own signal handlers."""
        self.stop = asyncio.Event()


def wire(registry: kopf.OperatorRegistry, controller: Controller, synced: asyncio.Event) -> None:
    """Have Kopf tell `controller` of jobs, runner Pods and quotas; set `synced` when all that exist were told."""

    async def login(**details: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**details) or kopf.login_with_kubeconfig(**details)

    kopf.on.login(registry=registry)(login)
    sources: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
        ((GROUP, VERSION, PLURAL), {}),
        (("", "v1", "pods"), {"labels": {POD_SELECTOR: kopf.PRESENT}}),
        (("", "v1", "resourcequotas"), {}),
    )
    for resource, filters in sources:

        async def listed(body: kopf.Body, **_: Any) -> None:
            controller.told(None, dict(body))

        async def changed(event: Mapping[str, Any], **_: Any) -> None:
            controller.told(event["type"], event["object"])
            synced.set()

        def listing(**_: Any) -> bool:
            return not synced.is_set()

        kopf.index(*resource, id=f"listed-{resource[-1]}", registry=registry, when=listing, **filters)(listed)
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
    settings.networking.connect_timeout = 10
    settings.networking.request_timeout = 60
    settings.watching.server_timeout = 300
    settings.watching.reconnect_backoff = 1.0
    settings.watching.chunk_size = 500
    settings.queueing.idle_timeout = 1.0
    settings.queueing.exit_timeout = 1.0
    return settings


async def watch(controller: Controller, settings: Settings, flags: Flags) -> None:
    """Watch until `flags.stop` is set. Kopf, when it ends, cancels every task that was started after it."""
    registry = kopf.OperatorRegistry()
    wire(registry, controller, flags.synced)
    scope: dict[str, Any] = {"namespaces": settings.namespaces} if settings.namespaces else {"clusterwide": True}
    await kopf.operator(
        registry=registry,
        settings=kopf_settings(),
        standalone=True,
        stop_flag=flags.stop,
        ready_flag=flags.ready,
        **scope,
    )
