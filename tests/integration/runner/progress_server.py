"""A local TLS server that takes progress, and misbehaves on request. Not a test."""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, which is its own CA: (certificate, key)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "recon3d test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = folder / "server.crt", folder / "server.key"
    cert_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_path, key_path


@dataclass
class Server:
    """Receives posts; `behaviour` is good | slow | refuse | redirect | garbage | drip | hangup."""

    behaviour: str
    ca: Path
    key: Path
    posts: list[tuple[float, str | None, dict[str, Any], int]] = field(default_factory=list)
    """(time, Authorization, body, size)."""

    def __post_init__(self) -> None:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                body = json.loads(self.rfile.read(size))
                server.posts.append((time.monotonic(), self.headers["Authorization"], body, size))
                server.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None  # type: ignore[method-assign]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca, self.key)
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        if self.behaviour == "slow":
            self._ending.wait(30)
        elif self.behaviour == "drip":
            for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 1000:
                handler.wfile.write(bytes([byte]))
                if self._ending.wait(0.5):
                    return
        elif self.behaviour == "garbage":
            handler.wfile.write(b"\x00\x01 not http at all\r\n\r\n")
        elif self.behaviour == "hangup":
            handler.connection.close()
        elif self.behaviour == "refuse":
            handler.send_response(503)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        elif self.behaviour == "redirect":
            handler.send_response(307)
            handler.send_header("Location", self.url + "/elsewhere")
            handler.end_headers()
        else:
            handler.send_response(204)
            handler.end_headers()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._http.server_address[1]}/progress"

    def close(self) -> None:
        self._ending.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
