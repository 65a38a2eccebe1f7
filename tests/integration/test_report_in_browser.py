"""report.html in a real headless Chromium: it draws, it moves, it asks the network for nothing, it logs no error.

Driven over the DevTools protocol on a pair of pipes, so nothing listens on a port.
"""

from __future__ import annotations

import base64
import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image
from recon3d_contract.conventions import POSITION, VIEWS, camera_axes
from recon3d_contract.result import Notice
from recon3d_runner.quality.evaluate import Evaluation, evaluate
from recon3d_runner.raster.cpu import project, rasterize, render_textured
from recon3d_runner.report import ReportData, build_report
from recon3d_runner.types import Calibration, Camera, TexturedMesh, View

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: the report is not opened in a browser"),
    pytest.mark.timeout(240),
]
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--remote-debugging-pipe",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1200,900",
]


class Browser:
    """One page of a headless Chromium; `events` keeps what it said."""

    def __init__(self, profile: Path, *flags: str) -> None:
        read_command, self.write_end = os.pipe()
        self.read_end, write_reply = os.pipe()
        # Chromium reads commands from descriptor 3 and answers on 4.
        move = "import fcntl, os, sys; a, b = (fcntl.fcntl(int(n), fcntl.F_DUPFD, 10) for n in sys.argv[1:3])"
        move += "; os.dup2(a, 3); os.dup2(b, 4); os.execv(sys.argv[3], sys.argv[3:])"
        command = [sys.executable, "-c", move, str(read_command), str(write_reply), str(CHROMIUM), *FLAGS, *flags]
        self.process = subprocess.Popen(
            [*command, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(read_command, write_reply),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(read_command)
        os.close(write_reply)
        self.events: list[dict[str, Any]] = []
        self.buffer, self.number, self.session = b"", 0, ""
        try:
            self.attach()
        except BaseException:
            self.close()
            raise

    def attach(self) -> None:
        pages = self.call("Target.getTargets")["targetInfos"]
        target = next(page["targetId"] for page in pages if page["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.read_end], [], [], max(deadline - time.monotonic(), 0))
            chunk = os.read(self.read_end, 1 << 20) if ready else b""
            if not chunk:
                raise TimeoutError("Chromium does not answer")
            self.buffer += chunk
        message, self.buffer = self.buffer.split(b"\0", 1)
        return dict(json.loads(message))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write_end, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + 60
        while True:
            reply = self.receive(deadline)
            if reply.get("id") == self.number:
                assert "error" not in reply, reply
                return dict(reply["result"])
            self.events.append(reply)

    def run(self, script: str) -> Any:
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def open(self, path: Path) -> None:
        self.call("Page.navigate", url=path.as_uri())
        deadline = time.monotonic() + 90
        while not self.run("document.documentElement && document.documentElement.dataset.viewer || ''"):
            assert time.monotonic() < deadline, "the page never said whether its viewer runs"
            time.sleep(0.1)

    def picture(self, selector: str) -> np.ndarray:
        """What the canvas holds after the next frame, (h, w, 4)."""
        script = f"""new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() =>
            done(document.querySelector({selector!r}).toDataURL("image/png")))))"""
        data = base64.b64decode(self.run(script).split(",")[1])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"), np.int16)

    def press(self, key: str, *, shift: bool = False) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, modifiers=8 if shift else 0)

    def drag(self, dx: int, dy: int) -> None:
        script = """(() => {
            const canvas = document.querySelector('#viewer');
            canvas.scrollIntoView({ block: 'center' });
            const box = canvas.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        })()"""
        x0, y0 = self.run(script)
        steps = [("mousePressed", 0, 0), ("mouseMoved", dx, dy), ("mouseReleased", dx, dy)]
        for kind, x, y in steps:
            place = {"x": x0 + x, "y": y0 + y, "button": "left", "buttons": 1, "clickCount": 1}
            self.call("Input.dispatchMouseEvent", type=kind, **place)

    def complaints(self) -> list[Any]:
        """Console messages, exceptions and log entries."""
        told = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [event["params"] for event in self.events if event.get("method") in told]

    def requests(self) -> list[str]:
        sent = [event["params"] for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        return [one["request"]["url"] for one in sent if not one["request"]["url"].startswith("data:")]

    def close(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.write_end)
        os.close(self.read_end)


def checkered_ball() -> TexturedMesh:
    sphere = trimesh.creation.icosphere(subdivisions=4)
    vertices, faces = np.array(sphere.vertices) * (0.5, 0.4, 0.3), np.array(sphere.faces, np.int32)
    uv = np.column_stack([(vertices[:, 1] + 0.5) * 0.9 + 0.05, 0.95 - 0.9 * (vertices[:, 2] + 0.5)])
    y, x = np.mgrid[:256, :256] // 16
    texture = np.stack([(x + y) % 2 * 200, x * 12, y * 12], axis=-1).astype(np.uint8) + 20
    unseen = np.zeros((256, 256), np.bool_)
    unseen[100:156, 100:156] = True
    return TexturedMesh(vertices, faces, uv, faces, texture, unseen)


@pytest.fixture(scope="module")
def evaluation() -> tuple[TexturedMesh, Evaluation]:
    """A mesh and its real evaluation against slightly wrong inputs."""
    mesh = checkered_ball()
    views = []
    for name in VIEWS:
        rotation = np.array(camera_axes(name))
        camera = Camera(rotation, -rotation @ (2.2 * np.array(POSITION[name])), 40.0)
        render = render_textured(mesh, camera, 256)
        depth = rasterize(project(mesh.vertices, camera, 256), mesh.faces, 256)[1]
        views.append(View(name, camera, np.roll(render.rgb, 1, axis=0), render.alpha, depth))
    calibration = Calibration(40.0, 1.0, 0.9, None, "white-near", False, 0.5, 1.5, {name: {} for name in VIEWS}, 0.01)
    return mesh, evaluate(mesh, views, calibration, dict.fromkeys(VIEWS, 25.0), engine="nvdiffrec")


@pytest.fixture(scope="module")
def page(evaluation: tuple[TexturedMesh, Evaluation], tmp_path_factory: pytest.TempPathFactory) -> Path:
    mesh, measured = evaluation
    path = tmp_path_factory.mktemp("report") / "report.html"
    data = ReportData(
        quality=measured.quality,
        mesh=mesh,
        references=measured.references,
        renders={name: render.rgb for name, render in measured.renders.items()},
        timings={"load": 0.5, "geometry": 12.0},
        parameters={"engine": "nvdiffrec", "label": "</pre><script>document.title = 'owned'</script>"},
        warnings=[Notice(code="odd", message='<img src="https://example.invalid/x" onerror="document.title=1">')],
        title="A <b>bold</b> & checkered ball",
    )
    build_report(data, path)
    return path


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    opened = Browser(tmp_path / "profile")
    yield opened
    opened.close()


def test_the_page_draws_and_moves_without_network_or_errors(page: Path, browser: Browser) -> None:
    browser.open(page)
    state = browser.run("({...document.documentElement.dataset})")
    assert state["viewer"] == "drawn"
    assert int(state["triangles"]) == 5120
    first = browser.picture("#viewer")
    covered = (first[..., 3] > 0).mean()
    assert int(state["pixels"]) == (first[..., 3] > 0).sum()
    assert 0.15 < covered < 0.9

    last = first
    for what in ("shaded", "wireframe", "unseen", "textured"):
        browser.run(f"document.querySelector('[data-show={what}]').click()")
        now = browser.picture("#viewer")
        assert (np.abs(now - last).max(axis=-1) > 8).mean() > 0.01, what
        last = now
    for what in ("shaded", "wireframe", "unseen", "textured"):
        browser.run(f"document.querySelector('[data-show={what}]').click()")
    assert np.array_equal(browser.picture("#viewer"), first)

    browser.drag(120, 40)
    turned = browser.picture("#viewer")
    assert (np.abs(turned - first).max(axis=-1) > 8).mean() > 0.05
    browser.press("+")
    assert (browser.picture("#viewer")[..., 3] > 0).mean() > covered * 1.1
    browser.press("ArrowRight", shift=True)
    browser.press("Home")
    assert np.array_equal(browser.picture("#viewer"), first)

    assert browser.run("document.querySelectorAll('.compare:not([hidden])').length") == 1
    browser.run("document.querySelector('#view-3').click()")
    assert browser.run("document.querySelector('.compare:not([hidden])').dataset.view") == VIEWS[3]
    move = "(slider => { slider.value = 20; slider.dispatchEvent(new Event('input')); })"
    browser.run(move + "(document.querySelector('.compare:not([hidden]) [type=range]'))")
    cut = browser.run("getComputedStyle(document.querySelector('.compare:not([hidden]) .render')).clipPath")
    assert cut == "inset(0px 0px 0px 20%)"

    assert browser.run("document.title") == "A <b>bold</b> & checkered ball"
    assert browser.complaints() == []
    assert browser.requests() == [page.as_uri()]


def test_the_viewer_shows_the_mesh_the_right_way_round(
    page: Path, browser: Browser, evaluation: tuple[TexturedMesh, Evaluation]
) -> None:
    """Each named point of view shows what our own renderer shows from there: shape and colours in place."""
    browser.open(page)
    mesh = evaluation[0]
    for k, name in enumerate(VIEWS):
        browser.run(f"document.querySelectorAll('[data-look]')[{k}].click()")
        shot = browser.picture("#viewer")
        height, width = shot.shape[:2]
        rotation = np.array(camera_axes(name))
        distance = 1.06 * 0.5 / np.sin(np.radians(15))  # the viewer's framing of this mesh: 30 degrees, radius .5
        expected = render_textured(
            mesh, Camera(rotation, -rotation @ (distance * np.array(POSITION[name])), 30.0), height
        )
        square = shot[:, (width - height) // 2 :][:, :height]
        drawn, wanted = square[..., 3] > 0, expected.alpha > 0.5
        assert (drawn & wanted).sum() / (drawn | wanted).sum() > 0.99, name
        both = drawn & wanted
        assert np.abs(square[..., :3] / 255 - expected.rgb)[both].mean() < 0.05, name


def test_without_webgl_the_page_says_so_and_keeps_the_picture(page: Path, tmp_path: Path) -> None:
    browser = Browser(tmp_path / "profile", "--disable-3d-apis")
    try:
        browser.open(page)
        assert browser.run("document.documentElement.dataset.viewer") == "failed"
        assert "cannot run in this browser" in browser.run("document.querySelector('#viewer-note').innerText")
        assert browser.run("document.querySelector('.stage img').offsetWidth") > 100
        assert browser.run("getComputedStyle(document.querySelector('#viewer')).visibility") == "hidden"
        assert browser.requests() == [page.as_uri()]
    finally:
        browser.close()
