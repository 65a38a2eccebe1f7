"""The service as bench_api.py measures it: a process of its own, a folder as the store, no limits on rates."""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from kubecluster.client import JOBS, Client, eventually
from kubecluster.process import Program, free_ports
from recon3d_api.auth.keys import digest_of
from recon3d_contract.conventions import VIEWS
from recon3d_contract.store import FolderStore

NAMESPACE = "bench"
KEY = "r3d_the-benchmarks-own-key"
_BOUNDARY = "bench-boundary"


class Service:
    """A running `recon3d-api`."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        self.kubeconfig, self.folder, self.port = kubeconfig, folder, free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self.store = folder / "store"
        self.store.mkdir()
        keys = folder / "keys"
        keys.write_text(f"bench sha256:{digest_of(KEY)}\n")
        self.env = {
            "KUBECONFIG": str(kubeconfig),
            "RECON3D_STORE": str(self.store),
            "RECON3D_NAMESPACE": NAMESPACE,
            "RECON3D_ID_SECRET": "a secret of the benchmark",
            "RECON3D_KEYS_FILE": str(keys),
            "RECON3D_HOST": "127.0.0.1",
            "RECON3D_PORT": str(self.port),
            "RECON3D_RATE_PER_S": "0",
            "RECON3D_UPLOADS_AT_ONCE": "0",
        }
        self.client = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=15)
        self.start()

    def start(self) -> None:
        """Start it, again if need be, and wait until it answers."""
        command = [Path(sys.executable).parent / "recon3d-api"]
        self.program = Program("recon3d-api", command, self.folder / "api.log", self.env)

    def wait(self) -> None:
        """Wait until it is ready."""

        def ready() -> bool:
            assert self.program.running(), self.program.tail()
            with contextlib.suppress(httpx.TransportError):
                return self.get("/health/ready").status_code == 200
            return False

        eventually(ready, seconds=180, what="the service is ready")

    def get(self, path: str, **parameters: Any) -> httpx.Response:
        """Ask it."""
        return self.client.get(path, params=parameters)

    def submit(self) -> str:
        """Make the smallest job; return its id."""
        return str(self.client.post("/jobs", json={"input": {"builtin": "example"}}).raise_for_status().json()["id"])

    def store_result(self, job: str, size: int) -> Path:
        """Give the job a result with a file of `size` bytes; return that file."""
        admin = Client(self.kubeconfig)
        path = f"{JOBS}/namespaces/{NAMESPACE}/reconstructionjobs/{job}"
        uid = admin.get(path)["metadata"]["uid"]
        store = FolderStore(self.store)
        staging = store.begin(uid, 1)
        (staging.path / "result.json").write_text("{}")
        (staging.path / "nvdiffrec").mkdir()
        with (staging.path / "nvdiffrec" / "mesh.glb").open("wb") as file:
            for _ in range(size // 1_000_000):
                file.write(os.urandom(1_000_000))
        store.commit(staging)
        store.publish(uid, 1)
        admin.merge(f"{path}/status", {"status": {"phase": "Processing"}})
        admin.merge(f"{path}/status", {"status": {"phase": "Completed", "finishedAt": "2026-01-01T00:00:00Z"}})
        eventually(lambda: self.get(f"/jobs/{job}").json()["status"] == "completed", what="it knows the end")
        return self.store / "jobs" / uid / "attempts" / "1" / "nvdiffrec" / "mesh.glb"

    def forget_peak(self) -> float:
        """Have the kernel begin anew with the peak of the memory; return what is in use now, in MiB."""
        Path(f"/proc/{self.program.pid}/clear_refs").write_text("5")
        return self._memory("VmRSS")

    def peak_mib(self) -> float:
        """The peak since then."""
        return self._memory("VmHWM")

    def _memory(self, name: str) -> float:
        text = Path(f"/proc/{self.program.pid}/status").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name}:")) / 1024


@contextlib.contextmanager
def serving(kubeconfig: Path, folder: Path) -> Iterator[Service]:
    """Yield a running service; stop it at the end."""
    service = Service(kubeconfig, folder)
    try:
        service.wait()
        yield service
    finally:
        service.client.close()
        service.program.stop()
        text = service.program.log.read_text()
        if "Traceback" in text:
            sys.stderr.write(text[-4000:])
        time.sleep(0.2)


def png(size: int, bits: int, colour: int, row: bytes) -> bytes:
    """Return a PNG of `size` times `size` whose rows are all `row`, or noise if that is empty."""
    stride = size * bits // 8 * (3 if colour == 2 else 1)
    raw = b"".join(b"\0" + (row or os.urandom(stride)) for _ in range(size))
    header = struct.pack(">IIBBBBB", size, size, bits, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 1)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def noise_form(path: Path, *, views: int, depth: int) -> None:
    """Write a form's body with twelve pictures that do not compress: with 2560 pixels each, 197 MB."""
    with path.open("wb") as file:
        for kind, size, bits, colour in (("multi_views", views, 8, 2), ("depth_renders", depth, 16, 0)):
            for view in VIEWS:
                disposition = f'form-data; name="files[]"; filename="{kind}/{view}.png"'
                file.write(f"--{_BOUNDARY}\r\nContent-Disposition: {disposition}\r\n".encode())
                file.write(b"Content-Type: image/png\r\n\r\n" + png(size, bits, colour, b"") + b"\r\n")
        file.write(f"--{_BOUNDARY}--\r\n".encode())
