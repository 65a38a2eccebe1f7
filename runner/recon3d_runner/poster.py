"""Progress over HTTPS to whoever started the job: from a thread, rarely, and without ever failing the job.

POST RECON3D_PROGRESS_URL with the token in the file RECON3D_TOKEN (read anew each time: a projected token is
replaced while the job runs), trusting the CA in the file RECON3D_CA. Only the latest state is sent. No proxies and no
redirects: the token goes to the one address that was given, and only over TLS (or to this machine itself).
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from recon3d_contract.errors import Code, Recon3dError

from recon3d_runner.progress import Snapshot

INTERVAL_S: Final = 2.0
TIMEOUT_S: Final = 3.0
MAX_BACKOFF_S: Final = 30.0
_LAST_POST_S: Final = 0.7
_MAX_TOKEN: Final = 65_536


@dataclass(frozen=True)
class Endpoint:
    """Where progress goes."""

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Endpoint | None:
        """Read RECON3D_PROGRESS_URL, RECON3D_TOKEN and RECON3D_CA; None without a URL. INVALID_REQUEST if wrong."""
        url = environment.get("RECON3D_PROGRESS_URL", "")
        if not url:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.username or parts.password:
            raise Recon3dError(Code.INVALID_REQUEST, "RECON3D_PROGRESS_URL is not an https address.")
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise Recon3dError(
                Code.INVALID_REQUEST, "RECON3D_PROGRESS_URL must use https: the token is never sent in the clear."
            )
        token, ca = environment.get("RECON3D_TOKEN"), environment.get("RECON3D_CA")
        return cls(url, Path(token) if token else None, Path(ca) if ca else None)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Poster:
    """A watcher that posts. `facts` (job uid, attempt) go into every message."""

    def __init__(
        self,
        endpoint: Endpoint,
        facts: Mapping[str, Any],
        *,
        interval: float = INTERVAL_S,
        log: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Start the thread; tell `log` of a failure once for each kind in a row, and of the recovery."""
        self._endpoint = endpoint
        self._facts = dict(facts)
        self._interval = interval
        self._log = log
        self._changed = threading.Condition()
        self._latest: Snapshot | None = None
        self._closed = False
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._loop, name="recon3d-progress", daemon=True)
        self._thread.start()

    def update(self, snapshot: Snapshot) -> None:
        """Keep the latest state for the next post."""
        with self._changed:
            self._latest = snapshot
            self._changed.notify()

    def notice(self, code: str, message: str) -> None:
        """Warnings travel in the result, not here."""

    def close(self) -> None:
        """Give the last state a short chance, then leave the thread behind."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(_LAST_POST_S)

    def _loop(self) -> None:
        wait = 0.0
        failures = 0
        while True:
            due = time.monotonic() + wait
            with self._changed:
                while not self._closed and (self._latest is None or time.monotonic() < due):
                    self._changed.wait(None if self._latest is None else max(0.0, due - time.monotonic()))
                snapshot, self._latest = self._latest, None
                closed = self._closed
            if snapshot is not None:
                failure = self._post(snapshot)
                failures = failures + 1 if failure else 0
                self._report(failure)
            if closed:
                return
            wait = min(self._interval * 2.0 ** min(failures, 8), max(MAX_BACKOFF_S, self._interval))

    def _report(self, failure: str | None) -> None:
        if failure != self._failure:
            self._failure = failure
            self._log(f"progress: {failure}" if failure else "progress: is received again")

    def _post(self, snapshot: Snapshot) -> str | None:
        """Send one state; return why it failed, without addresses or secrets."""
        try:
            return self._send(self._body(snapshot))
        except ssl.SSLError as error:
            return f"the server's certificate is not trusted ({error.reason or 'TLS'})"
        except (OSError, http.client.HTTPException, ValueError) as error:
            return f"the server cannot be reached ({type(error).__name__})"

    def _body(self, snapshot: Snapshot) -> bytes:
        state = snapshot.to_dict()
        if "eta_s" in state:
            state["etaSeconds"] = state.pop("eta_s")
        return json.dumps({**self._facts, **state}, allow_nan=False).encode()

    def _send(self, body: bytes) -> str | None:
        parts = urlsplit(self._endpoint.url)
        headers = {"Content-Type": "application/json", "User-Agent": "recon3d-runner", "Connection": "close"}
        if self._endpoint.token_file is not None:
            token = self._endpoint.token_file.read_text(encoding="ascii")[:_MAX_TOKEN].strip()
            headers["Authorization"] = f"Bearer {token}"
        host = parts.hostname or ""
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            ca = self._endpoint.ca_file
            context = ssl.create_default_context(cafile=str(ca) if ca else None)
            connection = http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT_S, context=context)
        else:
            connection = http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_S)
        try:
            connection.request("POST", f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}", body, headers)
            status = connection.getresponse().status
        finally:
            connection.close()
        return None if 200 <= status < 300 else f"the server answers {status}"
