"""The job API as methods. Errors of the service come out as the contract's Recon3dError."""

from __future__ import annotations

import contextlib
import json
import random
import secrets
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx
from recon3d_contract.errors import Code, Recon3dError

from recon3d_api.client.source import Source

_TRIES: Final = 6
_AGAIN: Final = (429, 502, 503, 504)
_TIMEOUT: Final = httpx.Timeout(30.0, read=120.0, write=60.0)


class ApiClient:
    """One service and one key."""

    def __init__(self, url: str, key: str | None = None, *, transport: httpx.BaseTransport | None = None) -> None:
        """Use `transport` instead of the network; tests bring their own."""
        headers = {"User-Agent": "recon3d"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self._url = url.rstrip("/")
        self._http = httpx.Client(base_url=f"{self._url}/v1", headers=headers, timeout=_TIMEOUT, transport=transport)

    def __enter__(self) -> ApiClient:
        """Return the client; it is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._http.close()

    def submit(self, source: Source, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Submit a job. It is made once, however often the connection breaks: the request has a key of its own."""
        headers = {"Idempotency-Key": f"recon3d-{secrets.token_hex(16)}"}
        if source.reference is not None:
            body = {**fields, "input": source.reference}
            return self._json("POST", "/jobs", headers=headers, json=body)
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
        return self._send_files("/jobs", source, texts, headers)

    def upload(self, source: Source) -> dict[str, Any]:
        """Upload an input for later jobs."""
        return self._send_files("/inputs", source, {}, {})

    def job(self, job: str) -> dict[str, Any]:
        """Return a job."""
        return self._json("GET", f"/jobs/{job}")

    def jobs(self, filters: Mapping[str, Any], limit: int) -> Iterator[dict[str, Any]]:
        """Yield jobs, newest first, at most `limit`."""
        parameters = {**filters, "limit": min(limit, 100)}
        while limit > 0:
            page = self._json("GET", "/jobs", params=parameters)
            yield from page["jobs"][:limit]
            limit -= len(page["jobs"])
            if not page["next_cursor"]:
                return
            parameters["cursor"] = page["next_cursor"]

    def cancel(self, job: str, *, confirm: bool) -> dict[str, Any]:
        """Do one of the two steps."""
        return self._json("POST", f"/jobs/{job}/cancel", params={"confirm": confirm})

    def delete(self, job: str) -> None:
        """Delete a job and its files."""
        self._checked(lambda: self._http.delete(f"/jobs/{job}"))

    def events(self, job: str) -> Iterator[dict[str, Any]]:
        """Yield the job at each change until it is over; goes on after a broken connection."""
        last, failures = "", 0
        while True:
            headers = {"Last-Event-ID": last} if last else {}
            try:
                with self._http.stream("GET", f"/jobs/{job}/events", headers=headers, timeout=40.0) as answer:
                    if answer.status_code != 200:
                        answer.read()
                        raise _problem(answer)
                    kind = ""
                    for line in answer.iter_lines():
                        failures = 0
                        name, _, value = line.partition(": ")
                        if name == "event":
                            kind = value
                        elif name == "id":
                            last = value
                        elif name == "data" and kind == "status":
                            yield json.loads(value)
                        elif name == "data" and kind in ("end", "deleted"):
                            return
            except httpx.TransportError as error:
                failures += 1
                if failures > _TRIES:
                    raise self._unreachable(error) from None
            except Recon3dError as error:
                failures += 1
                if not error.row.retryable or failures > _TRIES:
                    raise
            _pause(failures)

    @contextlib.contextmanager
    def stream(self, path: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """Open an answer of bytes."""
        try:
            with self._http.stream("GET", path, headers=dict(headers)) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    raise _problem(answer)
                yield answer
        except httpx.ConnectError as error:
            raise self._unreachable(error) from None

    def _send_files(
        self, path: str, source: Source, fields: Mapping[str, str], headers: Mapping[str, str]
    ) -> dict[str, Any]:
        def send() -> httpx.Response:
            with source.parts() as parts:
                return self._http.post(path, files=parts, data=dict(fields), headers=dict(headers))

        answer: dict[str, Any] = self._checked(send).json()
        return answer

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._checked(lambda: self._http.request(method, path, **options)).json()
        return answer

    def _checked(self, send: Any) -> httpx.Response:
        """Send until there is an answer that trying again would not change."""
        for number in range(1, _TRIES + 1):
            try:
                answer: httpx.Response = send()
            except httpx.TransportError as error:
                if number == _TRIES:
                    raise self._unreachable(error) from None
                _pause(number)
                continue
            if answer.status_code < 400:
                return answer
            problem = _problem(answer)
            waiting = answer.status_code in _AGAIN or problem.code is Code.REQUEST_IN_PROGRESS
            if not waiting or number == _TRIES:
                raise problem
            _pause(number, answer.headers.get("retry-after"))
        raise AssertionError("the last try returns or raises")

    def _unreachable(self, error: Exception) -> Recon3dError:
        text = f"The service at {self._url} does not answer ({type(error).__name__})."
        return Recon3dError(Code.CLUSTER_UNAVAILABLE, text, suggestion="Check --url or RECON3D_URL.")


def _problem(answer: httpx.Response) -> Recon3dError:
    try:
        data = answer.json()
        return Recon3dError(data["code"], data["detail"], data.get("details"), data.get("suggestion"))
    except (ValueError, KeyError, TypeError):
        text = f"The service answered {answer.status_code}, and not as recon3d does."
        return Recon3dError(Code.INTERNAL, text, suggestion="Check --url or RECON3D_URL.")


def _pause(number: int, wanted: str | None = None) -> None:
    seconds = float(wanted) if wanted and wanted.isdecimal() else min(0.2 * 2**number, 8.0)
    time.sleep(min(seconds, 30.0) * random.uniform(0.8, 1.2))  # noqa: S311 - only spreads the load
