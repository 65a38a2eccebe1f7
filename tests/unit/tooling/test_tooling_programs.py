"""Programs are downloaded with their checksums, else built; a cluster that cannot be had is said plainly."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from kubecluster import places, tools
from kubecluster.binaries import NoBinariesError, download_checked
from kubecluster.tools import TOOLS, Tool, tool

PROGRAM = b"#!/bin/sh\necho v9.1\n"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which it is served."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "listing",
    ["{sum}\n", "{sum}  thing-1.tar\n", "0000  other.tar\n{sum} *thing-1.tar\n", "{sum}  ./dist/thing-1.tar\n"],
)
def test_every_form_of_a_checksum_s_file_is_read(server: tuple[Path, str], tmp_path: Path, listing: str) -> None:
    folder, address = server
    (folder / "thing-1.tar").write_bytes(b"data")
    (folder / "sums").write_text(listing.format(sum=hashlib.sha256(b"data").hexdigest()))
    download_checked(f"{address}/thing-1.tar", f"{address}/sums", tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == b"data"


@pytest.mark.parametrize("listing", ["0000\n", "{sum}  other.tar\n", ""])
def test_a_download_without_its_checksum_is_refused(server: tuple[Path, str], tmp_path: Path, listing: str) -> None:
    folder, address = server
    (folder / "thing-1.tar").write_bytes(b"data")
    (folder / "sums").write_text(listing.format(sum=hashlib.sha256(b"data").hexdigest()))
    with pytest.raises(NoBinariesError, match="has the SHA-256"):
        download_checked(f"{address}/thing-1.tar", f"{address}/sums", tmp_path / "got")


def some_tool(address: str, member: str) -> Tool:
    ending = ".tar.gz" if member else ""
    return Tool(
        "example.org/none", "v9.1.0", ("--version",), "v9.", f"{address}/{{number}}-thing{ending}", member=member
    )


@pytest.mark.parametrize("member", ["", "thing-9/thing"])
def test_a_tool_is_downloaded_once(
    server: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, member: str
) -> None:
    folder, address = server
    data = PROGRAM
    if member:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            info = tarfile.TarInfo(member)
            info.size = len(PROGRAM)
            tar.addfile(info, io.BytesIO(PROGRAM))
        data = buffer.getvalue()
    name = f"9.1.0-thing{'.tar.gz' if member else ''}"
    (folder / name).write_bytes(data)
    (folder / f"{name}.sha256sum").write_text(f"{hashlib.sha256(data).hexdigest()}  {name}\n")
    monkeypatch.setitem(TOOLS, "thing", some_tool(address, member))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tool("thing")
    assert path.read_bytes() == PROGRAM
    assert path.stat().st_mode & 0o111
    (folder / name).unlink()
    assert tool("thing") == path


def test_a_tool_that_can_neither_be_downloaded_nor_built_says_so(
    server: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOOLS, "thing", some_tool(server[1], ""))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tools.shutil, "which", lambda _: None)
    with pytest.raises(NoBinariesError, match="can neither be downloaded nor built"):
        tool("thing")


def test_kind_without_docker_and_a_wrong_word_are_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "has_docker", lambda: False)
    with pytest.raises(places.NoPlaceError, match="kind needs a Docker engine"):
        places.choose("kind")
    with pytest.raises(places.NoPlaceError, match="must be kind, node or current"):
        places.choose("moon")
    monkeypatch.setattr(places, "why_no_node", lambda: "a real node needs root")
    with pytest.raises(places.NoPlaceError, match="no Docker engine answers, and a real node needs root"):
        places.choose("auto")
