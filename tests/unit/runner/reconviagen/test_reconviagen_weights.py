"""Fetching code and weights from a hub of our own, resuming, and checking them without one."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from recon3d_contract.errors import Code, Recon3dError
from recon3d_runner.engines import reconviagen
from recon3d_runner.engines.reconviagen import download, pins, weights
from recon3d_runner.engines.reconviagen.digests import tree_sha256
from recon3d_runner.engines.reconviagen.download import git_sha1

LARGE = b"weights " * 5000
A = "weights/pipeline/ckpts/a.safetensors"
SMALL = b'{"name": "pipeline"}'
CODE = {"trellis/__init__.py": b"one = 1\n", "wheels/vggt/a.py": b"two = 2\n", "app.py": b"never\n"}
DINO = {"dinov2/__init__.py": b"", "hubconf.py": b"three = 3\n"}


def archive(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as packed:
        for name, data in files.items():
            info = tarfile.TarInfo(f"top-1234/{name}")
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Hub(ThreadingHTTPServer):
    """Answers as the hub and the source archives do; may break off in the middle of a file."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.break_off: dict[str, int] = {}
        self.ranges: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        data = self.server.files.get(self.path)
        if data is None:
            self.send_error(404)
            return
        start = 0
        if wanted := self.headers.get("Range"):
            self.server.ranges.append(wanted)
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        stop = self.server.break_off.pop(self.path, len(data))
        self.wfile.write(data[start:stop])

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    made = Hub()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    source = pins.Hub("Org/model", "r1", "pipeline", (".json", ".safetensors"))
    monkeypatch.setattr(pins, "HUBS", (source,))
    for name, files in (("CODE", CODE), ("DINO", DINO)):
        root = tmp_path / name
        for path, data in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
        monkeypatch.setattr(pins, f"{name}_SHA256", tree_sha256(root, getattr(pins, f"{name}_FOLDERS")))
        repository = getattr(pins, f"{name}_REPOSITORY").partition("github.com/")[2]
        made.files[f"/{repository}/tar.gz/{getattr(pins, f'{name}_COMMIT')}"] = archive(files)
    (tmp_path / "small").write_bytes(SMALL)
    listed = [
        {"type": "file", "path": "pipeline.json", "size": len(SMALL), "oid": git_sha1(tmp_path / "small")},
        {"type": "file", "path": "ckpts/a.safetensors", "size": len(LARGE), "oid": "x",
         "lfs": {"oid": hashlib.sha256(LARGE).hexdigest()}},
        {"type": "file", "path": "README.md", "size": 3, "oid": "y"},
        {"type": "directory", "path": "ckpts"},
    ]  # fmt: skip
    made.files["/api/models/Org/model/tree/r1?recursive=true"] = json.dumps(listed).encode()
    made.files["/Org/model/resolve/r1/pipeline.json"] = SMALL
    made.files["/Org/model/resolve/r1/ckpts/a.safetensors"] = LARGE
    made.files["/dino.pth"] = b"dino"
    monkeypatch.setattr(pins, "DINO_WEIGHTS_SHA256", hashlib.sha256(b"dino").hexdigest())
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def fetch(hub: Hub, home: Path) -> int:
    return weights.main(
        ["fetch", "--home", str(home), "--hub", hub.url, "--git", hub.url, "--dino", f"{hub.url}/dino.pth"]
    )


def test_everything_is_fetched_and_then_known(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "home"
    assert fetch(hub, home) == 0
    manifest = weights.read_manifest(home)
    assert [(entry.path, entry.known_by) for entry in manifest.files] == [
        ("pipeline/pipeline.json", "hub"),
        ("pipeline/ckpts/a.safetensors", "hub"),
        (pins.DINO_WEIGHTS, "public record"),
    ]
    assert not (home / "code/app.py").exists()
    assert weights.main(["verify", "--home", str(home)]) == 0
    assert "3 files are as they should be" in capsys.readouterr().out
    # Nothing is fetched twice.
    hub.files = {path: data for path, data in hub.files.items() if path.startswith("/api/")}
    assert fetch(hub, home) == 0


def test_a_download_goes_on_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    hub.break_off["/Org/model/resolve/r1/ckpts/a.safetensors"] = 12_345
    assert fetch(hub, tmp_path / "home") == 0
    assert hub.ranges == ["bytes=12345-"]


def test_wrong_content_is_refused(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.files["/Org/model/resolve/r1/ckpts/a.safetensors"] = LARGE[:-1] + b"!"
    assert fetch(hub, tmp_path / "home") == 1
    assert "its content has SHA-256" in capsys.readouterr().err
    assert not (tmp_path / "home/manifest.json").exists()


def test_the_hub_may_not_contradict_the_record(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = dataclasses.replace(pins.HUBS[0], known={"ckpts/a.safetensors": "0" * 64})
    monkeypatch.setattr(pins, "HUBS", (recorded,))
    with pytest.raises(download.FetchError, match="public records"):
        weights.fetch(tmp_path / "home", weights.Sources(hub.url, hub.url, f"{hub.url}/dino.pth"), print)


def test_only_https_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(download.FetchError, match="only https"):
        download.fetch_file("http://example.org/a", tmp_path / "a", size=None, sha256=None)


@pytest.mark.parametrize(
    ("act", "word"),
    [
        (lambda home: (home / A).unlink(), "a.safetensors is missing"),
        (lambda home: (home / A).write_bytes(LARGE[::-1]), "a.safetensors was altered"),
        (lambda home: (home / "weights/pipeline/pipeline.json").write_bytes(b"{}"), "pipeline.json was altered"),
        (lambda home: (home / "code/trellis/__init__.py").write_text("one = 2"), "code was altered"),
        (lambda home: (home / "weights" / pins.DINO_FOLDER / "hubconf.py").unlink(), "hubconf.py is missing"),
        (lambda home: (home / "manifest.json").unlink(), "manifest.json is missing"),
    ],
    ids=["missing", "altered", "shorter", "code", "dino", "manifest"],
)  # fmt: skip
def test_what_is_missing_or_altered_is_named_with_the_command(hub: Hub, tmp_path: Path, act, word: str) -> None:
    home = tmp_path / "home"
    assert fetch(hub, home) == 0
    assert reconviagen.require({reconviagen.HOME: str(home)}) == home
    act(home)
    with pytest.raises(Recon3dError) as caught:
        reconviagen.require({reconviagen.HOME: str(home)})
    assert caught.value.code is Code.ENGINE_UNAVAILABLE
    assert word in caught.value.message
    assert "weights fetch --home" in caught.value.suggestion
    assert weights.main(["verify", "--home", str(home)]) == 1


def test_without_a_home_the_engine_is_not_installed() -> None:
    with pytest.raises(Recon3dError, match="not installed") as caught:
        reconviagen.require({})
    assert reconviagen.HOME in caught.value.suggestion
