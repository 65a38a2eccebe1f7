"""`recon3d-operator`: settings, the client, the Lease, the controller, the servers; Kopf brings the watches.

check rights and CRD -> serve health -> hold the Lease -> watch and work until SIGTERM, or until the Lease is lost
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Coroutine, Mapping
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from recon3d_contract.environment import SettingsError

from recon3d_operator.capacity import Capacity
from recon3d_operator.cluster.kube import KubeCluster
from recon3d_operator.cluster.refusals import ApiError
from recon3d_operator.controller import Controller
from recon3d_operator.lease import Lease, LeaseLostError
from recon3d_operator.logs import configure
from recon3d_operator.metrics import Metrics
from recon3d_operator.pod import AUDIENCE
from recon3d_operator.progress import Progress, RefusedError
from recon3d_operator.serve import health_app, keep_fresh, progress_app, serving, tls_context
from recon3d_operator.settings import Settings
from recon3d_operator.startup import StartError, check
from recon3d_operator.watching import Flags, list_all, watch
from recon3d_operator.webhooks import Webhooks

_LOG: Final = logging.getLogger(__name__)
_POOL: Final = 64
_FRESH_S: Final = 5.0
STOPPED, WRONG_SETTINGS, UNFIT_CLUSTER, LEASE_LOST = 0, 2, 3, 4


async def load_configuration() -> Configuration:
    """Return the client's configuration: the Pod's ServiceAccount, else the kubeconfig."""
    configuration = Configuration()
    try:
        config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    except config.ConfigException:
        await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    configuration.connection_pool_maxsize = _POOL
    # aiohttp would look for a proxy and a .netrc at every request, in a thread each: more work than the request.
    configuration.proxy = configuration.proxy or proxy_of(str(configuration.host))
    configuration.client_session_kwargs = {"trust_env": False}
    return configuration


def proxy_of(url: str) -> str | None:
    """Return the proxy that the environment names for `url`."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)


class Operator:
    """One process: standby until it holds the Lease, then at work."""

    def __init__(self, settings: Settings, cluster: KubeCluster) -> None:
        self._settings, self._cluster = settings, cluster
        self._stop = asyncio.Event()
        self._flags = Flags()
        self._listed = asyncio.Event()
        self._controller: Controller | None = None
        self._metrics = Metrics(lambda: self._controller.index if self._controller else None)
        self._progress = Progress(self._review, time.time)

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT. Raises StartError, LeaseLostError."""
        self._take_signals()
        await check(self._cluster, self._settings)
        async with contextlib.AsyncExitStack() as servers:
            await self._serve(servers)
            lease = self._lease()
            if lease is None:
                await self._work(servers, None)
            elif await self._until_stopped(lease.acquire()):
                await self._work(servers, lease)

    async def _work(self, servers: contextlib.AsyncExitStack, lease: Lease | None) -> None:
        controller = Controller(self._cluster, self._settings, time.time, self._metrics)
        self._controller = self._progress.controller = controller
        tasks = [asyncio.create_task(self._reconcile(controller)), asyncio.create_task(self._stopped_at_work())]
        if lease is not None:
            tasks.append(asyncio.create_task(lease.keep()))
        webhooks = Webhooks(self._cluster, self._settings, time.time)
        controller.webhooks = webhooks.told
        if self._settings.webhooks:
            tasks.append(asyncio.create_task(self._once_ready(webhooks.run())))
        capacity = Capacity(self._cluster, self._settings, controller, time.time)
        tasks.append(asyncio.create_task(self._once_ready(capacity.run())))
        watches = asyncio.create_task(self._watch(controller))
        try:
            done, _ = await asyncio.wait({watches, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if not task.cancelled():  # by Kopf, when a signal met it before its handlers were replaced
                    task.result()
        finally:
            # Kopf takes down whatever was started after it; so it goes last.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await servers.aclose()
            self._flags.stop.set()
            self._listed.set()
            await watches
            if lease is not None:
                await lease.release()

    async def _reconcile(self, controller: Controller) -> None:
        started = time.monotonic()
        await list_all(self._cluster, controller, self._settings)
        _LOG.info("synced: %d jobs in %.2f s", len(controller.index.jobs), time.monotonic() - started)
        self._listed.set()
        await self._flags.ready.wait()
        self._take_signals()
        await controller.run()

    async def _watch(self, controller: Controller) -> None:
        """Watch once everything is listed: both lists at once would take longer, and hold every object twice."""
        await self._listed.wait()
        if not self._flags.stop.is_set():
            await watch(controller, self._settings, self._flags)

    async def _once_ready(self, work: Coroutine[Any, Any, None]) -> None:
        await self._flags.ready.wait()
        await work

    async def _serve(self, servers: contextlib.AsyncExitStack) -> None:
        settings = self._settings
        health = health_app(self._is_ready, self._metrics.registry)
        port = await servers.enter_async_context(serving(health, settings.health_port))
        _LOG.info("health and metrics on port %d", port)
        if settings.progress_cert:
            tls = tls_context(settings.progress_cert, settings.progress_key)
            port = await servers.enter_async_context(serving(progress_app(self._progress), settings.progress_port, tls))
            _LOG.info("progress on port %d", port)
            fresh = keep_fresh(tls, settings.progress_cert, settings.progress_key, _FRESH_S)
            self._fresh = asyncio.create_task(fresh)  # kept, so that it is not collected
            servers.callback(self._fresh.cancel)

    def _is_ready(self) -> bool:
        """Whether it works, or stands by as it should."""
        return self._controller is None or self._flags.ready.is_set()

    def _lease(self) -> Lease | None:
        if not self._settings.lease_namespace:
            return None
        identity = os.environ.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}"
        names = self._settings.lease_namespace, self._settings.lease_name
        return Lease(self._cluster, *names, identity, time.monotonic)

    async def _review(self, token: str) -> Mapping[str, Any]:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [AUDIENCE]},
        }
        try:
            answer = await self._cluster.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body)
        except ApiError as error:
            raise RefusedError(503, "the token cannot be reviewed now") from error
        return dict(answer.get("status") or {})

    def _take_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)

    async def _stopped_at_work(self) -> None:
        """Return when stopped; Kopf sets signal handlers of its own when it begins, so ours are set again."""
        while not self._flags.ready.is_set() and not self._stop.is_set():
            self._take_signals()
            await asyncio.sleep(0.05)
        self._take_signals()
        await self._stop.wait()

    async def _until_stopped(self, work: Coroutine[Any, Any, Any]) -> bool:
        """Do `work` unless stopped first; return whether it was done."""
        doing, stopped = asyncio.create_task(work), asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({doing, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                doing.result()
            return doing.done()
        finally:
            for task in (doing, stopped):
                task.cancel()
            await asyncio.gather(doing, stopped, return_exceptions=True)


async def _run(settings: Settings) -> None:
    async with ApiClient(await load_configuration()) as api:
        await Operator(settings, KubeCluster(api)).run()


def main() -> int:
    """Run until SIGTERM or SIGINT; return 0 stopped, 2 wrong settings, 3 unfit cluster, 4 the Lease is lost."""
    configure()
    try:
        asyncio.run(_run(Settings.from_env(os.environ)))
    except SettingsError as error:
        sys.stderr.write(f"recon3d-operator: wrong settings\n{error}\n")
        return WRONG_SETTINGS
    except StartError as error:
        sys.stderr.write(f"recon3d-operator: cannot start\n{error}\n")
        return UNFIT_CLUSTER
    except LeaseLostError as error:
        sys.stderr.write(f"recon3d-operator: ends: {error}\n")
        return LEASE_LOST
    return STOPPED
