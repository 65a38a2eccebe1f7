"""The report as a file: policy, escaping, size, determinism, and the packed mesh. The browser test opens it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from recon3d_contract.conventions import VIEWS
from recon3d_contract.quality import (
    AspectRatio,
    CalibrationReport,
    LeaveOneOut,
    MeshChecks,
    Quality,
    ViewCalibration,
    ViewQuality,
)
from recon3d_contract.result import Notice
from recon3d_runner.report import ReportData, build_report, embed
from recon3d_runner.report.sections import number, percent
from recon3d_runner.types import TexturedMesh

MakeBlob = Callable[..., TexturedMesh]
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


def quality(verdict: str = "normal", reasons: list[str] | None = None) -> Quality:
    score = ViewQuality(psnr_foreground=31.25, ssim_foreground=0.97, psnr_full=36, ssim_full=0.99, iou=0.995)
    return Quality(
        engine="nvdiffrec",
        verdict=verdict,  # type: ignore[arg-type]
        reasons=reasons or [],
        per_view=dict.fromkeys(VIEWS, score),
        means=score,
        worst_view="left",
        leave_one_out=LeaveOneOut(per_view={**dict.fromkeys(VIEWS, 26.0), "top": None}, mean=26.0),
        mesh=MeshChecks(
            vertices=642,
            faces=1280,
            watertight=True,
            manifold=True,
            components=1,
            genus=0,
            degenerate_faces=0,
            self_intersections=3,
            aspect_ratio=AspectRatio(median=1.1, p95=1.4, max=2.0),
            volume=0.5,
            area=3.0,
            diagonal=1.8,
            uv_overlap=0.0,
            unseen_texel_share=0.01,
            other={"odd_fact": HOSTILE},
        ),
        calibration=CalibrationReport(
            fov_deg=40,
            distance=1,
            depth=None,
            views=dict.fromkeys(VIEWS, ViewCalibration(roll_deg=90)),
            confidence=0.4,
            prior=HOSTILE,
            residual=0.1,
        ),
    )


def report_data(mesh: TexturedMesh, record: Quality) -> ReportData:
    rng = np.random.default_rng(0)
    images = {name: rng.random((64, 64, 3)).astype(np.float32) for name in VIEWS}
    return ReportData(
        quality=record,
        mesh=mesh,
        references=images,
        renders=images,
        timings={"load": 1.0, HOSTILE: 2.0},
        parameters={"label": HOSTILE},
        provenance={HOSTILE: 1},
        warnings=[Notice(code=HOSTILE, message=HOSTILE)],
        title=HOSTILE,
        subtitle=HOSTILE,
    )


@pytest.fixture
def page(make_blob: MakeBlob, tmp_path: Path) -> str:
    path = tmp_path / "report.html"
    build_report(report_data(make_blob(3), quality("warning", [HOSTILE])), path)
    return path.read_text(encoding="utf-8")


class Outline(HTMLParser):
    """Elements with their attributes, and the text of scripts, styles and everything else."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.blocks: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.blocks.append((str(dict(attrs).get("type", tag)), ""))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] in ("script", "style") and self.get_starttag_text():
            kind, text = self.blocks[-1]
            self.blocks[-1] = (kind, text + data)
        self.text += data


def test_nothing_hostile_becomes_markup(page: str) -> None:
    outline = Outline(page)
    assert page.count("<script") == 5  # four data blocks and the page's own
    for tag, attributes in outline.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "action"):
            assert str(attributes.get(name, "data:")).startswith("data:"), (tag, attributes)
    assert outline.text.count("alert(1)") >= 7


def test_the_policy_allows_this_script_and_style_and_nothing_else(page: str) -> None:
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy
    assert "unsafe" not in policy[1]
    rules = dict(part.strip().split(" ", 1) for part in policy[1].split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for kind, rule in (("style", "style-src"), ("script", "script-src")):
        text = re.search(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        assert text
        digest = base64.b64encode(hashlib.sha256(text[1].encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert "style=" not in page.split("</style>")[1].split("<script", maxsplit=1)[0]


def test_the_same_data_gives_the_same_bytes_and_a_small_file(make_blob: MakeBlob, tmp_path: Path, page: str) -> None:
    path = tmp_path / "again.html"
    build_report(report_data(make_blob(3), quality("warning", [HOSTILE])), path)
    assert path.read_text(encoding="utf-8") == page
    assert len(page) < 1_500_000


def test_a_noisy_texture_is_squeezed_into_its_share(make_blob: MakeBlob) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4096, 4096, 3), dtype=np.uint8)
    assert len(embed.texture_uri(replace(make_blob(1), texture=noise))) < 3_000_000


@pytest.mark.parametrize("verdict", ["normal", "warning", "failure"])
def test_every_verdict_is_said_in_words(make_blob: MakeBlob, tmp_path: Path, verdict: str) -> None:
    path = tmp_path / "report.html"
    build_report(replace(report_data(make_blob(1), quality(verdict, ["too dark"])), timings={}), path)
    text = Outline(path.read_text(encoding="utf-8")).text
    assert verdict.capitalize() in text
    assert "too dark" in text


def test_packed_mesh_unpacks_to_the_mesh(make_blob: MakeBlob) -> None:
    mesh = make_blob(3)
    text, data = embed.packed_mesh(mesh)
    meta, raw = json.loads(text), base64.b64decode(data)
    count, faces = meta["vertices"], meta["faces"]
    assert len(raw) == 12 * count + 9 * faces
    low, high = np.array(meta["low"]), np.array(meta["high"])
    position = np.frombuffer(raw[: 6 * count], "<u2").reshape(-1, 3) / 65535 * (high - low) + low
    uv = np.frombuffer(raw[6 * count : 10 * count], "<u2").reshape(-1, 2) / 65535
    packed = np.frombuffer(raw[12 * count :], np.uint8).reshape(-1, 3).astype(np.int64)
    index = (packed @ [1, 256, 65536]).reshape(-1, 3)
    assert np.abs(position[index] - mesh.vertices[mesh.faces]).max() < 2e-5
    assert np.abs(uv[index] - mesh.uv[mesh.uv_faces]).max() < 1e-5


def test_octahedral_normals_come_back() -> None:
    normals = np.random.default_rng(0).normal(size=(500, 3))
    normals = np.vstack([normals / np.linalg.norm(normals, axis=1, keepdims=True), np.eye(3), -np.eye(3)])
    x, y = (embed.octahedral(normals) / 127.0).T
    z = 1 - np.abs(x) - np.abs(y)
    t = np.maximum(-z, 0)
    back = np.stack([x + np.where(x >= 0, -t, t), y + np.where(y >= 0, -t, t), z], axis=1)
    back /= np.linalg.norm(back, axis=1, keepdims=True)
    assert (back * normals).sum(axis=1).min() > 0.999


def test_numbers_for_people() -> None:
    assert number(None, 2) == "–"
    assert number(1234.567, 1, " dB") == "1,234.6 dB"
    assert percent(0.0) == "0.00 %"
    assert percent(1e-6) == "< 0.01 %"
    assert percent(0.1234) == "12.34 %"
