"""Put the page together: template, style, script and data into one file under a strict content policy."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Final

from recon3d_runner.previews import DIAGONALS, diagonal_camera
from recon3d_runner.raster.cpu import render_textured
from recon3d_runner.raster.shading import Pyramid
from recon3d_runner.report import embed, sections
from recon3d_runner.report.data import ReportData
from recon3d_runner.types import TexturedMesh

POSTER_SIZE: Final = 720


@dataclass(frozen=True)
class Packed:
    """What the page holds of the mesh alone, being packed: it need not wait for the mesh to be measured."""

    mesh: Future[tuple[str, str]]
    poster: Future[str]
    texture: Future[str]
    unseen: Future[str]
    atlas: Future[str]

    @classmethod
    def begin(cls, mesh: TexturedMesh, pool: ThreadPoolExecutor, levels: Pyramid | None = None) -> Packed:
        """Pack in `pool`; what packs pictures lets other threads work meanwhile."""
        return cls(
            texture=pool.submit(embed.texture_uri, mesh),
            atlas=pool.submit(embed.atlas_uri, mesh),
            mesh=pool.submit(embed.packed_mesh, mesh),
            poster=pool.submit(_poster, mesh, levels),
            unseen=pool.submit(embed.unseen_uri, mesh),
        )


def build_report(data: ReportData, out_path: Path, packed: Packed | None = None, levels: Pyramid | None = None) -> None:
    """Write the report of `data` to `out_path`: one HTML file that needs nothing else.

    The policy allows this very style and script (by hash) and embedded images; nothing can be requested. packed: of
    the mesh, where the caller has begun that; levels: the texture's `mip_pyramid`, where the caller has it.
    """
    style, script = _asset("style.css"), _asset("viewer.js") + _asset("page.js")
    with ThreadPoolExecutor() as pool:
        packed = Packed.begin(data.mesh, pool, levels) if packed is None else packed
        compare = sections.compare(data)
    mesh_meta, mesh_data = packed.mesh.result()
    engine = f"Engine {data.quality.engine}"
    page = Template(_asset("template.html")).substitute(
        policy=_policy(style, script),
        title=escape(data.title),
        subtitle=escape(f"{data.subtitle} · {engine}" if data.subtitle else engine),
        style=style,
        script=script,
        verdict=sections.verdict(data),
        warnings=sections.warnings(data),
        poster=packed.poster.result(),
        compare=compare,
        views=sections.views(data),
        mesh=sections.mesh_checks(data),
        calibration=sections.calibration(data),
        texture=sections.texture(data, packed.atlas.result()),
        timings=sections.timings(data),
        provenance=sections.provenance(data),
        mesh_meta=mesh_meta.replace("<", "\\u003c"),
        mesh_data=mesh_data,
        mesh_texture=packed.texture.result(),
        mesh_unseen=packed.unseen.result(),
    )
    out_path.write_text(page, encoding="utf-8", newline="\n")


def _poster(mesh: TexturedMesh, levels: Pyramid | None) -> str:
    """The picture that stands where the viewer cannot run."""
    direction = next(iter(DIAGONALS.values()))
    drawn = render_textured(mesh, diagonal_camera(mesh, direction, 30.0), POSTER_SIZE, levels=levels)
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
