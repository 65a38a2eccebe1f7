"""Around every request: its id, its line in the log, its metrics. Plain ASGI, so that streams stay streams."""

from __future__ import annotations

import logging
import re
import secrets
import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recon3d_api.metrics import Metrics

_LOG: Final = logging.getLogger("recon3d_api.access")
_ID: Final = re.compile(rb"[A-Za-z0-9][-A-Za-z0-9_.]{0,99}")
_READING: Final = ("GET", "HEAD", "OPTIONS")
_LONG_S: Final = 2.0


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
        request_id = given if _ID.fullmatch(given) else secrets.token_hex(8).encode()
        scope["recon3d.request_id"] = request_id.decode()
        started, status = time.perf_counter(), 500

        async def tell(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        try:
            await self._app(scope, receive, tell)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", None) or ("/jobs/{job_id}" if "endpoint" in scope else "none")
            self._metrics.answered(scope["method"], route, status, seconds)
            self._log(scope, status, seconds)

    def _log(self, scope: Scope, status: int, seconds: float) -> None:
        """Log what changes something, goes wrong or takes long; all the rest only where DEBUG is wanted."""
        told = scope["method"] not in _READING or status >= 400 or seconds >= _LONG_S
        level = logging.INFO if told else logging.DEBUG
        if _LOG.isEnabledFor(level):
            facts = {"request_id": scope["recon3d.request_id"], "seconds": round(seconds, 4)}
            _LOG.log(level, "%s %s %d", scope["method"], scope["path"], status, extra=facts)
