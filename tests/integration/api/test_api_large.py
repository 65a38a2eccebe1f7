"""A result beyond 4 GiB: one archive with a length and ranges, in constant memory."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import pytest
from kubecluster.client import eventually
from recon3d_contract.store import FolderStore

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300, func_only=True)]
SIZE = 4_700_000_000
TAIL = b"the last words"


class Ranges(io.RawIOBase):
    """The archive behind an address; each read is one request for a range."""

    def __init__(self, client, path: str) -> None:
        self.client, self.path, self.at = client, path, 0
        self.length = int(client.head(path).headers["content-length"])

    def seekable(self) -> bool:
        return True

    def seek(self, at: int, whence: int = 0) -> int:
        self.at = at if whence == 0 else (self.at + at if whence == 1 else self.length + at)
        return self.at

    def tell(self) -> int:
        return self.at

    def read(self, count: int = -1) -> bytes:
        stop = self.length if count < 0 else min(self.at + count, self.length)
        if stop <= self.at:
            return b""
        answer = self.client.get(self.path, headers={"Range": f"bytes={self.at}-{stop - 1}"})
        assert answer.status_code == 206
        assert answer.headers["content-range"] == f"bytes {self.at}-{stop - 1}/{self.length}"
        self.at = stop
        return answer.content


def memory(pid: int) -> float:
    """The most that the process ever held, in MiB."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1)) / 1024


def test_an_archive_beyond_four_gibibytes(shim, cluster):
    cluster.create("chair")
    uid = str(cluster.get("chair")["metadata"]["uid"])
    store = FolderStore(shim.store)
    staging = store.begin(uid, 1)
    (staging.path / "result.json").write_bytes(b"{}")
    with (staging.path / "big.bin").open("wb") as file:  # a hole, but for its end
        file.seek(SIZE - len(TAIL))
        file.write(TAIL)
    store.commit(staging)
    store.publish(uid, 1)
    cluster.finish("chair")
    client = shim.client("chief")
    eventually(lambda: client.get("/jobs/chair").json().get("status") == "completed")
    before = memory(shim.program.pid)
    client.timeout = 120
    source = Ranges(client, "/jobs/chair/download")
    assert source.length > SIZE
    with zipfile.ZipFile(source) as opened:
        info = opened.getinfo("chair/big.bin")
        assert info.file_size == SIZE
        assert opened.read("chair/result.json") == b"{}"
        end = info.header_offset + 30 + len("chair/big.bin") + 20 + SIZE
    source.seek(end - len(TAIL))
    assert source.read(len(TAIL)) == TAIL, "the file lies where its header says"
    assert client.get("/jobs/chair/files/big.bin", headers={"Range": f"bytes={SIZE - 5}-"}).content == TAIL[-5:]
    assert memory(shim.program.pid) - before < 60
