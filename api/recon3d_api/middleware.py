"""Around every request: its id, its line in the log, its metrics. Plain ASGI, so that streams stay streams."""

from __future__ import annotations

import logging
import re
import secrets
import time
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recon3d_api.metrics import Metrics

_LOG: Final = logging.getLogger("recon3d_api.access")
_ID: Final = re.compile(rb"[A-Za-z0-9][-A-Za-z0-9_.]{0,99}")
_QUIET: Final = ("/health/live", "/health/ready", "/metrics")


class Around:
    """Gives a request an id (the client's X-Request-Id if it is sane), counts it and logs it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = given.decode() if _ID.fullmatch(given) else secrets.token_hex(8)
        scope["recon3d.request_id"] = request_id
        started, status = time.perf_counter(), 500

        async def tell(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        self._metrics.now.inc()
        try:
            await self._app(scope, receive, tell)
        finally:
            self._metrics.now.dec()
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.requests.labels(scope["method"], route, status).inc()
            self._metrics.seconds.labels(route).observe(seconds)
            if scope["path"] not in _QUIET and _LOG.isEnabledFor(logging.INFO):
                _LOG.info(
                    "%s %s %d", scope["method"], scope["path"], status,
                    extra={"request_id": request_id, "seconds": round(seconds, 4)},
                )  # fmt: skip
