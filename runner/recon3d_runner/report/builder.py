"""Put the page together: template, style, script and data into one file under a strict content policy."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
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
    with ThreadPoolExecutor() as pool:  # what packs pictures lets other threads work meanwhile
        mesh = pool.submit(embed.packed_mesh, data.mesh)
        poster = pool.submit(_poster, data)
        compare, texture = pool.submit(sections.compare, data), pool.submit(sections.texture, data)
        mesh_texture, mesh_unseen = pool.submit(embed.texture_uri, data.mesh), pool.submit(embed.unseen_uri, data.mesh)
    mesh_meta, mesh_data = mesh.result()
    engine = f"Engine {data.quality.engine}"
    page = Template(_asset("template.html")).substitute(
        policy=_policy(style, script),
        title=escape(data.title),
        subtitle=escape(f"{data.subtitle} · {engine}" if data.subtitle else engine),
        style=style,
        script=script,
        verdict=sections.verdict(data),
        warnings=sections.warnings(data),
        poster=poster.result(),
        compare=compare.result(),
        views=sections.views(data),
        mesh=sections.mesh_checks(data),
        calibration=sections.calibration(data),
        texture=texture.result(),
        timings=sections.timings(data),
        provenance=sections.provenance(data),
        mesh_meta=mesh_meta.replace("<", "\\u003c"),
        mesh_data=mesh_data,
        mesh_texture=mesh_texture.result(),
        mesh_unseen=mesh_unseen.result(),
    )
    out_path.write_text(page, encoding="utf-8", newline="\n")


def _poster(data: ReportData) -> str:
    """The picture that stands where the viewer cannot run."""
    direction = next(iter(DIAGONALS.values()))
    drawn = render_textured(data.mesh, diagonal_camera(data.mesh, direction, 30.0), POSTER_SIZE)
    return embed.data_uri(embed.to_u8(drawn.rgb))


def _asset(name: str) -> str:
    return resources.files("recon3d_runner.report").joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _policy(style: str, script: str) -> str:
    def allowed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"

    return (
        f"default-src 'none'; img-src data:; style-src {allowed(style)}; script-src {allowed(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
