"""`recon3d-operator`: settings, the client, the controller, and Kopf, which brings the watches.

Kopf serves as an event source only: index and event handlers, no change handlers, daemons, timers or finalizers.
Its index handlers run for every listed object before the first event handler does; so by then the index is whole, and
the workers may start.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

import kopf
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from recon3d_contract.resource import GROUP, PLURAL, VERSION

from recon3d_operator.cluster.kube import KubeCluster
from recon3d_operator.controller import Controller
from recon3d_operator.logs import configure
from recon3d_operator.names import POD_SELECTOR
from recon3d_operator.settings import Settings, SettingsError
from recon3d_operator.startup import StartError, check

_LOG: Final = logging.getLogger(__name__)
_POOL: Final = 64


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
            if event["type"] == "DELETED":  # the index handlers are not called for these
                controller.told(event["type"], event["object"])
            synced.set()

        kopf.index(*resource, id=f"listed-{resource[-1]}", registry=registry, **filters)(listed)
        kopf.on.event(*resource, id=f"changed-{resource[-1]}", registry=registry, **filters)(changed)


def kopf_settings() -> kopf.OperatorSettings:
    """Return Kopf's settings: no events of its own, no writes, lists in parts."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.networking.connect_timeout = 10
    settings.networking.request_timeout = 60
    settings.watching.server_timeout = 300
    settings.watching.reconnect_backoff = 1.0
    settings.watching.chunk_size = 500
    settings.queueing.idle_timeout = 1.0
    settings.queueing.exit_timeout = 1.0
    return settings


async def load_configuration() -> Configuration:
    """Return the client's configuration: the Pod's ServiceAccount, else the kubeconfig."""
    configuration = Configuration()
    try:
        config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    except config.ConfigException:
        await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    configuration.connection_pool_maxsize = _POOL
    return configuration


async def operate(settings: Settings) -> None:
    """Run the operator until SIGTERM or SIGINT. Raises StartError where it could not do its work."""
    async with ApiClient(await load_configuration()) as api:
        cluster = KubeCluster(api)
        await check(cluster, settings)
        controller = Controller(cluster, settings, time.time)
        registry, synced = kopf.OperatorRegistry(), asyncio.Event()
        ready, stop, kopf_stop = asyncio.Event(), asyncio.Event(), asyncio.Event()
        wire(registry, controller, synced)
        scope: dict[str, Any] = {"namespaces": settings.namespaces} if settings.namespaces else {"clusterwide": True}
        # Kopf, when it ends, cancels whatever was started after it: so our own work ends first, on our own signal.
        work = asyncio.create_task(_work(controller, synced))
        stopped = asyncio.create_task(_stopped(ready, stop))
        watches = asyncio.create_task(
            kopf.operator(
                registry=registry,
                settings=kopf_settings(),
                standalone=True,
                stop_flag=kopf_stop,
                ready_flag=ready,
                **scope,
            )
        )
        try:
            done, _ = await asyncio.wait({watches, work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (work, stopped):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            kopf_stop.set()
            await watches


async def _stopped(ready: asyncio.Event, stop: asyncio.Event) -> None:
    """Return at SIGTERM or SIGINT, whose handlers Kopf has set as its own until it was ready."""
    await ready.wait()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


async def _work(controller: Controller, synced: asyncio.Event) -> None:
    await synced.wait()
    _LOG.info("synced: %d jobs", len(controller.index.jobs))
    await controller.run()


def main() -> int:
    """Run until SIGTERM or SIGINT; return the exit code: 0 stopped, 2 wrong settings, 3 the cluster is not fit."""
    configure()
    try:
        settings = Settings.from_env(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"recon3d-operator: wrong settings\n{error}\n")
        return 2
    try:
        asyncio.run(operate(settings))
    except StartError as error:
        sys.stderr.write(f"recon3d-operator: cannot start\n{error}\n")
        return 3
    return 0
