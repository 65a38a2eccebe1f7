"""Fetching one file from an untrusted https URL.

At the first address and at every redirect: the scheme must be https, the host must be on the allow-list, and
every address that it resolves to must be allowed; then the connection goes to exactly the address that was
checked, so that a name which resolves differently the second time gains nothing. TLS verifies the name.
Proxies of the environment are not used. Size, time and SHA-256 are bounded and checked.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urljoin, urlsplit

from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.inputs.archive import ARCHIVE_LIMIT
from recon3d_contract.storage_errors import storing
from recon3d_contract.store.addresses import allowed, is_numeric
from recon3d_contract.store.reference import Reference

Resolver = Callable[[str, int], list[str]]

_REDIRECTS: Final = (301, 302, 303, 307, 308)
_PIECE: Final = 64 * 1024


@dataclass(frozen=True)
class HttpsPolicy:
    """What may be fetched; the default allows no host at all."""

    hosts: tuple[str, ...] = ()
    """`host`, `*.domain` (any name below it), each with `:port` if not 443."""
    private_addresses: bool = False
    """Whether hosts on the list may have private and loopback addresses (never link-local ones)."""
    limit_bytes: int = ARCHIVE_LIMIT
    io_seconds: float = 20.0
    """For connecting and for each wait."""
    total_seconds: float = 600.0
    max_redirects: int = 5
    ca_file: str | None = None
    """PEM of the authorities to trust instead of the system's."""

    def allows(self, host: str, port: int) -> bool:
        """Whether `host` is on the list for `port`."""
        host = host.lower().rstrip(".")
        for entry in self.hosts:
            name, _, listed = entry.lower().rpartition(":") if ":" in entry else (entry.lower(), "", "443")
            if str(port) != listed:
                continue
            if host == name or (name.startswith("*.") and host.endswith(name[1:]) and host != name[2:]):
                return True
        return False

    def target(self, url: str) -> tuple[str, int, str]:
        """Return host, port and path of a URL that may be asked for, as far as it tells itself; names are not resolved.

        Raises INPUT_NOT_ALLOWED.
        """
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").rstrip("."), parts.port or 443
        except ValueError:
            raise Recon3dError(Code.INPUT_NOT_ALLOWED, "The URL leads to one that is not valid.") from None
        if parts.scheme != "https" or not host or "@" in parts.netloc or not url.isascii():
            raise Recon3dError(Code.INPUT_NOT_ALLOWED, "The URL leads to one that is not plain https.", {"host": host})
        if not self.allows(host, port):
            text = f"The host {host} (port {port}) is not one that inputs may be fetched from."
            raise Recon3dError(Code.INPUT_NOT_ALLOWED, text, {"host": host, "port": port})
        if is_numeric(host) and not allowed(host, private=self.private_addresses):
            raise _forbidden_address(host)
        return host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _forbidden_address(host: str) -> Recon3dError:
    text = f"The host {host} has an address in a network that inputs may not be fetched from."
    return Recon3dError(Code.INPUT_NOT_ALLOWED, text, {"host": host})


def system_resolver(host: str, port: int) -> list[str]:
    """Return the numeric addresses of `host` as the system knows them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]) for item in found))


class _Deadline:
    """Shuts the connection in use when the time is over, whatever it is waiting for."""

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def watch(self, connected: socket.socket) -> None:
        with self._lock:
            self._socket = connected
        if self.passed:
            self._end()

    def _end(self) -> None:
        with self._lock:
            self.passed = True
            if self._socket is not None:
                with suppress(OSError):
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _Connection(http.client.HTTPSConnection):
    """Goes to one numeric address, and speaks TLS and HTTP with the host's name."""

    def __init__(self, host: str, port: int, address: str, context: ssl.SSLContext, wait: float, end: _Deadline):
        super().__init__(host, port, timeout=wait, context=context)
        self._address, self._tls, self._wait, self._end = address, context, wait, end

    def connect(self) -> None:
        """Connect to the checked address, never to what the name resolves to now."""
        raw = socket.create_connection((self._address, self.port), timeout=self._wait)
        secure = self._tls.wrap_socket(raw, server_hostname=self.host, do_handshake_on_connect=False)
        self.sock = secure
        self._end.watch(secure)
        secure.do_handshake()


def _unreachable(text: str, host: str) -> Recon3dError:
    return Recon3dError(Code.INPUT_UNREACHABLE, text, {"host": host})


class HttpsFetcher:
    """Fetches references of the scheme https."""

    def __init__(self, policy: HttpsPolicy, resolver: Resolver = system_resolver) -> None:
        """Use `resolver` for names; tests bring their own."""
        self._policy = policy
        self._resolve = resolver

    def fetch(self, reference: Reference, target: Path) -> None:
        """Write the file to `target`, which must not exist; nothing is left there on an error.

        Raises INPUT_NOT_ALLOWED, INPUT_NOT_FOUND, INPUT_UNREACHABLE, UPLOAD_TOO_LARGE, CHECKSUM_MISMATCH,
        STORAGE_FULL or STORAGE_UNAVAILABLE.
        """
        url = reference.value
        with storing():
            file = os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)
        try:
            with file, _Deadline(self._policy.total_seconds) as deadline:
                digest = hashlib.sha256()
                for data in self._read(url, deadline):
                    digest.update(data)
                    with storing():
                        written = file.write(data)
                        while written < len(data):
                            written += file.write(data[written:])
            if digest.hexdigest() != reference.sha256:
                found = {"expected": reference.sha256, "found": digest.hexdigest()}
                raise Recon3dError(Code.CHECKSUM_MISMATCH, None, found)
        except BaseException:
            with suppress(OSError):
                target.unlink()
            raise

    def _read(self, url: str, deadline: _Deadline) -> Iterator[bytes]:
        for _ in range(self._policy.max_redirects + 1):
            with self._answer(url, deadline) as (response, host):
                with _network(host, deadline):
                    onward = response.getheader("Location") if response.status in _REDIRECTS else None
                if onward is None:
                    yield from self._body(response, host, deadline)
                    return
            try:
                url = urljoin(url, onward)
            except ValueError:
                raise Recon3dError(Code.INPUT_NOT_ALLOWED, "The URL leads to one that is not valid.") from None
        raise _unreachable("The URL redirects too often.", host)

    @contextmanager
    def _answer(self, url: str, deadline: _Deadline) -> Iterator[tuple[http.client.HTTPResponse, str]]:
        host, port, target = self._policy.target(url)
        context = ssl.create_default_context(cafile=self._policy.ca_file)
        connection: _Connection | None = None
        response: http.client.HTTPResponse | None = None
        try:
            with _network(host, deadline):
                addresses = self._addresses(host, port)
                for index, address in enumerate(addresses):
                    connection = _Connection(host, port, address, context, self._policy.io_seconds, deadline)
                    try:
                        connection.connect()
                        break
                    except ssl.SSLError:
                        raise
                    except OSError:
                        connection.close()
                        if index == len(addresses) - 1:
                            raise
                assert connection is not None  # noqa: S101 - _addresses never returns an empty list
                headers = {"User-Agent": "recon3d", "Accept-Encoding": "identity", "Connection": "close"}
                connection.request("GET", target, headers=headers)
                response = connection.getresponse()
            yield response, host
        finally:
            if response is not None:
                response.close()  # it holds the socket when the server closes after the answer
            if connection is not None:
                connection.close()

    def _addresses(self, host: str, port: int) -> list[str]:
        addresses = self._resolve(host, port)
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        if not all(allowed(address, private=self._policy.private_addresses) for address in addresses):
            raise _forbidden_address(host)
        return addresses

    def _body(self, response: http.client.HTTPResponse, host: str, deadline: _Deadline) -> Iterator[bytes]:
        limit, status = self._policy.limit_bytes, response.status
        if status != 200:
            gone = 400 <= status < 500 and status not in (408, 425, 429)
            code = Code.INPUT_NOT_FOUND if gone else Code.INPUT_UNREACHABLE
            raise Recon3dError(code, f"The server {host} answers {status}.", {"host": host, "status": status})
        if response.getheader("Content-Encoding", "identity").lower() != "identity":
            raise _unreachable(f"The server {host} sends the file in another encoding.", host)
        declared = response.length
        too_large = Recon3dError(Code.UPLOAD_TOO_LARGE, f"The file is larger than {limit} bytes.", {"limit": limit})
        if declared is not None and declared > limit:
            raise too_large
        received = 0
        while True:
            with _network(host, deadline):
                data = response.read1(_PIECE)
            if not data:
                break
            received += len(data)
            if received > limit:
                raise too_large
            yield data
        if deadline.passed or (declared is not None and received != declared):
            raise _cut(host, deadline)


def _cut(host: str, deadline: _Deadline) -> Recon3dError:
    why = "took too long" if deadline.passed else "ended the connection too early"
    return _unreachable(f"The server {host} {why}.", host)


@contextmanager
def _network(host: str, deadline: _Deadline) -> Iterator[None]:
    """Name what can go wrong on the network; addresses are not told."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise _unreachable(f"The certificate of {host} is not accepted: {error.verify_message}.", host) from None
    except socket.gaierror:
        raise _unreachable(f"The host {host} is not known.", host) from None
    except TimeoutError:
        raise _unreachable(f"The server {host} took too long.", host) from None
    except (OSError, http.client.HTTPException, ValueError):
        if deadline.passed:
            raise _cut(host, deadline) from None
        raise _unreachable(f"The server {host} cannot be reached or does not speak HTTP.", host) from None
