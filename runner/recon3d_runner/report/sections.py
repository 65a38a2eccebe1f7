"""The page's parts as HTML. Every value goes through `escape`; what is not known is shown as a dash."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape
from typing import Any, Final, cast

from recon3d_contract.conventions import ViewName
from recon3d_contract.quality import ViewQuality

from recon3d_runner.report import embed
from recon3d_runner.report.data import ReportData

VERDICTS: Final = {
    "normal": ("✓", "Normal", "The result holds in every check that decides the verdict."),
    "warning": ("!", "Warning", "Usable, but look at these points first:"),
    "failure": ("✕", "Failure", "Below the thresholds:"),
}


def number(value: float | None, digits: int, unit: str = "") -> str:
    """A number for people, a dash where there is none."""
    return "–" if value is None else f"{value:,.{digits}f}{unit}"


def percent(value: float | None, digits: int = 2) -> str:
    """A share as percent; one that is not zero never reads as zero."""
    if value is not None and 0 < 100 * value < 0.5 * 10**-digits:
        return f"< {10**-digits:g} %"
    return number(None if value is None else 100 * value, digits, " %")


def verdict(data: ReportData) -> str:
    """The banner: the verdict, why, and the numbers behind it."""
    quality = data.quality
    sign, word, text = VERDICTS[quality.verdict]
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in quality.reasons)
    means, mesh = quality.means, quality.mesh
    worst = quality.per_view[quality.worst_view]
    judged = sum(value is not None for value in quality.leave_one_out.per_view.values())
    figures = [
        ("PSNR", number(means.psnr_foreground, 1, " dB"), f"lowest {worst.psnr_foreground:.1f}, {quality.worst_view}"),
        ("SSIM", number(means.ssim_foreground, 3), f"{worst.ssim_foreground:.3f} in that view"),
        ("Leave one out", number(quality.leave_one_out.mean, 1, " dB"), f"mean of {judged} views"),
        ("Silhouette IoU", number(means.iou, 4), "mean"),
        ("Depth error", number(means.depth_error_pct, 3, " %"), "of the diagonal"),
        ("Faces", number(mesh.faces, 0), "watertight" if mesh.watertight else "not watertight"),
    ]
    tiles = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)} <small>{escape(unit)}</small></dd></div>"
        for name, value, unit in figures
    )
    return (
        f'<div class="verdict {quality.verdict}" role="region" aria-label="Verdict">'
        f'<span class="badge" aria-hidden="true">{sign}</span><strong>{word}</strong>'
        f"<div><p>{text}</p>{f'<ul>{reasons}</ul>' if reasons else ''}</div>"
        f'<dl class="figures">{tiles}</dl></div>'
    )


def warnings(data: ReportData) -> str:
    """The run's warnings; nothing where there are none."""
    if not data.warnings:
        return ""
    items = "".join(f"<li>{escape(note.message)} <code>{escape(note.code)}</code></li>" for note in data.warnings)
    return (
        '<section class="warnings" aria-labelledby="h-warnings"><h2 id="h-warnings">Warnings</h2>'
        f"<ul>{items}</ul></section>"
    )


def compare(data: ReportData) -> str:
    """The slider of every view."""
    names = [name for name in data.references if name in data.renders]
    border = embed.common_border([(data.references[name], data.renders[name]) for name in names])
    with ThreadPoolExecutor() as pool:
        pairs = pool.map(lambda name: embed.picture_pair(data.references[name], data.renders[name], border), names)
    tabs, figures = [], []
    for k, (name, (first, second)) in enumerate(zip(names, pairs, strict=True)):
        shown = escape(name)
        checked = " checked" if k == 0 else ""
        tabs.append(
            f'<input type="radio" name="view" id="view-{k}" value="{shown}"{checked}>'
            f'<label for="view-{k}">{escape(name.capitalize())}</label>'
        )
        score = data.quality.per_view.get(cast(ViewName, name))
        caption = f"{number(score.psnr_foreground, 1)} dB, SSIM {number(score.ssim_foreground, 3)}" if score else ""
        figures.append(
            f'<figure class="compare" data-view="{shown}"><div class="frame">'
            f'<img src="{first}" alt="Input, {shown} view">'
            f'<img class="render" src="{second}" alt="Render, {shown} view">'
            '<span class="rule"></span><span class="tag left">Input</span><span class="tag right">Render</span></div>'
            '<input type="range" min="0" max="100" value="50" '
            f'aria-label="Where input ends and render begins, {shown} view">'
            f"<figcaption>{escape(name.capitalize())}: {caption}</figcaption></figure>"
        )
    return (
        f'<fieldset class="tabs"><legend class="aside">View</legend>{"".join(tabs)}'
        '<button type="button" id="difference" aria-pressed="false">Difference × 4</button></fieldset>'
        f'<div class="compares">{"".join(figures)}</div>'
    )


def _table(head: Sequence[str], rows: Sequence[tuple[str, str, Sequence[str]]]) -> str:
    """rows: (class, name, cells)."""
    top = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    body = "".join(
        f'<tr class="{kind}"><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for kind, name, cells in rows
    )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Table">'
        f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def views(data: ReportData) -> str:
    """The per-view table with leave-one-out."""
    quality = data.quality

    def cells(score: ViewQuality, alone: float | None) -> list[str]:
        return [
            number(score.psnr_foreground, 2),
            number(score.ssim_foreground, 4),
            number(score.psnr_full, 2),
            number(score.ssim_full, 4),
            number(score.iou, 4),
            number(score.depth_error_pct, 3),
            number(alone, 2),
        ]

    alone = quality.leave_one_out.per_view
    rows = [
        ("worst" if name == quality.worst_view else "", name.capitalize(), cells(score, alone.get(name)))
        for name, score in quality.per_view.items()
    ]
    rows.append(("mean", "Mean", cells(quality.means, quality.leave_one_out.mean)))
    head = ["View", "PSNR, dB", "SSIM", "PSNR, full frame", "SSIM, full frame", "Silhouette IoU"]
    head += ["Depth error, % of diagonal", "Leave one out, dB"]
    note = (
        '<p class="hint">Leave one out: the texture is baked without the view, which is then predicted and judged '
        "where another view sees the same surface. It tells a right shape from a flattering texture.</p>"
    )
    return _table(head, rows) + note


def _check(passed: bool | None, name: str, value: str) -> str:
    kind, sign, spoken = {
        True: ("ok", "✓", "passed: "),
        False: ("no", "✕", "failed: "),
        None: ("info", "·", ""),
    }[passed]
    return (
        f'<li><span class="mark {kind}" aria-hidden="true">{sign}</span>'
        f'<span><span class="aside">{spoken}</span>{escape(name)}</span><span>{escape(value)}</span></li>'
    )


def mesh_checks(data: ReportData) -> str:
    """Soundness and shape of the mesh."""
    mesh = data.quality.mesh
    aspect = mesh.aspect_ratio
    word = {True: "yes", False: "no"}
    items = [
        _check(mesh.watertight, "Watertight", word[mesh.watertight]),
        _check(mesh.manifold, "Manifold", word[mesh.manifold]),
        _check(mesh.self_intersections == 0, "Self-intersecting pairs of faces", number(mesh.self_intersections, 0)),
        _check(mesh.degenerate_faces == 0, "Faces without area", number(mesh.degenerate_faces, 0)),
        _check(None, "Components", number(mesh.components, 0)),
        _check(None, "Genus (handles)", number(mesh.genus, 0)),
        _check(None, "Vertices, faces", f"{mesh.vertices:,}, {mesh.faces:,}"),
        _check(
            None,
            "Aspect ratio: median, 95 %, worst",
            f"{number(aspect.median, 2)}, {number(aspect.p95, 2)}, {number(aspect.max, 1)}",
        ),
        _check(None, "Volume, area", f"{mesh.volume:.5g}, {mesh.area:.5g}"),
        _check(None, "Diagonal of the bounding box", f"{mesh.diagonal:.5g}"),
    ]
    return f'<ul class="checks">{"".join(items)}</ul>{_facts(mesh.other)}'


def _facts(facts: Mapping[str, Any]) -> str:
    if not facts:
        return ""
    rows = "".join(
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(_plain(value))}</dd>" for name, value in facts.items()
    )
    return f'<details><summary>All measurements</summary><dl class="pairs">{rows}</dl></details>'


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def calibration(data: ReportData) -> str:
    """What calibration found, how sure it is, and what it repaired."""
    found = data.quality.calibration
    rows = [
        ("Field of view", number(found.fov_deg, 2, "°")),
        ("Distance", f"{found.distance:.5g}"),
        ("Confidence", percent(found.confidence, 0)),
        ("Residual", f"{found.residual:.3g} % of the distance"),
    ]
    if found.depth is not None:
        how = {"white-near": "white is near", "black-near": "black is near", "metric": "metric"}[found.depth.encoding]
        measured = {"z": "along the view axis", "ray": "along the ray"}[found.depth.kind]
        rows += [("Depth", f"{how}, {measured}"), ("Depth range", f"{found.depth.near:.5g} to {found.depth.far:.5g}")]
    else:
        rows.append(("Depth", "none: silhouettes alone carry the shape"))
    if found.prior:
        rows.append(("Assumed", found.prior))
    pairs = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows)
    repaired = [
        (name, ", ".join([f"turned by {v.roll_deg}°"] * bool(v.roll_deg) + ["mirrored"] * v.mirror) or "as given")
        for name, v in found.views.items()
    ]
    table = _table(
        ["View", "Used", "Residual, px"],
        [("", name.capitalize(), [how, number(found.views[name].residual_px, 2)]) for name, how in repaired],
    )
    return f'<dl class="pairs">{pairs}</dl><h3>Residuals of each view</h3>{table}'


def texture(data: ReportData, atlas: str) -> str:
    """Unseen texels and the UV layout. atlas: `embed.atlas_uri` of the mesh."""
    mesh = data.quality.mesh
    size = data.mesh.texture.shape[0]
    overlap_ok = mesh.uv_overlap <= 1e-4
    items = (
        _check(None, "Texels that no view sees", percent(mesh.unseen_texel_share))
        + _check(overlap_ok, "UV area claimed twice", percent(mesh.uv_overlap, 3))
        + _check(None, "Size", f"{size} × {size}")
    )
    return (
        f'<div class="atlas"><img src="{atlas}" alt="The texture, unseen texels marked"></div>'
        '<p class="hint"><span class="swatch"></span> Texels that no input view sees; the delivered texture is '
        f'filled in there from the surroundings.</p><ul class="checks">{items}</ul>'
    )


def timings(data: ReportData) -> str:
    """Seconds per stage as bars."""
    if not data.timings:
        return '<p class="hint">Not recorded.</p>'
    longest = max(*data.timings.values(), 1e-9)
    rows = "".join(
        f'<span>{escape(name)}</span><svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="back" width="100" height="8"/><rect width="{100 * seconds / longest:.2f}" height="8"/></svg>'
        f"<span>{number(seconds, 1, ' s')}</span>"
        for name, seconds in data.timings.items()
    )
    total = number(sum(data.timings.values()), 1, " s")
    return f'<div class="bars">{rows}<strong>Total</strong><span></span><strong>{total}</strong></div>'


def provenance(data: ReportData) -> str:
    """Parameters and provenance as JSON, folded."""
    parts = []
    for name, value in (("Parameters", data.parameters), ("Provenance", data.provenance)):
        text = escape(json.dumps(value, indent=2, ensure_ascii=False, default=str))
        parts.append(f"<details><summary>{name}</summary><pre>{text}</pre></details>")
    return "".join(parts)
