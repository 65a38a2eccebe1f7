"""Put the page together: template, style, script and data into one file under a strict content policy."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Final

from recon3d_runner.previews import DIAGONALS, diagonal_camera
from recon3d_runner.raster.cpu import render_textured
from recon3d_runner.report import embed, sections
from recon3d_runner.report.data import ReportData

POSTER_SIZE: Final = 720


def build_report(data: ReportData, out_path: Path) -> None:
    """Write the report of `data` to `out_path`: one HTML file that needs nothing else.

    The policy allows this very style and script (by hash) and embedded images; nothing can be requested.
    """
    style, script = _asset("style.css"), _asset("viewer.js") + _asset("page.js")
    mesh_meta, mesh_data = embed.packed_mesh(data.mesh)
    direction = next(iter(DIAGONALS.values()))
    poster = render_textured(data.mesh, diagonal_camera(data.mesh, direction, 30.0), POSTER_SIZE)
    engine = f"Engine {data.quality.engine}"
    page = Template(_asset("template.html")).substitute(
        policy=_policy(style, script),
        title=escape(data.title),
        subtitle=escape(f"{data.subtitle} · {engine}" if data.subtitle else engine),
        style=style,
        script=script,
        verdict=sections.verdict(data),
        warnings=sections.warnings(data),
        poster=embed.data_uri(embed.to_u8(poster.rgb)),
        compare=sections.compare(data),
        views=sections.views(data),
        mesh=sections.mesh_checks(data),
        calibration=sections.calibration(data),
        texture=sections.texture(data),
        timings=sections.timings(data),
        provenance=sections.provenance(data),
        mesh_meta=mesh_meta.replace("<", "\\u003c"),
        mesh_data=mesh_data,
        mesh_texture=embed.texture_uri(data.mesh),
        mesh_unseen=embed.unseen_uri(data.mesh),
    )
    out_path.write_text(page, encoding="utf-8", newline="\n")


def _asset(name: str) -> str:
    return resources.files("recon3d_runner.report").joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _policy(style: str, script: str) -> str:
    def allowed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"

    return (
        f"default-src 'none'; img-src data:; style-src {allowed(style)}; script-src {allowed(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
