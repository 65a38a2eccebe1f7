"""`recon3d-runner run` on broken and hostile inputs: its own code, a useful message, quickly and in little memory.

Most of the archives' and PNGs' grammar is tested against the contract alone (tests/unit/contract); here every row
goes through the command line as a user's would, and the rows that need pixels are here only.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from recon3d_contract.conventions import VIEWS
from recon3d_contract.errors import exit_code

UNIT = Path(__file__).parents[1] / "unit"
sys.path[:0] = [str(UNIT / "runner" / "scene"), str(UNIT / "contract")]

from contract_pngs import SIGNATURE, chunk, header, image_set, png, write_folder, write_zip  # noqa: E402
from drawn_objects import blob, l_block, torus  # noqa: E402
from drawn_scenes import Pictures, photograph  # noqa: E402

SIZE = 256
MEMORY = 1 << 30
QUICK, WITH_CALIBRATION = 5.0, 20.0


@dataclass(frozen=True)
class Ended:
    """How a run ended, and what it took."""

    exit_code: int
    text: str
    wall: float
    cpu: float
    peak: int


MEASURED = """
import os, subprocess, sys, time
begun = time.monotonic()
child = subprocess.Popen(sys.argv[1:], stderr=subprocess.STDOUT)
_, status, used = os.wait4(child.pid, 0)
print()
print(os.waitstatus_to_exitcode(status), time.monotonic() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss)
"""
"""A new process counts its parent's memory as its own peak until it has started: so its parent is a small one."""


def run(*arguments: str) -> Ended:
    """`recon3d-runner run` in a process of its own, measured by the kernel with all that it started."""
    command = [sys.executable, "-m", "recon3d_runner.cli", "run", *arguments, "--device", "cpu", "--profile", "fast"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RECON3D_")}
    measured = [sys.executable, "-c", MEASURED, *command]
    done = subprocess.run(measured, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, check=True)
    text, _, figures = done.stdout.decode().rstrip().rpartition("\n")
    exit_code, wall, cpu, peak = figures.split()
    return Ended(int(exit_code), text, float(wall), float(cpu), int(peak) * 1024)


# Bytes


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (256, 256), (90, 120, 30)).save(buffer, "JPEG")
    return buffer.getvalue()


def good(**changed: bytes | None) -> dict[str, bytes]:
    files = image_set()
    for key, data in changed.items():
        name = f"depth_renders/{key[6:]}.png" if key.startswith("depth_") else f"multi_views/{key}.png"
        files.pop(name)
        if data is not None:
            files[name] = data
    return files


def zipped(edit: Callable[[zipfile.ZipFile], object]) -> Callable[[Path], Path]:
    return lambda folder: write_zip(folder / "in.zip", image_set(), edit)


def folder_of(files: dict[str, bytes]) -> Callable[[Path], Path]:
    return lambda folder: write_folder(folder / "in", files)


def link(archive: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("multi_views/link.png")
    info.create_system = 3
    info.external_attr = 0o120777 << 16
    archive.writestr(info, "/etc/passwd")


BYTES: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "truncated PNG": (folder_of(good(front=png()[:-40])), "INVALID_IMAGE", "multi_views/front.png is cut off"),
    "JPEG named .png": (folder_of(good(top=jpeg())), "INVALID_IMAGE", "top.png is a JPEG, not a PNG"),
    "GIF named .png": (folder_of(good(top=b"GIF89a" + bytes(99))), "INVALID_IMAGE", "multi_views/top.png"),
    "16-bit RGB": (folder_of(good(left=png(bits=16))), "INVALID_IMAGE", "left.png is 16-bit RGB"),
    "100 megapixels": (
        folder_of(good(back=SIGNATURE + header(10_000, 10_000))), "WRONG_RESOLUTION", "back.png is 10000x10000"
    ),
    "four billion pixels": (
        folder_of(good(back=SIGNATURE + header(65_535, 65_535) + chunk(b"IDAT", b""))), "WRONG_RESOLUTION", "65535"
    ),
    "not square": (folder_of(good(back=png(256, 300))), "WRONG_RESOLUTION", "must be square"),
    "tiny": (folder_of(image_set(view=png(64))), "WRONG_RESOLUTION", "64x64"),
    "one of another size": (folder_of(good(back=png(300))), "WRONG_RESOLUTION", "back.png is 300x300"),
    "five views": (folder_of(good(bottom=None)), "MISSING_VIEW", "multi_views/bottom.png is missing"),
    "five depths": (folder_of(good(depth_left=None)), "MISSING_VIEW", "depth_renders/left.png is missing"),
    "nothing": (folder_of({"notes.txt": b"x"}), "MISSING_VIEW", "6 problems"),
    "depth in colour": (folder_of(good(depth_top=png())), "INVALID_IMAGE", "depth_renders/top.png is 8-bit RGB"),
    "pixel bomb": (folder_of(good(front=png(raw=bytes(60_000_000)))), "INVALID_IMAGE", "more pixel data"),
    "large file": (folder_of(good(front=png() + bytes(21 << 20))), "FILE_TOO_LARGE", "front.png is 22"),
    "two fronts": (
        folder_of(good(front=None) | {"multi_views/front_1.png": png(), "multi_views/front_2.png": png()}),
        "INVALID_INPUT",
        "more than one file could be",
    ),
    "ZIP bomb": (zipped(lambda z: z.writestr("big.bin", bytes(150_000_000))), "INVALID_ARCHIVE", "ZIP bomb"),
    "traversal": (zipped(lambda z: z.writestr("../../evil.png", b"x")), "INVALID_ARCHIVE", "leads out of the archive"),
    "absolute name": (zipped(lambda z: z.writestr("/etc/cron.d/x", b"x")), "INVALID_ARCHIVE", "absolute path"),
    "symbolic link": (zipped(link), "INVALID_ARCHIVE", "symbolic link"),
    "nested archive": (zipped(lambda z: z.writestr("more.zip", b"PK")), "INVALID_ARCHIVE", "archive inside"),
    "no archive": (
        lambda folder: write_folder(folder, {"in.zip": b"hello"}) / "in.zip", "INVALID_ARCHIVE", "not a ZIP archive"
    ),
    "no such folder": (lambda folder: folder / "nowhere", "INPUT_NOT_FOUND", "nowhere does not exist"),
}  # fmt: skip


# Pixels


@cache
def pictures(depth: bool = True) -> Pictures:
    return photograph(blob(4), size=SIZE, depth_size=SIZE, encoding="white-near" if depth else None)


@cache
def others() -> Pictures:
    return photograph(torus(), size=SIZE, depth_size=SIZE)


def white(kind: str, view: str, depth: bool = True) -> Pictures:
    source = pictures(depth)
    empty = np.full_like(source.colours[view], 255) if kind == "" else np.zeros_like(source.depths[view])
    return source.with_files(**{kind + view: empty})


def exchanged(one: str, other: str) -> Pictures:
    p = pictures()
    changed = {one: p.colours[other], other: p.colours[one]}
    return p.with_files(**changed, **{f"depth_{one}": p.depths[other], f"depth_{other}": p.depths[one]})


def depths(make: Callable[[str], Any], views: tuple[str, ...] = VIEWS) -> Pictures:
    return pictures().with_files(**{f"depth_{view}": make(view) for view in views})


def everything(make: Callable[[str], tuple[Any, Any]]) -> Pictures:
    made = {view: make(view) for view in VIEWS}
    changed = {view: colour for view, (colour, _) in made.items()}
    return pictures().with_files(**changed, **{f"depth_{view}": depth for view, (_, depth) in made.items()})


def flat(view: str) -> Any:
    """One code wherever there is an object."""
    return np.where(pictures().depths[view] > 0, 128, 0).astype(np.uint8)


def corner(view: str) -> Pictures:
    """Without depth: one view shows the object where the other five have nothing."""
    p = pictures(False)
    small = np.full_like(p.colours[view], 255)
    small[4:68, 4:68] = p.colours[view][::4, ::4]
    return p.with_files(**{view: small})


def noise(view: str) -> tuple[Any, Any]:
    rng = np.random.default_rng(VIEWS.index(view))
    return rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8), rng.integers(0, 256, (SIZE, SIZE), np.uint8)


@cache
def block() -> Pictures:
    return photograph(l_block(), size=SIZE, depth_size=SIZE)


PIXELS: dict[str, tuple[Callable[[], Pictures], str]] = {
    "all-white view": (lambda: white("", "top"), "'top'"),
    "all-white view without depth": (lambda: white("", "top", depth=False), "'top' shows no object"),
    "empty depth": (lambda: white("depth_", "left"), "depth render 'left' shows no object"),
    "constant depth": (lambda: depths(lambda view: np.full((SIZE, SIZE), 128, np.uint8)), "shows no object"),
    "flat depth": (lambda: depths(flat), "their depth renders do not"),
    "depth of another object": (
        lambda: depths(lambda view: others().depths[view], ("front",)), "'front' show different objects|'front' fits"
    ),
    "all depths of another object": (lambda: depths(lambda view: others().depths[view]), "show different objects"),
    "one view of another object": (
        lambda: pictures().with_files(back=block().colours["back"], depth_back=block().depths["back"]), "'back' fits"
    ),
    "front and top exchanged": (lambda: exchanged("front", "top"), "'(front|top)' fits"),
    "front is a quarter turned": (
        lambda: pictures().with_files(
            front=np.rot90(pictures().colours["front"]).copy(), depth_front=np.rot90(pictures().depths["front"]).copy()
        ),
        "'front' fits",
    ),
    "six times the same view": (
        lambda: everything(lambda view: (block().colours["left"], block().depths["left"])), "do not show one object"
    ),
    "noise": (lambda: everything(noise), "no object|different objects|not one colour|not show one object"),
    "one object elsewhere, no depth": (lambda: corner("front"), "leaves nothing|do not show one object|common"),
}  # fmt: skip


def judge(ended: Ended, out: Path, code: str, text: str, seconds: float) -> dict[str, Any]:
    """What every refusal has in common; returns the error."""
    assert ended.exit_code == exit_code(code), ended.text
    assert {"result.json"} <= set(os.listdir(out)) <= {"result.json", "run.log"}
    result = json.loads((out / "result.json").read_text())
    error = result["error"]
    assert (result["status"], result["verdict"], result["artifacts"]) == ("failed", None, [])
    assert error["code"] == code
    assert re.search(text, error["message"]), error["message"]
    assert len(error["suggestion"]) > 10
    assert code in ended.text
    log = out / "run.log"
    # The command line names its user's own OUT; nothing else of the machine is told.
    shown = (
        ended.text.replace(str(out), "OUT")
        + (out / "result.json").read_text()
        + (log.read_text() if log.exists() else "")
    )
    for internal in (str(out.parent), "/tmp/", "site-packages", "Traceback", str(Path(__file__).parents[2])):
        assert internal not in shown
    # Other work on the machine stretches the wall clock, not the processor time.
    assert min(ended.wall, ended.cpu) < seconds, ended
    assert ended.peak < MEMORY, ended
    return dict(error)


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_cannot_be_used(name: str, tmp_path: Path) -> None:
    make, code, text = BYTES[name]
    before = set(tmp_path.iterdir())
    source = make(tmp_path)
    judge(run(str(source), "--out", str(tmp_path / "out")), tmp_path / "out", code, text, QUICK)
    assert set(tmp_path.iterdir()) - before <= {source, tmp_path / "out"}


@pytest.mark.parametrize("name", PIXELS)
def test_pixels_that_show_no_one_object(name: str, tmp_path: Path) -> None:
    make, text = PIXELS[name]
    source = make().write(tmp_path / "in")
    ended = run(str(source), "--out", str(tmp_path / "out"))
    error = judge(ended, tmp_path / "out", "INCONSISTENT_VIEWS", text, WITH_CALIBRATION)
    if "without depth" not in name and "no depth" not in name:
        assert error["details"]["worst_view"] in VIEWS


def test_a_refused_input_has_a_log_too(tmp_path: Path) -> None:
    run(str(write_folder(tmp_path / "in", good(front=None))), "--out", str(tmp_path / "out"))
    assert sorted(os.listdir(tmp_path / "out")) == ["result.json", "run.log"]


def test_the_table_is_long_enough() -> None:
    assert len(BYTES) + len(PIXELS) >= 25
