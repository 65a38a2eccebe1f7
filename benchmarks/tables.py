"""The rows of a benchmark as tables, and the comparison of what calibration found with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Row = dict[str, Any]
Better = Literal["high", "low", "all", "none"]


@dataclass(frozen=True)
class Column:
    """A column: a row's key, its title, how a value is written, and which end of it is good."""

    key: str
    title: str
    form: str
    better: Better


COLUMNS = (
    Column("case", "case", "", "none"),
    Column("fov_err", "FOV err °", ".3f", "low"),
    Column("depth_ok", "enc", "", "all"),
    Column("chamfer_pct", "Chamfer %", ".3f", "low"),
    Column("f0.5pct", "F0.5", ".4f", "high"),
    Column("psnr", "PSNR", ".2f", "high"),
    Column("ssim", "SSIM", ".4f", "high"),
    Column("iou", "IoU", ".4f", "high"),
    Column("watertight", "tight", "", "all"),
    Column("components", "comp", ".0f", "low"),
    Column("genus", "genus", ".0f", "none"),
    Column("genus_ok", "right", "", "all"),
    Column("self_int", "self-int", ".0f", "low"),
    Column("faces", "faces", ".0f", "low"),
    Column("input_psnr", "in PSNR", ".2f", "high"),
    Column("loo", "LOO", ".2f", "high"),
    Column("verdict", "verdict", "", "none"),
    Column("seconds", "s", ".1f", "low"),
    Column("rss_mb", "RSS MB", ".0f", "low"),
)
_ENCODINGS = {
    "white-near": "white-near",
    "black-near": "black-near",
    "linear16": "white-near",
    "metric16": "metric",
    "none": None,
}


def calibration_errors(truth: Row, found: Row) -> Row:
    """Compare cameras.json with quality.json's `calibration`.

    `fov_err` in degrees; `depth_ok`: encoding, kind of depth and every view's orientation are right; `range_err_pct`:
    the worse end of a linear depth range against the truth, in % of the camera distance, each in units of its own
    distance (scale cannot be known), None for metric or absent depth.
    """
    expected = truth["depth"]
    depth: Any = found.get("depth")
    kind = "ray" if expected.get("ray") else "z"
    encoding = _ENCODINGS[expected["mode"]]
    upright = all(not view.get("roll_deg") and not view.get("mirror") for view in found["views"].values())
    right = (
        depth is None
        if encoding is None
        else depth is not None
        and (depth["encoding"], depth["kind"])
        == (
            encoding,
            kind,
        )
    )
    range_error = None
    if right and encoding in ("white-near", "black-near"):
        ends = [depth[end] / found["distance"] - expected[end] / truth["distance"] for end in ("near", "far")]
        range_error = 100 * max(abs(end) for end in ends)
    return {
        "fov_err": abs(found["fov_deg"] - truth["fov_deg"]),
        "depth_ok": bool(right and upright),
        "range_err_pct": range_error,
    }


def _values(rows: Sequence[Row], column: Column) -> list[Any]:
    return [row[column.key] for row in rows if row.get(column.key) is not None]


def mean_row(rows: Sequence[Row]) -> Row:
    """The mean of every numeric column, and the share of rows for which a yes/no column is yes."""
    row: Row = {"case": "mean"}
    for column in COLUMNS:
        values = _values(rows, column)
        if values and column.better != "none":
            row[column.key] = sum(map(float, values)) / len(values)
    return row


def worst_row(rows: Sequence[Row]) -> Row:
    """The worst value of each column that has a good end; a value missing in any row is not judged."""
    row: Row = {"case": "worst"}
    for column in COLUMNS:
        values = _values(rows, column)
        if values and column.better != "none":
            row[column.key] = min(values) if column.better in ("high", "all") else max(values)
    return row


def _cell(row: Row, column: Column) -> str:
    value = row.get(column.key)
    if column.key == "verdict" and value is None:
        value = row.get("error")
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if column.better == "all":
        return f"{value:.0%}"
    return format(value, column.form)


def _cells(rows: Sequence[Row]) -> list[list[str]]:
    return [[column.title for column in COLUMNS], *([_cell(row, column) for column in COLUMNS] for row in rows)]


def text_table(rows: Sequence[Row]) -> str:
    """The rows under their titles, aligned for a terminal."""
    cells = _cells(rows)
    widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
    lines = []
    for line in cells:
        first, *rest = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        lines.append("  ".join([first.strip().ljust(widths[0]), *rest]))
    return "\n".join(lines)


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| " + " | ".join(line) + " |" for line in _cells(rows)]
    rule = "| --- |" + " ---: |" * (len(COLUMNS) - 1)
    return "\n".join([lines[0], rule, *lines[1:]])
