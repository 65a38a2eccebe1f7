"""A network of its own with a name server, a public file server and what nobody may reach. Not a test.

    unshare --net --mount --kill-child python attack_world.py CONFIG

Runs the command of CONFIG (JSON) in it and prints one JSON object: how it ended, which names were asked for, and who
was connected to. Public addresses exist here on the loopback only.
"""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar

PUBLIC, METADATA, SERVICE = "93.184.216.34", "169.254.169.254", "10.96.0.1"


class Names(threading.Thread):
    """Answers A and AAAA: for each name answers given in turn, the last one for ever; none may be kept."""

    def __init__(self, names: dict[str, list[list[str]]]) -> None:
        super().__init__(daemon=True)
        self.names, self.asked = names, []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))

    def run(self) -> None:
        while True:
            query, sender = self.socket.recvfrom(1500)
            self.socket.sendto(self.answer(query), sender)

    def answer(self, query: bytes) -> bytes:
        at, labels = 12, []
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += 1 + query[at]
        name, (kind,) = ".".join(labels).lower(), struct.unpack(">H", query[at + 1 : at + 3])
        turns = self.names.get(name, [[]])
        found = turns[min(self.asked.count(name), len(turns) - 1)]
        if kind == 28:  # the resolver asks for both; the turn passes with the second question
            self.asked.append(name)
        family, wanted = (socket.AF_INET, "4") if kind == 1 else (socket.AF_INET6, "6")
        addresses = [address for address in found if (":" in address) == (wanted == "6")]
        records = b"".join(
            struct.pack(">HHHIH", 0xC00C, kind, 1, 0, 4 if kind == 1 else 16) + socket.inet_pton(family, address)
            for address in addresses
        )
        rcode = 0 if name in self.names else 3
        head = query[:2] + struct.pack(">HHHHH", 0x8180 | rcode, 1, len(addresses), 0, 0)
        return head + query[12 : at + 5] + records


class Files(http.server.BaseHTTPRequestHandler):
    """The public server: a file, and redirects."""

    routes: ClassVar[dict[str, str]] = {}
    data = b""

    def do_GET(self) -> None:
        target = self.routes.get(self.path)
        self.send_response(302 if target else 200)
        if target:
            self.send_header("Location", target)
        self.send_header("Content-Length", str(0 if target else len(self.data)))
        self.end_headers()
        self.wfile.write(b"" if target else self.data)

    def log_message(self, *_: Any) -> None:
        """What counts is who was connected to."""


def trap(address: str, port: int, touched: list[str]) -> None:
    """Note every connection to an address that nobody may reach."""
    listening = socket.create_server((address, port))

    def accept() -> None:
        while True:
            connection, _ = listening.accept()
            touched.append(f"{address}:{port}")
            connection.close()

    threading.Thread(target=accept, daemon=True).start()


def main() -> None:
    config = json.loads(Path(sys.argv[1]).read_text())
    for command in (["ip", "link", "set", "lo", "up"], ["mount", "--bind", config["resolv"], "/etc/resolv.conf"]):
        subprocess.run(command, check=True)
    for address in (PUBLIC, METADATA, SERVICE):
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    names = Names(config["names"])
    names.start()
    touched: list[str] = []
    for address in (METADATA, SERVICE):
        for port in (80, 443):
            trap(address, port, touched)
    Files.routes, Files.data = config["redirects"], Path(config["file"]).read_bytes()
    server = http.server.ThreadingHTTPServer((PUBLIC, 443), Files)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*config["certificate"])
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    done = subprocess.run(config["command"], env=config["environment"], capture_output=True, text=True, check=False)
    print(json.dumps({"rc": done.returncode, "asked": names.asked, "touched": touched, "stderr": done.stderr[-3000:]}))


if __name__ == "__main__":
    main()
