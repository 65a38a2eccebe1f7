"""Load for bench_api.py, in processes of their own so that they do not share an interpreter with what they measure.

    python benchmarks/api_load.py get HOST PORT PATH KEY CONNECTIONS SECONDS     requests on kept connections
    python benchmarks/api_load.py upload HOST PORT PATH KEY FILE COUNT           FILE as the body, COUNT at once
    python benchmarks/api_load.py download HOST PORT PATH KEY                    read and thrown away
    python benchmarks/api_load.py listen HOST PORT PATH KEY COUNT                streams of events; one line per event

Each prints one JSON object a line. Raw sockets under uvloop: a client library would cost more than the server.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def head(method: str, path: str, key: str, *lines: str) -> bytes:
    """Return a request's head."""
    return "\r\n".join(
        [f"{method} {path} HTTP/1.1", "Host: bench", f"Authorization: Bearer {key}", *lines, "", ""]
    ).encode()


class Getter(asyncio.Protocol):
    """One connection that asks again as soon as it is answered."""

    def __init__(self, request: bytes, end: float, times: list[float]) -> None:
        self.request, self.end, self.times = request, end, times
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.buffer = b""
        self.wrong = 0

    def connection_made(self, transport: Any) -> None:
        """Ask for the first time."""
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        """Ask."""
        self.asked = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Take the answer, ask again."""
        self.buffer += data
        split = self.buffer.find(b"\r\n\r\n")
        if split < 0:
            return
        found = _LENGTH.search(self.buffer, 0, split)
        if len(self.buffer) < split + 4 + (int(found[1]) if found else 0):
            return
        now = time.perf_counter()
        self.wrong += not self.buffer.startswith(b"HTTP/1.1 200")
        self.buffer = b""
        self.times.append(now - self.asked)
        if now < self.end:
            self.ask()
        else:
            self.transport.close()
            self.done.set_result(None)


async def get(host: str, port: int, path: str, key: str, connections: int, seconds: float) -> dict[str, float]:
    """Return requests a second, percentiles in ms, and how many were not answered with 200."""
    loop = asyncio.get_running_loop()
    times: list[float] = []
    started = time.perf_counter()
    request = head("GET", path, key)
    made = [
        await loop.create_connection(lambda: Getter(request, started + seconds, times), host, port)
        for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in made))
    spent = time.perf_counter() - started
    cuts = statistics.quantiles(times, n=100)
    wrong = sum(protocol.wrong for _, protocol in made)
    return {"rps": len(times) / spent, "p50_ms": cuts[49] * 1e3, "p99_ms": cuts[98] * 1e3, "wrong": wrong}


async def _send(host: str, port: int, request: bytes, file: Path) -> str:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(request)
    await writer.drain()
    loop = asyncio.get_running_loop()
    with file.open("rb") as body:
        while data := await loop.run_in_executor(None, body.read, 256 * 1024):
            writer.write(data)
            await writer.drain()
    if writer.can_write_eof() and not request:
        writer.write_eof()
    answer = await reader.read(65536)
    writer.close()
    return answer.split(b"\r\n")[0].decode()


async def upload(host: str, port: int, path: str, key: str, file: Path, count: int) -> dict[str, object]:
    """Send the file `count` times at once; an empty path sends it bare."""
    size = file.stat().st_size
    lines = (f"Content-Length: {size}", "Content-Type: multipart/form-data; boundary=bench-boundary")
    request = head("POST", path, key, *lines) if path else b""
    started = time.perf_counter()
    answers = await asyncio.gather(*(_send(host, port, request, file) for _ in range(count)))
    seconds = time.perf_counter() - started
    return {"mb_per_s": size * count / seconds / 1e6, "seconds": seconds, "answers": sorted(set(answers))}


async def download(host: str, port: int, path: str, key: str) -> dict[str, object]:
    """Read an answer (an empty path: whatever comes) and throw it away."""
    reader, writer = await asyncio.open_connection(host, port, limit=1024 * 1024)
    started = time.perf_counter()
    status, size = b"", 0
    if path:
        writer.write(head("GET", path, key, "Connection: close"))
        status = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0]
    while data := await reader.read(1024 * 1024):
        size += len(data)
    writer.close()
    seconds = time.perf_counter() - started
    return {"mb_per_s": size / seconds / 1e6, "bytes": size, "status": status.decode()}


async def _listen(host: str, port: int, request: bytes) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(request)
    async for line in reader:
        if line.startswith(b"data: ") and len(line) > 20:
            _told(line)
    writer.close()


_counts: dict[str, int] = {}


def _told(line: bytes) -> None:
    """Count the listeners that were told of a state of the job; print when all listeners were."""
    progress = str(json.loads(line[6:])["progress"])
    _counts[progress] = _counts.get(progress, 0) + 1
    if _counts[progress] == _LISTENERS:
        print(json.dumps({"progress": int(progress), "listeners": _LISTENERS, "at": time.time()}), flush=True)


_LISTENERS = 0


async def listen(host: str, port: int, path: str, key: str, count: int) -> None:
    """Open `count` streams of events; ends when the server ends them."""
    global _LISTENERS  # noqa: PLW0603 - one process, one purpose
    _LISTENERS = count
    request = head("GET", path, key, "Connection: close")
    await asyncio.gather(*(_listen(host, port, request) for _ in range(count)))


def main(kind: str, host: str, port: str, path: str, key: str, *rest: str) -> None:
    """Run one load."""
    if kind == "get":
        print(json.dumps(uvloop.run(get(host, int(port), path, key, int(rest[0]), float(rest[1])))))
    elif kind == "upload":
        print(json.dumps(uvloop.run(upload(host, int(port), path, key, Path(rest[0]), int(rest[1])))))
    elif kind == "download":
        print(json.dumps(uvloop.run(download(host, int(port), path, key))))
    else:
        uvloop.run(listen(host, int(port), path, key, int(rest[0])))


if __name__ == "__main__":
    main(*sys.argv[1:])
