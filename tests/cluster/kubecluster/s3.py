"""A real S3 server on this machine: versitygw over a folder, found on PATH or built with Go once."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kubecluster.binaries import NoBinariesError, cache_folder, say
from kubecluster.client import eventually
from kubecluster.process import Program, free_ports, own_folder

VERSION = "v1.8.0"
_MODULE = "github.com/versity/versitygw/cmd/versitygw"
_KEY, _SECRET = "tester", "a-secret-of-the-tests"


@dataclass(frozen=True)
class S3Server:
    """A running server with one bucket, `results`."""

    url: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_REGION": "us-east-1",
        }


def _program() -> Path:
    found = shutil.which("versitygw")
    if found:
        return Path(found)
    place = cache_folder().parent / "versitygw"
    if not (place / "versitygw").is_file():
        if not shutil.which("go"):
            raise NoBinariesError("versitygw is not on the PATH, and there is no Go to build it with")
        say(f"building versitygw {VERSION}, once (minutes)")
        env = {**os.environ, "GOBIN": str(place)}
        subprocess.run(["go", "install", f"{_MODULE}@{VERSION}"], env=env, check=True)
    return place / "versitygw"


@contextlib.contextmanager
def s3_server() -> Iterator[S3Server]:
    """Yield a server; all of it is gone afterwards."""
    program = _program()
    with own_folder() as folder:
        (folder / "objects" / "results").mkdir(parents=True)
        port = free_ports(1)[0]
        command = [
            program, "--port", f"127.0.0.1:{port}", "--access", _KEY, "--secret", _SECRET, "--quiet",
            "posix", "--sidecar", str(folder / "meta"), str(folder / "objects"),
        ]  # fmt: skip
        (folder / "meta").mkdir()
        running = Program("versitygw", command, folder / "versitygw.log")
        server = S3Server(f"http://127.0.0.1:{port}", folder / "objects")
        try:
            import socket

            def listening() -> bool:
                assert running.running(), running.tail()
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    return True
                return False

            eventually(listening, what="the S3 server has started")
            yield server
        finally:
            running.stop()
