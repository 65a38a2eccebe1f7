"""The operator's two servers: health and metrics in the clear, progress over TLS."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from recon3d_operator.progress import MAX_BODY, Progress, RefusedError

_LOG: Final = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def health_app(ready: Callable[[], bool], registry: CollectorRegistry) -> web.Application:
    """Return /healthz (it lives), /readyz (it works, or stands by as it should) and /metrics."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n") if ready() else web.Response(status=503, text="not ready\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    return app


def progress_app(progress: Progress) -> web.Application:
    """Return POST /progress."""

    async def take(request: web.Request) -> web.Response:
        try:
            body = await request.content.read(MAX_BODY + 1)
            await progress.take(request.headers.get("Authorization", ""), body)
        except RefusedError as refusal:
            return web.Response(status=refusal.status, text=f"{refusal}\n")
        return web.Response(status=204)

    app = web.Application(client_max_size=MAX_BODY)
    app.add_routes([web.post("/progress", take)])
    return app


@contextlib.asynccontextmanager
async def serving(app: web.Application, port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve `app` on all addresses; yield the port (another one than asked for if that was 0)."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.SockSite(runner, _listen(port), ssl_context=tls).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def _listen(port: int) -> socket.socket:
    """Return one socket for IPv4 and, where there is any, IPv6."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


async def keep_fresh(context: ssl.SSLContext, certificate: str, key: str, every_s: float) -> None:
    """Load the certificate anew whenever its file has changed: cert-manager and Secrets replace it in place."""
    known = _version(certificate)
    while True:
        await asyncio.sleep(every_s)
        found = _version(certificate)
        if found is None or found == known:
            continue
        try:
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:  # half replaced: the next look finds both
            _LOG.warning("the certificate cannot be loaded anew: %s", error)
        else:
            known = found
            _LOG.info("the certificate was loaded anew")


def _version(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """Return the server's side of TLS 1.2 or newer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context
