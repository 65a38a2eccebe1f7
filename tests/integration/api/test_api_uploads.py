"""Uploads as good and bad clients send them, over real sockets; afterwards nothing is left of what failed."""

from __future__ import annotations

import contextlib
import io
import socket
import struct
import time
import zipfile
from pathlib import Path

import pytest
from kubecluster.client import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240, func_only=True)]
EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "input"
VIEWS = ("front", "back", "left", "right", "top", "bottom")


def picture(kind: str, view: str) -> bytes:
    return (EXAMPLE / kind / f"{view}.png").read_bytes()


def views() -> dict[str, tuple[str, bytes, str]]:
    return {view: ("x.png", picture("multi_views", view), "image/png") for view in VIEWS}


def left(shim) -> list[Path]:
    return list((shim.store / "inputs").glob("*"))


def test_twelve_parts_named_by_view(alice, shim):
    depth = {f"depth_{view}": ("y.png", picture("depth_renders", view), "image/png") for view in VIEWS}
    answer = alice.post("/inputs", files={**views(), **depth})
    assert answer.status_code == 201, answer.text
    assert len(answer.json()["files"]) == 12
    stored = shim.store / "inputs" / answer.json()["id"] / "depth_renders" / "front.png"
    assert stored.is_file()


def test_one_zip_as_a_part_and_as_the_body_and_its_pictures_are_the_same_upload(alice, files, shim):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in EXAMPLE.glob("*/*.png"):
            archive.write(path, f"wrapped/{path.relative_to(EXAMPLE)}")
    body = buffer.getvalue()
    ids = {
        alice.post("/inputs", files={"file": ("a.zip", body, "application/zip")}).json()["id"],
        alice.post("/inputs", content=body, headers={"Content-Type": "application/zip"}).json()["id"],
        alice.post("/inputs", files=files).json()["id"],
    }
    assert len(ids) == 1
    assert [path.name for path in left(shim)] == [*ids]


def test_everything_wrong_is_told_at_once(alice, shim):
    parts = views()
    del parts["top"]
    parts["left"] = ("left.png", b"\xff\xd8\xff\xe0 a JPEG", "image/png")
    parts["back"] = ("back.png", picture("multi_views", "back")[:-5000], "image/png")
    answer = alice.post("/jobs", files=parts)
    assert answer.status_code == 422
    found = {(each["view"], each["code"]) for each in answer.json()["details"]["problems"]}
    assert found == {("top", "MISSING_VIEW"), ("left", "INVALID_IMAGE"), ("back", "INVALID_IMAGE")}
    eventually(lambda: left(shim) == [], what="nothing is left")


@pytest.mark.parametrize("name", ["../../../../tmp/evil.png", "/etc/evil.png", "multi_views/../../evil.png", "\0.png"])
def test_an_uploader_chooses_no_path(alice, shim, name, tmp_path):
    parts = [("files[]", (name, picture("multi_views", "front"), "image/png"))]
    answer = alice.post("/inputs", files=parts)
    assert answer.status_code == 422
    eventually(lambda: left(shim) == [], what="nothing is left")
    assert not list(tmp_path.rglob("*evil*"))


def test_a_file_and_a_body_that_are_too_large(alice, shim):
    parts = views()
    noise = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 2048, 2048, 8, 2, 0, 0, 0)
    parts["top"] = ("top.png", noise + bytes(21 * 1024 * 1024), "image/png")
    answer = alice.post("/inputs", files=parts)
    assert answer.status_code in (413, 422)
    with _connect(shim) as wire:
        wire.sendall(_head(shim, f"Content-Length: {10**10}") + _PART)
        declared = b"".join(iter(lambda: wire.recv(65536), b""))  # head and body may come apart
    assert b" 413 " in declared.split(b"\r\n")[0]
    assert b"UPLOAD_TOO_LARGE" in declared
    eventually(lambda: left(shim) == [], what="nothing is left")


def _connect(shim) -> socket.socket:
    host, _, port = shim.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def _head(shim, *lines: str) -> bytes:
    key = shim.keys["alice"]
    first = ("POST /inputs HTTP/1.1", "Host: x", f"Authorization: Bearer {key}")
    return "\r\n".join([*first, "Content-Type: multipart/form-data; boundary=b", *lines, "", ""]).encode()


_PART = b'--b\r\nContent-Disposition: form-data; name="front"; filename="f.png"\r\nContent-Type: image/png\r\n\r\n'


def _begun() -> bytes:
    """The beginning of a form, more than is taken in at once."""
    return b"".join(_PART.replace(b"front", view.encode()) + picture("multi_views", view) + b"\r\n" for view in VIEWS)


def test_an_endless_stream_ends_with_a_clear_answer(shim):
    with _connect(shim) as wire:
        wire.sendall(_head(shim, "Transfer-Encoding: chunked"))
        piece = _PART + bytes(1024 * 1024)
        sent = 0
        answer = b""
        wire.settimeout(0.001)
        while sent < 400 and not answer:
            data = b"%x\r\n" % len(piece) + piece + b"\r\n"
            wire.settimeout(30)
            with contextlib.suppress(ConnectionError):
                wire.sendall(data)
            sent += 1
            piece = bytes(1024 * 1024)
            wire.settimeout(0.001)
            with contextlib.suppress(TimeoutError, ConnectionError):
                answer = wire.recv(65536)
        wire.settimeout(30)
        with contextlib.suppress(ConnectionError):  # after the answer the connection ends
            while more := wire.recv(65536):
                answer += more
        assert b" 413 " in answer.split(b"\r\n")[0]
        assert b"UPLOAD_TOO_LARGE" in answer
        assert sent < 260
    eventually(lambda: left(shim) == [], what="nothing is left")


def test_a_sender_that_stops_is_told_so(start_shim):
    shim = start_shim(RECON3D_IDLE_S="0.5")
    with _connect(shim) as wire:
        wire.sendall(_head(shim, "Content-Length: 1000000") + _PART + picture("multi_views", "front")[:1000])
        answer = wire.recv(65536)
    assert b" 408 " in answer.split(b"\r\n")[0]
    eventually(lambda: left(shim) == [], what="nothing is left")


def test_a_connection_that_breaks_leaves_nothing(shim):
    with _connect(shim) as wire:
        wire.sendall(_head(shim, "Content-Length: 50000000") + _begun())
        eventually(lambda: left(shim) != [], what="it has begun")
    eventually(lambda: left(shim) == [], what="nothing is left")
    assert shim.client(None).get("/health/live").status_code == 200


def test_a_killed_shim_leaves_what_one_sweep_removes(shim, start_shim, sweep):
    with _connect(shim) as wire:
        wire.sendall(_head(shim, "Content-Length: 50000000") + _begun())
        eventually(lambda: left(shim) != [], what="it has begun")
        shim.program.stop(9)
    assert left(shim) != []
    assert sweep(shim)["unfinished"] == 1
    assert left(shim) == []


def test_uploads_and_files_without_a_job_are_swept_and_those_of_jobs_stay(alice, shim, files, cluster, sweep):
    kept = alice.post("/jobs", files=files).json()["id"]
    cluster.store_result(kept, shim.store)
    cluster.store_result(kept, shim.store, attempt=2, publish=False)
    cluster.finish(kept)
    upload = cluster.get(kept)["spec"]["input"]["upload"]
    only_views = alice.post("/inputs", files=views()).json()["id"]
    cluster.create("chair")
    gone = cluster.store_result("chair", shim.store)
    cluster.client.delete(f"{cluster.jobs}/chair")
    assert sweep(shim, RECON3D_SWEEP_UPLOAD_AGE_S="3600", RECON3D_SWEEP_JOB_AGE_S="600") == {
        "jobs": 0, "uploads": 0, "attempts": 0, "unfinished": 0,
    }  # fmt: skip
    time.sleep(1.1)  # the end of a job has whole seconds
    swept = sweep(shim)
    assert (swept["jobs"], swept["uploads"], swept["attempts"]) == (1, 1, 1)
    assert [path.name for path in left(shim)] == [upload]
    assert not (shim.store / "jobs" / gone).exists()
    assert only_views != upload
    assert alice.get(f"/jobs/{kept}/download").status_code == 200
    assert alice.delete(f"/jobs/{kept}").status_code == 204
    eventually(lambda: not list((shim.store / "jobs").glob("*")), what="the files go with the job")
    assert alice.get(f"/jobs/{kept}").status_code == 404
