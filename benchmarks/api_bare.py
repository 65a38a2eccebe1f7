"""What the shim is compared with: the same work with nothing around it.

python benchmarks/api_bare.py route PORT             a FastAPI route that answers a small object
python benchmarks/api_bare.py receive PORT FOLDER    asyncio: what comes from a socket goes into a file
python benchmarks/api_bare.py send PORT FILE         asyncio: a file goes into a socket
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path

import uvicorn
import uvloop
from fastapi import FastAPI

_PIECE = 256 * 1024
_numbers = itertools.count()


def route(port: int) -> None:
    """Serve one route as the shim is served."""
    app = FastAPI()

    @app.get("/jobs/{job_id}")
    async def job(job_id: str) -> dict[str, object]:
        return {"id": job_id, "status": "queued", "progress": 0, "engine": "nvdiffrec", "profile": "fast", "seed": 0}

    uvicorn.run(app, host="127.0.0.1", port=port, log_config=None, access_log=False, loop="uvloop", http="httptools")


async def receive(port: int, folder: Path) -> None:
    """Copy every connection into a file."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = folder / f"bare-{next(_numbers)}"
        with path.open("wb") as file:
            while data := await reader.read(_PIECE):
                file.write(data)
        path.unlink()
        writer.write(b"done\r\n")
        await writer.drain()
        writer.close()

    await (await asyncio.start_server(copy, "127.0.0.1", port, limit=_PIECE)).serve_forever()


async def send(port: int, path: Path) -> None:
    """Copy the file into every connection."""

    async def copy(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with path.open("rb") as file:
            while data := file.read(_PIECE):
                writer.write(data)
                await writer.drain()
        writer.close()

    await (await asyncio.start_server(copy, "127.0.0.1", port)).serve_forever()


def main(kind: str, port: str, *rest: str) -> None:
    """Serve until killed."""
    if kind == "route":
        route(int(port))
    else:
        uvloop.run((receive if kind == "receive" else send)(int(port), Path(rest[0])))


if __name__ == "__main__":
    main(*sys.argv[1:])
